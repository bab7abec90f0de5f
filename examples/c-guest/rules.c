/* One rule after the other. */
#include "stage.h"
#include "work.h"

/* Software's own flags. */
static const uint64_t marks = UINT64_C(7) << 9;

static uint64_t wrong;

static void expect(unsigned check, int holds)
{
    if (!holds)
        wrong |= UINT64_C(1) << check;
}

/* Has interrupted the task as another vCPU's request does. */
static void asked_to_flush(void)
{
    expect(31, !pvmmu_interrupt_flush(&counted.kernel, &counted.why));
    expect(32, same(ground_load(slot(11)), marked(5)));
}

/* Has interrupted the task in a region: its operation is effective at once, and takes along what was queued. */
static void handler(void)
{
    uint32_t lazy = 1;

    expect(0, mmu_enter(&counted) == PVMMU_ERROR_INTERRUPT);
    expect(1, mmu_set(&counted, slot(20), marked(5)) == PVMMU_ERROR_NONE);
    expect(2, same(ground_load(slot(20)), marked(5)));
    expect(3, same(ground_load(slot(10)), marked(5)));
    expect(4, !pvmmu_is_lazy(counted.current, &lazy, &counted.why) && !lazy);
}

static void interrupts(void)
{
    uint32_t lazy = 0;

    expect(5, !mmu_enter(&counted));
    expect(6, mmu_enter(&counted) == PVMMU_ERROR_NESTED);
    expect(7, !mmu_set(&counted, slot(10), marked(5)));
    expect(8, same(mmu_read(&counted, slot(10)), marked(5)) && !same(ground_load(slot(10)), marked(5)));
    ground_interrupt(handler);
    expect(9, !pvmmu_is_lazy(counted.current, &lazy, &counted.why) && lazy);
    expect(10, !mmu_set(&counted, slot(11), marked(5)));
    ground_interrupt(asked_to_flush);
    expect(11, !mmu_leave(&counted) && same(ground_load(slot(11)), marked(5)));
    expect(12, mmu_leave(&counted) == PVMMU_ERROR_NOT_ENTERED);
}

static void switches(void)
{
    uint32_t lazy = 1;

    expect(13, !mmu_enter(&counted) && !mmu_set(&counted, slot(12), marked(6)));
    expect(14, !mmu_switch(&counted, &other, 2, ground_root(), ground_stack()));
    expect(15, same(ground_load(slot(12)), marked(6)));
    expect(16, !pvmmu_is_lazy(counted.current, &lazy, &counted.why) && !lazy);
    expect(17, !mmu_set(&counted, slot(13), marked(6)) && same(ground_load(slot(13)), marked(6)));
    expect(18, !mmu_switch(&counted, &task, 1, ground_root(), ground_stack()));
    expect(19, !mmu_set(&counted, slot(14), marked(6)) && !same(ground_load(slot(14)), marked(6)));
    expect(20, !mmu_pause(&counted) && same(ground_load(slot(14)), marked(6)));
    expect(21, !mmu_set(&counted, slot(15), marked(6)) && same(ground_load(slot(15)), marked(6)));
    expect(22, !mmu_resume(&counted) && mmu_resume(&counted) == PVMMU_ERROR_NOT_PAUSED);
    expect(23, !mmu_leave(&counted));
}

/* Gives entries another mark. */
static uint32_t mark_again(void *data, size_t n, struct pvmmu_pte known, struct pvmmu_pte *pte)
{
    (void)data;
    (void)n;
    pte->bits = (known.bits & ~marks) | UINT64_C(7) << 9;
    return (known.bits & PTE_PRESENT) != 0;
}

static void changes(void)
{
    struct pvmmu_pte used = {marked(3).bits | PTE_RW | PTE_ACCESSED | PTE_DIRTY};
    struct pvmmu_pte again = {marked(7).bits | PTE_RW | PTE_ACCESSED | PTE_DIRTY};
    struct pvmmu_pte aged = {again.bits & ~PTE_ACCESSED};
    struct pvmmu_pte clean = {marked(2).bits};
    uint64_t young[8] = {0};

    expect(33, !mmu_enter(&counted) && !mmu_set(&counted, slot(30), used));
    expect(34, !mmu_modify(&counted, slot(30), mark_again, again));
    expect(35, same(mmu_read(&counted, slot(30)), again));
    expect(36, !mmu_leave(&counted) && same(ground_load(slot(30)), again));
    expect(37, !mmu_age(&counted, slot(30), young) && young[0] == 1 && young[1] == 0);
    expect(38, same(ground_load(slot(30)), aged));
    /* What the processor has noted stays. */
    clean.bits |= PTE_DIRTY;
    expect(39, !mmu_commit(&counted, slot(30), marked(2)) && same(ground_load(slot(30)), clean));
}

static struct page upper_page;
static struct page lower_page;
static struct pvmmu_table upper;
static struct pvmmu_table lower;

/* A table below another, rewritten there, and given up. */
static void tables(void)
{
    struct pvmmu_pte flags = {PTE_PRESENT | PTE_RW | PTE_USER};
    struct pvmmu_slot at;
    struct pvmmu_pte none = {0}, held;
    uint32_t state = 0;
    size_t n;

    if (upper_page.frame.number == 0) {
        upper_page = ground_take_page();
        lower_page = ground_take_page();
    }
    at = pvmmu_slot_of(upper_page.frame, 3);
    expect(40, !mmu_table_init(&counted, &upper, upper_page, 2) && !mmu_table_init(&counted, &lower, lower_page, 1));
    for (n = 0; n < ENTRIES; n++)
        expect(41, !pvmmu_table_store(&lower, n, marked(1), &counted.why));
    expect(42, !mmu_table_validate(&counted, &upper, upper_page, 2));
    expect(43, !mmu_table_attach(&counted, &lower, lower_page, at, flags));
    expect(44, pvmmu_pte_frame(ground_load(at)).number == lower_page.frame.number);
    expect(45, !mmu_table_rewrite(&counted, &lower, lower_page, at, flags, mark_again));
    expect(46, same(ground_load(pvmmu_slot_of(lower_page.frame, 511)), marked(7)));
    expect(47, !mmu_table_detach(&counted, &lower, lower_page, at));
    expect(48, pvmmu_pte_is_none(ground_load(at)));
    expect(49, !pvmmu_table_load(&lower, 511, &held, &counted.why) && same(held, marked(7)));
    expect(50, !pvmmu_table_state(&lower, &state, &counted.why) && state == PVMMU_TABLE_DRAFT);
    expect(51, !mmu_set_upper(&counted, at, none));
    expect(52, !mmu_table_retire(&counted, &upper, upper_page));
    expect(53, !pvmmu_table_forget(&lower, &counted.why));
    expect(54, pvmmu_table_state(&lower, &state, &counted.why) == PVMMU_ERROR_NOT_INITIALISED);
}

static int counts_add_up(void)
{
    struct pvmmu_stats stats;
    uint64_t flushes = 0;
    size_t reason;

    if (pvmmu_stats(&counted.kernel, &stats, &counted.why))
        return 0;
    for (reason = 0; reason < PVMMU_FLUSH_REASONS; reason++)
        flushes += stats.flushes_by_reason[reason];
    return flushes == stats.flushes && stats.pending == 0
           && stats.queued == stats.applied + stats.refused + stats.not_attempted + stats.merged + stats.superseded;
}

void work_rules(int planted)
{
    struct pvmmu_pte none = {0};
    struct pvmmu_pte held;
    size_t n;

    make_ready();
    wrong = 0;
    counted.forgets_switch = planted;
    for (n = 0; n < ENTRIES; n++)
        expect(24, !pvmmu_table_store(&table, n, none, &counted.why));
    expect(25, !mmu_table_validate(&counted, &table, page, 1));
    expect(26, pvmmu_table_store(&table, 0, none, &counted.why) == PVMMU_ERROR_TABLE_STATE);
    interrupts();
    switches();
    changes();
    tables();
    expect(27, !mmu_table_retire(&counted, &table, page));
    expect(28, !pvmmu_table_load(&table, 12, &held, &counted.why) && same(held, marked(6)));
    expect(29, counts_add_up());
    for (n = 0; n < ENTRIES; n++)
        expect(30, !pvmmu_table_store(&table, n, none, &counted.why));
    ground_tell("rules_wrong", wrong);
}
