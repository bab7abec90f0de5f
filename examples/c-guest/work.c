#include "work.h"

#include "stage.h"

#define INJECTED 300
#define FORBIDDEN 77
#define CLEARED 5

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
    if (mmu_table_validate(&counted, &table, page, 1))
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
    if (mmu_table_validate(mmu, of, page, 1))
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
