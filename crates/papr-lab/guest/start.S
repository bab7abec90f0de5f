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
	li	3, 0x123		/* segment 1 is this one, of 256 MiB and 4 KiB pages */
	sldi	3, 3, 12
	lis	4, 0x1800
	slbmte	3, 4
	isync
	lis	1, 0x8			/* the stack ends at 512 KiB, below the mailbox */
	li	0, 0
	stdu	0, -64(1)
	/* By r12, from which a function of the ELFv2 ABI finds its table of contents. */
	lis	12, serve@ha
	addi	12, 12, serve@l
	mtctr	12
	bctrl

/* Data storage interrupt, of `load` only: its result is DSISR, and it goes on behind its access. */
	.org	0x300
	mfdsisr	5
	mfsrr0	8
	addi	8, 8, 4
	mtsrr0	8
	mtsrr1	6
	rfid

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

/*
 * u64 load(u64 address, u64 *value): through the hashed page table; 0, or DSISR and the address as value.
 * Without isync, at which QEMU makes up for flushes that hypercalls have left out: they are what is to be seen.
 */
	.globl load
	.type load, @function
load:
	mfmsr	6
	ori	7, 6, 0x10		/* MSR.DR: data is translated, instructions are not */
	li	5, 0
	mtmsrd	7
	ld	3, 0(3)
	mtmsrd	6
	std	3, 0(4)
	mr	3, 5
	blr
