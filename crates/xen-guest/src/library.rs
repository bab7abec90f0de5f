//! What the precompiled `core` of a hosted target expects of a C library: the memory functions, and
//! the name of an unwinder's routine, which nothing calls where a panic aborts.

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
    memset: "mov r8, rdi", "mov eax, esi", "mov rcx, rdx", "rep stosb", "mov rax, r8", "ret";
    /// (destination, source, count), answers with the destination.
    memcpy: "mov rax, rdi", "mov rcx, rdx", "rep movsb", "ret";
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
