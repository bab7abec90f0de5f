/*
 * Makes the hypercalls that it finds in a mailbox, which the host reads and writes as a file.
 *
 * The console is the bell: 'r' from the guest when it is ready, 'g' from the host when there are calls in the mailbox, 'd' from the
 * guest when their answers are there, 'q' from the host for the machine to go off. Between 'r' or 'd' and 'g' the mailbox
 * is the host's, between 'g' and 'd' the guest's.
 */
typedef unsigned long u64;
typedef unsigned int u32;

/* Not a hypercall, but a translated load from the address in r4, which is the value after. */
#define LOAD (1UL << 63)

struct call {
	u64 number; /* r3: the number before, the answer after */
	u64 registers[9]; /* r4 to r12, before and after */
};

struct mailbox {
	u64 count;
	struct call calls[];
};

#define MAILBOX ((volatile struct mailbox *)0x100000)

#define H_GET_TERM_CHAR 0x54
#define H_PUT_TERM_CHAR 0x58
#define H_RTAS 0xf000 /* QEMU's own */
#define CONSOLE 0x71000000UL
#define RTAS_POWER_OFF 0x2003

u64 hypercall(u64 number, u64 *registers);
u64 load(u64 address, u64 *value);

static void say(u64 letter)
{
	u64 registers[9];

	do {
		registers[0] = CONSOLE;
		registers[1] = 1;
		registers[2] = letter << 56;
	} while (hypercall(H_PUT_TERM_CHAR, registers) != 0);
}

static u64 hear(void)
{
	u64 registers[9];

	do {
		registers[0] = CONSOLE;
	} while (hypercall(H_GET_TERM_CHAR, registers) != 0 || registers[0] == 0);
	return registers[1] >> 56;
}

static void make(volatile struct call *call)
{
	u64 registers[9];
	int i;

	for (i = 0; i < 9; i++)
		registers[i] = call->registers[i];
	if (call->number == LOAD)
		call->number = load(registers[0], registers);
	else
		call->number = hypercall(call->number, registers);
	for (i = 0; i < 9; i++)
		call->registers[i] = registers[i];
}

static void power_off(void)
{
	static u32 arguments[6] __attribute__((aligned(64))) = { RTAS_POWER_OFF, 2, 1 };
	u64 registers[9];

	registers[0] = (u64)arguments;
	hypercall(H_RTAS, registers);
}

void serve(void)
{
	u64 i;

	say('r');
	while (hear() == 'g') {
		for (i = 0; i < MAILBOX->count; i++)
			make(&MAILBOX->calls[i]);
		say('d');
	}
	power_off();
	for (;;)
		;
}
