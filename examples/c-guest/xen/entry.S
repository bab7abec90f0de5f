/* Where Xen enters the kernel: at its start, for an upcall, for exceptions. */

    /* What Xen's domain builder reads (xen/include/public/elfnote.h). */
    .macro xen_note type, kind, value:vararg
    .pushsection .note.Xen, "a", @note
    .balign 4
    .long 4, 2f - 1f, \type
    .asciz "Xen"
1:  \kind \value
2:  .balign 4
    .popsection
    .endm

    xen_note 1, .quad, start
    xen_note 3, .quad, 0
    xen_note 4, .quad, 0
    xen_note 5, .asciz, "xen-3.0"
    xen_note 6, .asciz, "c-guest"
    xen_note 8, .asciz, "generic"
    xen_note 10, .asciz, "!writable_page_tables"

    .text
    .globl start
start:
    cld
    lea boot_stack_end(%rip), %rsp
    mov %rsi, %rdi
    xor %ebp, %ebp
    call boot
    ud2

    /* An upcall. On the stack: rcx, r11, rip, cs, rflags, rsp, ss, from a multiple of 16 down. What is pushed in the order of
       the iret hypercall's frame lets that restore everything. The library uses SSE registers, and may be interrupted. */
    .globl upcall_entry
upcall_entry:
    pop %rcx
    pop %r11
    pushq $0
    push %rcx
    push %r11
    push %rax
    push %rdx
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    sub $520, %rsp
    fxsave64 (%rsp)
    cld
    call on_upcall
    fxrstor64 (%rsp)
    add $520, %rsp
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rdx
    mov $23, %eax
    syscall
    ud2

    /* Exceptions end the kernel: rdi the vector, rsi where. Those with an error code have it above r11. */
    .macro trap_entry vector, depth
    .globl trap_entry_\vector
trap_entry_\vector:
    mov \depth(%rsp), %rsi
    mov $\vector, %edi
    and $-16, %rsp
    call on_trap
    ud2
    .endm

    trap_entry 0, 16
    trap_entry 6, 16
    trap_entry 13, 24
    trap_entry 14, 24

    .globl failsafe_entry
failsafe_entry:
    and $-16, %rsp
    call on_failsafe
    ud2

    .globl syscall_entry
syscall_entry:
    and $-16, %rsp
    call on_failsafe
    ud2

    .bss
    .balign 16
boot_stack:
    .skip 65536
boot_stack_end:

    .section .note.GNU-stack, "", @progbits
