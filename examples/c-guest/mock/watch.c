#include "watch.h"

#include "machine.h"

#define PRESERVE UINT64_C(2)
#define MMUEXT_PIN_L1 0
#define MMUEXT_UNPIN 4
#define MMUEXT_NEW_BASEPTR 5
#define MMUEXT_TLB_FLUSH_ALL 10
#define MMUEXT_NEW_USER_BASEPTR 15

static struct mockxen_who who(const struct mmu *mmu)
{
    struct mockxen_who here = {mmu->task_number, ground_vcpu(), ground_context()};

    return here;
}

static void tell_failure(const struct pvmmu_failure *failure)
{
    const struct pvmmu_operation *operation = &failure->operation;

    if (operation->kind == PVMMU_OP_UPDATE)
        mockxen_failed_update(machine.guest, ground_vcpu(), operation->slot.bits, operation->pte.bits, failure->errno);
    else
        ground_crash("a failure of this kind is not told to the referee");
}

static void tell_failures(const struct mmu *mmu, enum pvmmu_error error)
{
    uint32_t n;

    if (error != PVMMU_ERROR_FAILED)
        return;
    for (n = 0; n < mmu->why.failed && n < PVMMU_FAILURES; n++)
        tell_failure(&mmu->why.failures[n]);
}

void watch_report(struct mmu *mmu, const struct pvmmu_report *report)
{
    if (report->kind == PVMMU_REPORT_FAILED)
        tell_failure(&report->failure);
    if (report->kind == PVMMU_REPORT_LEAKED_REGION)
        mockxen_leak_reported(machine.guest, who(mmu));
}

void watch_refused(const uint64_t *updates, size_t behind)
{
    mockxen_refused(machine.guest, ground_vcpu(), updates, behind, 16);
}

void watch_entered(struct mmu *mmu, enum pvmmu_error error)
{
    mockxen_entered(machine.guest, who(mmu), error == PVMMU_ERROR_NONE);
}

void watch_leaves(struct mmu *mmu)
{
    mockxen_leaves(machine.guest, who(mmu));
}

void watch_left(struct mmu *mmu, enum pvmmu_error error)
{
    tell_failures(mmu, error);
    mockxen_left(machine.guest, who(mmu), error == PVMMU_ERROR_NONE || error == PVMMU_ERROR_FAILED);
}

void watch_paused(struct mmu *mmu, enum pvmmu_error error)
{
    tell_failures(mmu, error);
    mockxen_paused(machine.guest, who(mmu), error == PVMMU_ERROR_NONE || error == PVMMU_ERROR_FAILED);
}

void watch_resumed(struct mmu *mmu, enum pvmmu_error error)
{
    mockxen_resumed(machine.guest, who(mmu), error == PVMMU_ERROR_NONE || error == PVMMU_ERROR_OPEN_REGIONS);
}

uint64_t watch_update(struct mmu *mmu, uint64_t slot, struct pvmmu_pte pte)
{
    return mockxen_ask_update(machine.guest, who(mmu), 1, slot, pte.bits);
}

uint64_t watch_updates(struct mmu *mmu, uint64_t slot, const struct pvmmu_pte *ptes, size_t count)
{
    uint64_t first = watch_update(mmu, slot, ptes[0]);
    size_t n;

    for (n = 1; n < count; n++)
        watch_update(mmu, slot + 8 * n, ptes[n]);
    return first;
}

/* Present entries, as the kernel's own operations leave them, are to become what `keep` leaves of them. */
static uint64_t watch_change(struct mmu *mmu, uint64_t slot, size_t count, uint64_t needs, uint64_t keep, size_t *requests)
{
    uint64_t first = 0, request;
    struct pvmmu_pte old;
    size_t n;

    *requests = 0;
    for (n = 0; n < count; n++, slot += 8) {
        struct pvmmu_slot at = {slot};

        if (pvmmu_read_pte(mmu->current, at, &old, &mmu->why) || (old.bits & needs) != needs)
            continue;
        old.bits &= keep;
        request = watch_update(mmu, slot | PRESERVE, old);
        first = *requests ? first : request;
        ++*requests;
    }
    return first;
}

uint64_t watch_wrprotect(struct mmu *mmu, uint64_t slot, size_t count, size_t *requests)
{
    return watch_change(mmu, slot, count, PTE_PRESENT | PTE_RW, ~PTE_RW, requests);
}

uint64_t watch_zap(struct mmu *mmu, uint64_t slot, size_t count, size_t *requests)
{
    return watch_change(mmu, slot, count, PTE_PRESENT, 0, requests);
}

static uint64_t mmuext(struct mmu *mmu, uint32_t command, uint64_t frame)
{
    return mockxen_ask_mmuext(machine.guest, who(mmu), command, frame, 0);
}

uint64_t watch_flush_tlbs(struct mmu *mmu)
{
    return mmuext(mmu, MMUEXT_TLB_FLUSH_ALL, 0);
}

static uint64_t remap(struct mmu *mmu, struct page page, uint64_t flags, uint32_t flushes)
{
    uint64_t pte = pvmmu_pte_of(page.frame, flags).bits;

    return mockxen_ask_va_mapping(machine.guest, who(mmu), page.address.address, pte, flushes);
}

uint64_t watch_validate(struct mmu *mmu, struct page page, uint32_t level)
{
    uint64_t first = remap(mmu, page, PTE_WRITABLE & ~PTE_RW, 0);

    mmuext(mmu, MMUEXT_PIN_L1 + level - 1, page.frame.number);
    return first;
}

uint64_t watch_upper(struct mmu *mmu, uint64_t slot, struct pvmmu_pte pte)
{
    return mockxen_ask_update(machine.guest, who(mmu), 2, slot, pte.bits);
}

uint64_t watch_attach(struct mmu *mmu, struct page page, uint64_t at, struct pvmmu_pte flags)
{
    uint64_t first = remap(mmu, page, PTE_WRITABLE & ~PTE_RW, 0);

    watch_upper(mmu, at, pvmmu_pte_of(page.frame, flags.bits));
    return first;
}

uint64_t watch_detach(struct mmu *mmu, struct page page, uint64_t at)
{
    struct pvmmu_pte none = {0};
    uint64_t first = watch_upper(mmu, at, none);

    remap(mmu, page, PTE_WRITABLE, 1);
    return first;
}

uint64_t watch_retire(struct mmu *mmu, struct page page)
{
    uint64_t first = mmuext(mmu, MMUEXT_UNPIN, page.frame.number);

    remap(mmu, page, PTE_WRITABLE, 1);
    return first;
}

void watch_answered(struct mmu *mmu, enum pvmmu_error error, uint64_t request, size_t count)
{
    size_t n;

    tell_failures(mmu, error);
    for (n = 0; n < count; n++)
        mockxen_answered(machine.guest, request + n);
}

void watch_read(struct mmu *mmu, uint64_t slot, struct pvmmu_pte pte)
{
    mockxen_read(machine.guest, who(mmu), slot, pte.bits);
}

void watch_seen(uint64_t slot, struct pvmmu_pte held)
{
    mockxen_seen(machine.guest, slot, held.bits);
}

void watch_switches(struct mmu *mmu, struct pvmmu_mfn root, struct pvmmu_va stack)
{
    struct mockxen_who code = {mmu->task_number, ground_vcpu(), 2};

    mockxen_ask_mmuext(machine.guest, code, MMUEXT_NEW_BASEPTR, root.number, 0);
    mockxen_ask_mmuext(machine.guest, code, MMUEXT_NEW_USER_BASEPTR, 0, 0);
    mockxen_ask_stack(machine.guest, code, 0xe02b, stack.address);
}

void watch_switched(struct mmu *mmu, uint64_t next)
{
    mockxen_switched(machine.guest, ground_vcpu(), mmu->task_number, next);
}

void watch_exited(struct mmu *mmu)
{
    mockxen_task_exit(machine.guest, mmu->task_number);
}
