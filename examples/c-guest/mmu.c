#include "mmu.h"

#include "watch.h"

#define EBUSY 16
/* Xen's command for an update that keeps accessed and dirty. */
#define PRESERVE UINT64_C(2)

struct multicall_entry {
    uint64_t number;
    int64_t result;
    uint64_t arguments[6];
};

static struct pvmmu_queue *lock(void *data, struct pvmmu_here *here)
{
    struct mmu *mmu = data;

    here->saved = ground_mask();
    here->vcpu = ground_vcpu();
    here->context = ground_context();
    return &mmu->queues[here->vcpu];
}

static void unlock(void *data, const struct pvmmu_here *here)
{
    (void)data;
    ground_unmask(here->saved);
}

static int64_t bare_hypercall(void *data, uint64_t number, const uint64_t *arguments)
{
    (void)data;
    return ground_hypercall(number, arguments);
}

/* One call of its own, or of a multicall; up to the operation that is to be refused. */
static int64_t counted_call(struct mmu *mmu, uint64_t number, const uint64_t *arguments)
{
    int is_array = number == CALL_MMU_UPDATE || number == CALL_MMUEXT_OP;
    uint64_t count = is_array ? arguments[1] : 1;
    uint64_t shortened[5] = {arguments[0], arguments[1], arguments[2], arguments[3], arguments[4]};
    uint64_t before = mmu->operations;

    mmu->operations += count;
    if (mmu->refuse < before || mmu->refuse >= mmu->operations)
        return ground_hypercall(number, arguments);
    shortened[1] = mmu->refuse - before;
    mmu->refuse = NEVER;
    if (!is_array)
        return -EBUSY;
    if (shortened[1] == 0)
        *(uint32_t *)arguments[2] = 0;
    else if (ground_hypercall(number, shortened) != 0)
        ground_crash("an operation before the refused one was refused");
    if (number == CALL_MMU_UPDATE)
        watch_refused((const uint64_t *)arguments[0] + 2 * shortened[1], count - shortened[1] - 1);
    return -EBUSY;
}

static int64_t counted_hypercall(void *data, uint64_t number, const uint64_t *arguments)
{
    struct mmu *mmu = data;
    struct multicall_entry *entries = (struct multicall_entry *)arguments[0];
    uint64_t entry;

    mmu->hypercalls++;
    if (number != CALL_MULTICALL)
        return counted_call(mmu, number, arguments);
    if (mmu->refuse == NEVER) {
        for (entry = 0; entry < arguments[1]; entry++)
            mmu->operations += entries[entry].number == CALL_MMU_UPDATE || entries[entry].number == CALL_MMUEXT_OP
                                   ? entries[entry].arguments[1]
                                   : 1;
        return ground_hypercall(number, arguments);
    }
    for (entry = 0; entry < arguments[1]; entry++)
        entries[entry].result = counted_call(mmu, entries[entry].number, entries[entry].arguments);
    return 0;
}

static struct pvmmu_pte load(void *data, struct pvmmu_slot slot)
{
    (void)data;
    return ground_load(slot);
}

static const uint64_t *table_at(void *data, struct pvmmu_mfn table)
{
    (void)data;
    return ground_table(table);
}

static void store(void *data, struct pvmmu_slot slot, struct pvmmu_pte pte)
{
    (void)data;
    ground_store(slot, pte);
}

static void online(void *data, struct pvmmu_vcpus *vcpus)
{
    (void)data;
    vcpus->words[0] = 1;
    vcpus->words[1] = 0;
}

/* One vCPU runs. */
static void flush_others(void *data, struct pvmmu_mfn table)
{
    (void)data;
    (void)table;
}

static void report(void *data, const struct pvmmu_report *report)
{
    struct mmu *mmu = data;

    mmu->reports++;
    watch_report(mmu, report);
}

static void fatal(void *data, enum pvmmu_error error)
{
    (void)data;
    (void)error;
    ground_crash("the vCPU was lost in the middle of a call");
}

void mmu_init(struct mmu *mmu, enum mmu_way way)
{
    struct pvmmu_platform platform = {
        .data = mmu,
        .lock = lock,
        .unlock = unlock,
        .hypercall = way == MMU_BARE ? bare_hypercall : counted_hypercall,
        .load = load,
        .online = online,
        .flush_others = flush_others,
        .report = report,
        .fatal = fatal,
        .table = table_at,
        .store = store,
    };
    uint32_t vcpu;

    mmu->hypercalls = 0;
    mmu->operations = 0;
    mmu->reports = 0;
    mmu->refuse = NEVER;
    if (pvmmu_kernel_init(&mmu->kernel, sizeof mmu->kernel, &platform, &mmu->why))
        ground_crash("the kernel is not taken");
    for (vcpu = 0; vcpu < VCPUS; vcpu++)
        if (pvmmu_queue_init(&mmu->queues[vcpu], sizeof mmu->queues[vcpu], vcpu, &mmu->why))
            ground_crash("a queue is not taken");
}

void mmu_task_init(struct mmu *mmu, struct pvmmu_task *task)
{
    if (pvmmu_task_init(task, sizeof *task, &mmu->kernel, PVMMU_PROFILE_STRICT, &mmu->why))
        ground_crash("a task is not taken");
}

void mmu_run(struct mmu *mmu, struct pvmmu_task *task, uint64_t number)
{
    mmu->current = task;
    mmu->task_number = number;
}

enum pvmmu_error mmu_enter(struct mmu *mmu)
{
    enum pvmmu_error error = pvmmu_enter(mmu->current, &mmu->why);

    watch_entered(mmu, error);
    return error;
}

enum pvmmu_error mmu_leave(struct mmu *mmu)
{
    enum pvmmu_error error;

    watch_leaves(mmu);
    error = pvmmu_leave(mmu->current, &mmu->why);
    watch_left(mmu, error);
    return error;
}

enum pvmmu_error mmu_pause(struct mmu *mmu)
{
    enum pvmmu_error error = pvmmu_pause(mmu->current, &mmu->why);

    watch_paused(mmu, error);
    return error;
}

enum pvmmu_error mmu_resume(struct mmu *mmu)
{
    enum pvmmu_error error = pvmmu_resume(mmu->current, &mmu->why);

    watch_resumed(mmu, error);
    return error;
}

enum pvmmu_error mmu_set(struct mmu *mmu, struct pvmmu_slot slot, struct pvmmu_pte pte)
{
    uint64_t request = watch_update(mmu, slot.bits, pte);
    enum pvmmu_error error = pvmmu_set_pte(mmu->current, slot, pte, &mmu->why);

    watch_answered(mmu, error, request, 1);
    return error;
}

static struct pvmmu_pte nth(void *data, size_t n)
{
    const struct pvmmu_pte *ptes = data;

    return ptes[n];
}

enum pvmmu_error mmu_set_range(struct mmu *mmu, struct pvmmu_slot slot, const struct pvmmu_pte *ptes, size_t count)
{
    uint64_t request = watch_updates(mmu, slot.bits, ptes, count);
    enum pvmmu_error error = pvmmu_set_ptes(mmu->current, slot, count, nth, (void *)ptes, &mmu->why);

    watch_answered(mmu, error, request, count);
    return error;
}

enum pvmmu_error mmu_wrprotect(struct mmu *mmu, struct pvmmu_slot slot, size_t count)
{
    size_t requests;
    uint64_t request = watch_wrprotect(mmu, slot.bits, count, &requests);
    enum pvmmu_error error = pvmmu_wrprotect(mmu->current, slot, count, &mmu->why);

    watch_answered(mmu, error, request, requests);
    return error;
}

enum pvmmu_error mmu_flush_tlbs(struct mmu *mmu)
{
    struct pvmmu_operation operation = {.kind = PVMMU_OP_TLB_FLUSH_ALL};
    uint64_t request = watch_flush_tlbs(mmu);
    enum pvmmu_error error = pvmmu_operation(mmu->current, &operation, &mmu->why);

    watch_answered(mmu, error, request, 1);
    return error;
}

struct pvmmu_pte mmu_read(struct mmu *mmu, struct pvmmu_slot slot)
{
    struct pvmmu_pte pte;

    if (pvmmu_read_pte(mmu->current, slot, &pte, &mmu->why))
        ground_crash("an entry is not read");
    watch_read(mmu, slot.bits, pte);
    return pte;
}

/* Where what entries held goes. */
struct gathered {
    struct pvmmu_pte *held;
    size_t count;
};

static void gather(void *data, struct pvmmu_slot slot, struct pvmmu_pte held)
{
    struct gathered *gathered = data;

    watch_seen(slot.bits, held);
    gathered->held[gathered->count] = held;
    gathered->count++;
}

enum pvmmu_error mmu_zap(struct mmu *mmu, struct pvmmu_slot slot, size_t count, struct pvmmu_pte *held, size_t *cleared)
{
    static struct pvmmu_held room;
    static int is_room;
    struct gathered gathered = {held, 0};
    enum pvmmu_error error;
    size_t requests;
    uint64_t request;

    if (!is_room && pvmmu_held_init(&room, sizeof room, &mmu->why))
        ground_crash("room is not taken");
    is_room = 1;
    request = watch_zap(mmu, slot.bits, count, &requests);
    error = pvmmu_harvest(mmu->current, slot, count, 0, &room, gather, &gathered, &mmu->why);
    watch_answered(mmu, error, request, requests);
    *cleared = gathered.count;
    return error;
}

enum pvmmu_error mmu_clear(struct mmu *mmu, struct pvmmu_slot slot, struct pvmmu_pte *held)
{
    size_t requests;
    uint64_t request = watch_zap(mmu, slot.bits, 1, &requests);
    enum pvmmu_error error = pvmmu_get_and_clear(mmu->current, slot, held, &mmu->why);

    if (!error)
        watch_seen(slot.bits, *held);
    watch_answered(mmu, error, request, requests);
    return error;
}

enum pvmmu_error mmu_switch(struct mmu *mmu, struct pvmmu_task *next, uint64_t number, struct pvmmu_mfn root,
                            struct pvmmu_va stack)
{
    struct pvmmu_operation operations[3] = {
        {.kind = PVMMU_OP_NEW_BASEPTR, .frame = root},
        {.kind = PVMMU_OP_NEW_USER_BASEPTR},
        {.kind = PVMMU_OP_STACK_SWITCH, .value = 0xe02b, .address = stack},
    };
    enum pvmmu_error error;

    watch_switches(mmu, root, stack);
    error = mmu->forgets_switch ? PVMMU_ERROR_NONE : pvmmu_switch(&mmu->kernel, operations, 3, &mmu->why);
    watch_switched(mmu, number);
    mmu_run(mmu, next, number);
    return error;
}

enum pvmmu_error mmu_exit(struct mmu *mmu)
{
    enum pvmmu_error error = pvmmu_task_exit(mmu->current, &mmu->why);

    watch_exited(mmu);
    return error;
}

enum pvmmu_error mmu_modify(struct mmu *mmu, struct pvmmu_slot slot, pvmmu_change_fn change, struct pvmmu_pte becomes)
{
    uint64_t request = watch_update(mmu, slot.bits | PRESERVE, becomes);
    enum pvmmu_error error = pvmmu_modify(mmu->current, slot, 1, change, NULL, &mmu->why);

    (void)becomes;
    watch_answered(mmu, error, request, 1);
    return error;
}

enum pvmmu_error mmu_commit(struct mmu *mmu, struct pvmmu_slot slot, struct pvmmu_pte pte)
{
    uint64_t request = watch_update(mmu, slot.bits | PRESERVE, pte);
    enum pvmmu_error error = pvmmu_commit_pte(mmu->current, slot, pte, &mmu->why);

    watch_answered(mmu, error, request, 1);
    return error;
}

enum pvmmu_error mmu_age(struct mmu *mmu, struct pvmmu_slot slot, uint64_t young[8])
{
    struct pvmmu_pte aged = {ground_load(slot).bits & ~PTE_ACCESSED};
    uint64_t request = watch_update(mmu, slot.bits, aged);
    enum pvmmu_error error = pvmmu_test_and_clear_young(mmu->current, slot, 1, young, &mmu->why);

    (void)aged;
    watch_answered(mmu, error, request, 1);
    return error;
}

enum pvmmu_error mmu_set_upper(struct mmu *mmu, struct pvmmu_slot slot, struct pvmmu_pte pte)
{
    uint64_t request = watch_upper(mmu, slot.bits, pte);
    enum pvmmu_error error = pvmmu_set_upper(mmu->current, slot, pte, &mmu->why);

    watch_answered(mmu, error, request, 1);
    return error;
}

enum pvmmu_error mmu_table_init(struct mmu *mmu, struct pvmmu_table *table, struct page page, uint32_t level)
{
    struct pvmmu_pte writable = pvmmu_pte_of(page.frame, PTE_WRITABLE);

    return pvmmu_table_init(table, sizeof *table, &mmu->kernel, level, page.frame, page.address, writable, &mmu->why);
}

enum pvmmu_error mmu_table_validate(struct mmu *mmu, struct pvmmu_table *table, struct page page, uint32_t level)
{
    uint64_t request = watch_validate(mmu, page, level);
    enum pvmmu_error error = pvmmu_table_validate(table, mmu->current, &mmu->why);

    watch_answered(mmu, error, request, 2);
    return error;
}

enum pvmmu_error mmu_table_retire(struct mmu *mmu, struct pvmmu_table *table, struct page page)
{
    uint64_t request = watch_retire(mmu, page);
    enum pvmmu_error error = pvmmu_table_retire(table, mmu->current, &mmu->why);

    watch_answered(mmu, error, request, 2);
    return error;
}

enum pvmmu_error mmu_table_attach(struct mmu *mmu, struct pvmmu_table *table, struct page page, struct pvmmu_slot at,
                                  struct pvmmu_pte flags)
{
    uint64_t request = watch_attach(mmu, page, at.bits, flags);
    enum pvmmu_error error = pvmmu_table_attach(table, mmu->current, at, flags, &mmu->why);

    watch_answered(mmu, error, request, 2);
    return error;
}

/* All entries change, so the table is given up, stored to, and made live again. */
enum pvmmu_error mmu_table_rewrite(struct mmu *mmu, struct pvmmu_table *table, struct page page, struct pvmmu_slot at,
                                   struct pvmmu_pte flags, pvmmu_change_fn change)
{
    uint64_t request = watch_detach(mmu, page, at.bits);
    enum pvmmu_error error;

    (void)watch_attach(mmu, page, at.bits, flags);
    error = pvmmu_table_rewrite(table, mmu->current, ENTRIES, change, NULL, &mmu->why);
    watch_answered(mmu, error, request, 4);
    return error;
}

enum pvmmu_error mmu_table_detach(struct mmu *mmu, struct pvmmu_table *table, struct page page, struct pvmmu_slot at)
{
    uint64_t request = watch_detach(mmu, page, at.bits);
    enum pvmmu_error error = pvmmu_table_retire(table, mmu->current, &mmu->why);

    watch_answered(mmu, error, request, 2);
    return error;
}
