#include "work.h"

#define INJECTED 300
#define FORBIDDEN 77
#define CLEARED 5
#define FRAMES 8

/* Two kernels for the library: one that counts, and one that is measured. */
static struct mmu counted;
static struct mmu bare;
static struct pvmmu_task task;
static struct pvmmu_task other;
static struct pvmmu_task bare_task;

static struct page frames[FRAMES];
static struct page page;
static struct pvmmu_table table;
static struct pvmmu_table bare_table;

static int is_ready;

static void make_ready(void)
{
    size_t n;

    if (is_ready)
        return;
    is_ready = 1;
    mmu_init(&counted, MMU_COUNTED);
    mmu_init(&bare, MMU_BARE);
    mmu_task_init(&counted, &task);
    mmu_task_init(&counted, &other);
    mmu_task_init(&bare, &bare_task);
    mmu_run(&counted, &task, 1);
    mmu_run(&bare, &bare_task, 3);
    page = ground_take_page();
    for (n = 0; n < FRAMES; n++)
        frames[n] = ground_take_page();
    if (mmu_table_init(&counted, &table, page) || mmu_table_init(&bare, &bare_table, page))
        ground_crash("a table is not taken");
}

static struct pvmmu_slot slot(size_t index)
{
    return pvmmu_slot_of(page.frame, index);
}

static int same(struct pvmmu_pte a, struct pvmmu_pte b)
{
    return a.bits == b.bits;
}

/* An entry of the region with this number: software's own flags differ. */
static struct pvmmu_pte marked(uint64_t region)
{
    return pvmmu_pte_of(frames[0].frame, PTE_FLAGS | region << 9);
}

/* Sets every entry in one region, but for entry `odd`, flushes the TLBs in it, and leaves. */
static enum pvmmu_error whole_table(struct pvmmu_pte pte, size_t odd, struct pvmmu_pte odd_pte)
{
    size_t n;

    if (mmu_enter(&counted))
        ground_crash("a region is not entered");
    for (n = 0; n < ENTRIES; n++)
        if (mmu_set(&counted, slot(n), n == odd ? odd_pte : pte))
            ground_crash("what may wait was refused");
    if (mmu_flush_tlbs(&counted))
        ground_crash("what may wait was refused");
    return mmu_leave(&counted);
}

/* Entries that do not hold `pte`, or entry `odd` `odd_pte`. */
static uint64_t differing(struct pvmmu_pte pte, size_t odd, struct pvmmu_pte odd_pte)
{
    uint64_t found = 0;
    size_t n;

    for (n = 0; n < ENTRIES; n++)
        found += !same(ground_load(slot(n)), n == odd ? odd_pte : pte);
    return found;
}

static void tell_failure(const char *failures, const char *at, const char *errno_of, enum pvmmu_error error)
{
    const struct pvmmu_failure *first = &counted.why.failures[0];
    int is_update = error == PVMMU_ERROR_FAILED && first->operation.kind == PVMMU_OP_UPDATE;

    ground_tell(failures, error == PVMMU_ERROR_FAILED ? counted.why.failed : 0);
    ground_tell(at, is_update ? first->operation.slot.bits % 4096 / 8 : ENTRIES);
    ground_tell(errno_of, error == PVMMU_ERROR_FAILED ? first->errno : 0);
}

static void outside_a_region(struct pvmmu_pte pte)
{
    static struct pvmmu_pte ptes[ENTRIES];
    struct pvmmu_pte held = {0};
    struct pvmmu_pte none = {0};
    size_t n;

    for (n = 0; n < ENTRIES; n++)
        ptes[n] = pte;
    counted.hypercalls = 0;
    counted.operations = 0;
    if (mmu_set_range(&counted, slot(0), ptes, ENTRIES))
        ground_crash("a range is not set");
    ground_tell("range_hypercalls", counted.hypercalls);
    ground_tell("range_operations", counted.operations);
    ground_tell_truth("clear_answers", !mmu_clear(&counted, slot(CLEARED), &held) && same(held, pte));
    ground_tell("clear_differing", differing(pte, CLEARED, none));
}

void work_smoke(void)
{
    struct pvmmu_pte writable_table;
    enum pvmmu_error error;

    make_ready();
    writable_table = pvmmu_pte_of(page.frame, PTE_FLAGS | PTE_RW);
    if (mmu_table_validate(&counted, &table, page))
        ground_crash("an empty table is not taken");
    counted.hypercalls = 0;
    counted.operations = 0;
    counted.reports = 0;
    if (whole_table(marked(1), ENTRIES, marked(1)))
        ground_crash("a region failed");
    ground_tell("clean_hypercalls", counted.hypercalls);
    ground_tell("clean_operations", counted.operations);
    ground_tell("clean_differing", differing(marked(1), ENTRIES, marked(1)));

    counted.refuse = counted.operations + INJECTED;
    error = whole_table(marked(2), ENTRIES, marked(2));
    tell_failure("injected_failures", "injected_at", "injected_errno", error);
    ground_tell("injected_differing", differing(marked(2), INJECTED, marked(1)));

    error = whole_table(marked(3), FORBIDDEN, writable_table);
    tell_failure("forbidden_failures", "forbidden_at", "forbidden_errno", error);
    ground_tell("forbidden_differing", differing(marked(3), FORBIDDEN, marked(2)));
    ground_tell("reports", counted.reports);
    outside_a_region(marked(4));
    if (mmu_table_retire(&counted, &table, page))
        ground_crash("a table is not given up");
}

static uint64_t wrong;

static void expect(unsigned check, int holds)
{
    if (!holds)
        wrong |= UINT64_C(1) << check;
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

void work_rules(void)
{
    struct pvmmu_pte none = {0};
    struct pvmmu_pte held;
    size_t n;

    make_ready();
    wrong = 0;
    for (n = 0; n < ENTRIES; n++)
        expect(24, !pvmmu_table_store(&table, n, none, &counted.why));
    expect(25, !mmu_table_validate(&counted, &table, page));
    expect(26, pvmmu_table_store(&table, 0, none, &counted.why) == PVMMU_ERROR_TABLE_STATE);
    interrupts();
    switches();
    expect(27, !mmu_table_retire(&counted, &table, page));
    expect(28, !pvmmu_table_load(&table, 12, &held, &counted.why) && same(held, marked(6)));
    expect(29, counts_add_up());
    for (n = 0; n < ENTRIES; n++)
        expect(30, !pvmmu_table_store(&table, n, none, &counted.why));
    ground_tell("rules_wrong", wrong);
}

struct workload {
    const char *name;
    /* The region in which it is done. */
    void (*work)(struct mmu *mmu);
    uint64_t updates;
    /* Flags that entries have before and after beyond those of all; `NEVER` for none at all. */
    uint64_t before;
    uint64_t after;
};

/* An entry that has been used and stored through. */
static struct pvmmu_pte used(size_t n, uint64_t more)
{
    struct pvmmu_pte none = {0};

    if (more == NEVER)
        return none;
    return pvmmu_pte_of(frames[n % FRAMES].frame, PTE_FLAGS | PTE_ACCESSED | PTE_DIRTY | more);
}

/* What the caller has at hand, and room for what it is given. */
static struct pvmmu_pte wanted[ENTRIES];
static struct pvmmu_pte given[ENTRIES];
static uint64_t sum;

static void in_region(struct mmu *mmu, void (*work)(struct mmu *mmu))
{
    if (mmu_enter(mmu))
        ground_crash("a region is not entered");
    work(mmu);
    if (mmu_leave(mmu))
        ground_crash("a region failed");
}

static void nothing(struct mmu *mmu)
{
    (void)mmu;
}

static void fill(struct mmu *mmu)
{
    size_t n;

    for (n = 0; n < ENTRIES; n++)
        mmu_set(mmu, slot(n), wanted[n]);
}

static void fill_range(struct mmu *mmu)
{
    mmu_set_range(mmu, slot(0), wanted, ENTRIES);
}

static uint64_t sum_of(const struct pvmmu_pte *ptes, size_t count)
{
    uint64_t all = 0;
    size_t n;

    for (n = 0; n < count; n++)
        all = (all ^ ptes[n].bits) * UINT64_C(0x100000001b3);
    return all;
}

static void zap(struct mmu *mmu)
{
    size_t cleared;

    mmu_zap(mmu, slot(0), ENTRIES, given, &cleared);
    sum = sum_of(given, cleared);
}

static void wrprotect(struct mmu *mmu)
{
    mmu_wrprotect(mmu, slot(0), ENTRIES);
}

static const struct workload workloads[] = {
    {"fill-512", fill, ENTRIES, NEVER, 0},
    {"fill-range-512", fill_range, ENTRIES, NEVER, 0},
    {"zap-512", zap, ENTRIES, PTE_RW, NEVER},
    {"wrprotect-512", wrprotect, ENTRIES, PTE_RW, 0},
    {"empty", nothing, 0, NEVER, NEVER},
};

/* Does it once, and answers with what it took. */
static uint64_t once(struct mmu *mmu, struct pvmmu_table *of, const struct workload *workload)
{
    struct pvmmu_pte before[ENTRIES];
    uint64_t took;
    size_t n;

    for (n = 0; n < ENTRIES; n++) {
        before[n] = used(n, workload->before);
        wanted[n] = used(n, workload->after);
        pvmmu_table_store(of, n, before[n], &mmu->why);
    }
    if (mmu_table_validate(mmu, of, page))
        ground_crash("a table is not taken");
    mmu->hypercalls = 0;
    took = ground_ticks();
    in_region(mmu, workload->work);
    took = ground_ticks() - took;
    for (n = 0; n < ENTRIES; n++)
        if (!same(ground_load(slot(n)), wanted[n])
            && !(workload->after == NEVER && pvmmu_pte_is_none(ground_load(slot(n)))))
            ground_crash("a workload has not done what it is for");
    if (workload->work == zap && sum != sum_of(before, ENTRIES))
        ground_crash("what entries held was not what they held");
    return took;
}

/* The same on a table that is given up again, and how many hypercalls it took. */
static uint64_t measured(struct mmu *mmu, struct pvmmu_table *of, const struct workload *workload, uint64_t *hypercalls)
{
    uint64_t took = once(mmu, of, workload);

    *hypercalls = mmu->hypercalls;
    if (mmu_table_retire(mmu, of, page))
        ground_crash("a table is not given up");
    return took;
}

static uint64_t lowest(const struct workload *workload)
{
    uint64_t best = NEVER, nothing_at_all = NEVER, ignored, took;
    int repetition;

    for (repetition = 0; repetition < 3; repetition++) {
        took = measured(&bare, &bare_table, workload, &ignored);
        best = took < best ? took : best;
        took = ground_ticks();
        took = ground_ticks() - took;
        nothing_at_all = took < nothing_at_all ? took : nothing_at_all;
    }
    return best - nothing_at_all;
}

static int is_same_name(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

int work_bench(const char *name)
{
    uint64_t hypercalls;
    size_t n;
    int found = 0;

    make_ready();
    for (n = 0; n < sizeof workloads / sizeof *workloads; n++) {
        if (*name && !is_same_name(name, workloads[n].name))
            continue;
        measured(&counted, &table, &workloads[n], &hypercalls);
        ground_tell_row(workloads[n].name, workloads[n].updates, hypercalls, lowest(&workloads[n]));
        found = 1;
    }
    return found;
}
