#include "machine.h"

#include <stdio.h>
#include <stdlib.h>

struct machine machine;
_Thread_local struct processor processor;

/* What hypercalls point at is read here, where a sanitizer watches. */
static uint64_t watched_load(void *data, const uint64_t *address)
{
    (void)data;
    return *address;
}

static void watched_store(void *data, uint64_t *address, uint64_t word)
{
    (void)data;
    *address = word;
}

void machine_start(void)
{
    struct mockxen_memory memory = {NULL, watched_load, watched_store};

    mockxen_free(machine.guest);
    machine.guest = mockxen_new(0, PVMMU_MASKED_BOUND, &memory);
    processor.vcpu = 0;
    processor.context = PVMMU_CONTEXT_TASK;
    processor.masked = 0;
    machine.pages = 0;
}

int machine_is_clean(uint64_t *rules)
{
    static char text[4096];
    struct mockxen_verdict verdict = mockxen_judge(machine.guest, text, sizeof text);

    *rules = verdict.rules;
    if (!verdict.violations && !verdict.pending && !verdict.untold && !verdict.open && !verdict.not_modelled
        && !verdict.miscounted && verdict.asked > 0)
        return 1;
    printf("%s\n", text);
    printf("%llu open, %llu untold\n", (unsigned long long)verdict.open, (unsigned long long)verdict.untold);
    printf("  open: tasks in a region or a pause that nobody ended; untold: refusals the kernel was not told of;\n"
           "  pending: asked for and not arrived at the hypervisor; merged: made by a later write of the entry;\n"
           "  superseded: needless by another flush\n");
    return 0;
}

_Noreturn void ground_crash(const char *text)
{
    fprintf(stderr, "crash: %s\n", text);
    exit(3);
}

struct page ground_take_page(void)
{
    struct page page;

    page.frame.number = mockxen_page(machine.guest, machine.pages++);
    page.address.address = mockxen_address(machine.guest, page.frame.number);
    return page;
}

int64_t ground_hypercall(uint64_t number, const uint64_t *arguments)
{
    return mockxen_hypercall(machine.guest, processor.vcpu, number, arguments);
}

struct pvmmu_pte ground_load(struct pvmmu_slot slot)
{
    struct pvmmu_pte pte = {mockxen_load(machine.guest, slot.bits)};

    return pte;
}

void ground_store(struct pvmmu_slot slot, struct pvmmu_pte pte)
{
    if (mockxen_store(machine.guest, slot.bits, pte.bits))
        ground_crash("a plain store to a page that is not mapped writable");
}

const uint64_t *ground_table(struct pvmmu_mfn table)
{
    (void)table;
    return NULL;
}

uint64_t ground_mask(void)
{
    uint64_t was_masked = processor.masked;

    processor.masked = 1;
    mockxen_mask(machine.guest, processor.vcpu, 1);
    return was_masked;
}

void ground_unmask(uint64_t saved)
{
    processor.masked = saved;
    mockxen_mask(machine.guest, processor.vcpu, 0);
}

uint32_t ground_vcpu(void)
{
    return processor.vcpu;
}

uint32_t ground_context(void)
{
    return processor.context;
}

uint64_t ground_ticks(void)
{
    static uint64_t ticks;

    return ++ticks;
}

void ground_interrupt(void (*handler)(void))
{
    processor.context = PVMMU_CONTEXT_INTERRUPT;
    handler();
    processor.context = PVMMU_CONTEXT_TASK;
    mockxen_interrupt_end(machine.guest, processor.vcpu);
}

struct pvmmu_mfn ground_root(void)
{
    struct pvmmu_mfn root = {mockxen_base(machine.guest, processor.vcpu)};

    return root;
}

struct pvmmu_va ground_stack(void)
{
    struct pvmmu_va stack = {UINT64_C(0x7000)};

    return stack;
}

void ground_tell(const char *name, uint64_t value)
{
    printf("%s=%llu\n", name, (unsigned long long)value);
}

void ground_tell_truth(const char *name, int truth)
{
    printf("%s=%s\n", name, truth ? "true" : "false");
}

void ground_tell_row(const char *name, uint64_t updates, uint64_t hypercalls, uint64_t cost)
{
    (void)cost;
    printf("%s c %llu %llu\n", name, (unsigned long long)updates, (unsigned long long)hypercalls);
}
