//! What the precompiled `core` of a hosted target expects of a C library: the memory functions, and
//! the name of an unwinder's routine, which nothing calls where a panic aborts.
//!
//! Copies go by words as far as there are whole ones: where instructions are counted, each turn of a repeated one counts.

use core::arch::naked_asm;

macro_rules! exported {
    ($($(#[$doc:meta])* $name:ident: $($line:literal),+;)*) => {$(
        $(#[$doc])*
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name() {
            naked_asm!($($line),+)
        }
    )*};
}

exported! {
    /// (destination, byte, count), answers with the destination.
    memset: "mov r8, rdi", "movzx eax, sil", "mov rcx, 0x0101010101010101", "imul rax, rcx", "mov rcx, rdx", "shr rcx, 3",
        "rep stosq", "mov ecx, edx", "and ecx, 7", "rep stosb", "mov rax, r8", "ret";
    /// (destination, source, count), answers with the destination.
    memcpy: "mov rax, rdi", "mov rcx, rdx", "shr rcx, 3", "rep movsq", "mov ecx, edx", "and ecx, 7", "rep movsb", "ret";
    /// The same for regions that overlap: backwards where the destination begins inside the source.
    memmove: "mov rax, rdi", "mov rcx, rdi", "sub rcx, rsi", "cmp rcx, rdx", "mov rcx, rdx", "jb 2f",
        "rep movsb", "ret",
        "2:", "lea rdi, [rdi + rdx - 1]", "lea rsi, [rsi + rdx - 1]", "std", "rep movsb", "cld", "ret";
    /// (left, right, count), answers with the difference of the first bytes that differ.
    memcmp: "xor eax, eax", "mov rcx, rdx", "cmp rcx, rcx", "repe cmpsb", "je 2f",
        "movzx eax, byte ptr [rdi - 1]", "movzx ecx, byte ptr [rsi - 1]", "sub eax, ecx", "2:", "ret";
    /// As `memcmp`, of which only 0 or not counts.
    bcmp: "xor eax, eax", "mov rcx, rdx", "cmp rcx, rcx", "repe cmpsb", "setne al", "ret";
    /// Never called.
    rust_eh_personality: "ud2";
}
