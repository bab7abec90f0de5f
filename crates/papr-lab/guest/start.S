/* Entry, and the hypercall instruction. */
	.machine power8
	.section .head, "ax"
	.globl _start
_start:
	b	reset

/* The processor begins at the system reset vector: real mode, big endian, addresses of 32 bits. */
	.org	0x100
reset:
	li	0, 1
	rldicr	0, 0, 63, 0		/* MSR.SF: addresses of 64 bits */
	mtmsrd	0
	isync
	lis	1, 0x8			/* the stack ends at 512 KiB, below the mailbox */
	li	0, 0
	stdu	0, -64(1)
	/* By r12, from which a function of the ELFv2 ABI finds its table of contents. */
	lis	12, serve@ha
	addi	12, 12, serve@l
	mtctr	12
	bctrl

/* u64 hypercall(u64 number, u64 registers[9]): r4 to r12 from and to memory, r3 is the answer. */
	.text
	.globl hypercall
	.type hypercall, @function
hypercall:
	std	31, -8(1)
	mr	31, 4
	ld	4, 0(31)
	ld	5, 8(31)
	ld	6, 16(31)
	ld	7, 24(31)
	ld	8, 32(31)
	ld	9, 40(31)
	ld	10, 48(31)
	ld	11, 56(31)
	ld	12, 64(31)
	sc	1
	std	4, 0(31)
	std	5, 8(31)
	std	6, 16(31)
	std	7, 24(31)
	std	8, 32(31)
	std	9, 40(31)
	std	10, 48(31)
	std	11, 56(31)
	std	12, 64(31)
	ld	31, -8(1)
	blr
