/* The kernel's page-table code in user space: `work` does what the kernel does on the real Xen; the others have a fault,
 * which the referee or a sanitizer has to find. The exit status is 0 where nothing was found, 1 where something was. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine.h"
#include "misuse.h"
#include "threads.h"
#include "work.h"

static struct mmu mmu;
static struct pvmmu_task task;
static struct page table_page;
static struct pvmmu_table table;
static struct pvmmu_pte pte;

/* A kernel with one task and an empty table. */
static void boot(void)
{
    machine_start();
    mmu_init(&mmu, MMU_BARE);
    mmu_task_init(&mmu, &task);
    mmu_run(&mmu, &task, 1);
    table_page = ground_take_page();
    pte = pvmmu_pte_of(ground_take_page().frame, PTE_FLAGS);
    if (mmu_table_init(&mmu, &table, table_page, 1) || mmu_table_validate(&mmu, &table, table_page, 1))
        ground_crash("a table is not taken");
}

static struct pvmmu_slot slot(size_t index)
{
    return pvmmu_slot_of(table_page.frame, index);
}

static void work(void)
{
    machine_start();
    work_smoke();
    work_rules(0);
    work_bench("");
}

static void planted_rules(void)
{
    machine_start();
    work_rules(1);
}

static void all_misuse(void)
{
    if (misuse() != 0)
        ground_crash("misuse was not answered as it should be");
}

/* A caller that returns without having left. */
static void forgotten_leave(void)
{
    boot();
    mmu_enter(&mmu);
    mmu_set(&mmu, slot(0), pte);
}

/* The same, found when the task ends: what it had queued is flushed, and reported. */
static void leak_at_exit(void)
{
    boot();
    mmu_enter(&mmu);
    mmu_set(&mmu, slot(0), pte);
    mmu_exit(&mmu);
    if (mmu.reports != 1 || ground_load(slot(0)).bits != pte.bits)
        ground_crash("the leak was not reported, or not flushed");
}

/* A hypercall of the kernel's own for an entry that has a write queued. */
static void behind_its_back(void)
{
    uint64_t update[2] = {slot(0).bits, 0};
    uint32_t done = 0;
    uint64_t arguments[5] = {(uint64_t)update, 1, (uint64_t)&done, 0x7ff0, 0};

    boot();
    update[0] = slot(0).bits;
    mmu_enter(&mmu);
    mmu_set(&mmu, slot(0), pte);
    ground_hypercall(CALL_MMU_UPDATE, arguments);
    mmu_leave(&mmu);
}

/* A store to the entry, which Xen traps. */
static void trapped_store(void)
{
    struct mockxen_who who = {1, 0, 0};

    boot();
    mmu_enter(&mmu);
    mmu_set(&mmu, slot(0), pte);
    mockxen_trapped_write(machine.guest, who, slot(0).bits, 0);
    mmu_leave(&mmu);
}

/* A switch without its hook. */
static void forgotten_switch(void)
{
    static struct pvmmu_task next;

    boot();
    mmu_task_init(&mmu, &next);
    mmu_enter(&mmu);
    mmu_set(&mmu, slot(0), pte);
    mockxen_switched(machine.guest, 0, 1, 2);
    mmu_run(&mmu, &next, 2);
}

/* A task that goes on elsewhere: what it had queued left with the switch, and what it queues next is queued there. */
static void migration(void)
{
    static struct pvmmu_task idle;

    boot();
    mmu_task_init(&mmu, &idle);
    mmu_enter(&mmu);
    mmu_set(&mmu, slot(0), pte);
    mmu_switch(&mmu, &idle, 2, ground_root(), ground_stack());
    processor.vcpu = 1;
    mmu_run(&mmu, &task, 1);
    mmu_set(&mmu, slot(1), pte);
    mmu_leave(&mmu);
}

/* The same without the switch's hook. */
static void forgotten_migration(void)
{
    boot();
    mmu_enter(&mmu);
    mmu_set(&mmu, slot(0), pte);
    processor.vcpu = 1;
    mmu_set(&mmu, slot(1), pte);
    mmu_leave(&mmu);
}

/* Room for one entry fewer than are asked for. */
static void short_buffer(void)
{
    struct pvmmu_pte *held = malloc(7 * sizeof *held);
    size_t n, cleared;

    boot();
    mmu_enter(&mmu);
    for (n = 0; n < 8; n++)
        mmu_set(&mmu, slot(n), pte);
    mmu_zap(&mmu, slot(0), 8, held, &cleared);
    mmu_leave(&mmu);
    printf("%llu\n", (unsigned long long)held[0].bits);
    free(held);
}

/* Arguments of a hypercall that are shorter than it says, read by the hypervisor. */
static void short_arguments(void)
{
    uint64_t *update = malloc(2 * sizeof *update);
    uint32_t done = 0;
    uint64_t arguments[5] = {(uint64_t)update, 2, (uint64_t)&done, 0x7ff0, 0};

    boot();
    update[0] = slot(0).bits;
    update[1] = pte.bits;
    ground_hypercall(CALL_MMU_UPDATE, arguments);
    free(update);
}

/* A slot worked out by a shift that C does not define. */
static void bad_shift(void)
{
    volatile int bits = 64;

    boot();
    mmu_set(&mmu, slot(0), pvmmu_pte_of(table_page.frame, UINT64_C(1) << bits));
}

struct scenario {
    const char *name;
    void (*run)(void);
};

static const struct scenario scenarios[] = {
    {"work", work},
    {"planted-rules", planted_rules},
    {"misuse", all_misuse},
    {"forgotten-leave", forgotten_leave},
    {"leak-at-exit", leak_at_exit},
    {"behind-its-back", behind_its_back},
    {"trapped-store", trapped_store},
    {"forgotten-switch", forgotten_switch},
    {"migration", migration},
    {"forgotten-migration", forgotten_migration},
    {"threads", threads},
    {"short-buffer", short_buffer},
    {"short-arguments", short_arguments},
    {"bad-shift", bad_shift},
};

int main(int count, char **words)
{
    uint64_t rules;
    size_t n;

    for (n = 0; n < sizeof scenarios / sizeof *scenarios; n++) {
        if (count != 2 || strcmp(words[1], scenarios[n].name) != 0)
            continue;
        scenarios[n].run();
        n = !machine_is_clean(&rules);
        mockxen_free(machine.guest);
        printf("rules=%#llx%s\n", (unsigned long long)rules, rules ? " (bit n: Rn of docs/contract.md)" : "");
        return (int)n;
    }
    if (count == 2)
        fprintf(stderr, "c-guest-mock: no scenario is called `%s`\n", words[1]);
    fprintf(stderr, "usage: c-guest-mock SCENARIO, which is one of");
    for (n = 0; n < sizeof scenarios / sizeof *scenarios; n++)
        fprintf(stderr, " %s", scenarios[n].name);
    fprintf(stderr, "\n");
    return 2;
}
