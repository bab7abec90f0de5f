/* In user space the referee of the mock is told what the kernel wishes, and what it was told. */
#ifndef WATCH_H
#define WATCH_H

#include "mmu.h"

void watch_report(struct mmu *mmu, const struct pvmmu_report *report);
/* The kernel's own adapter has refused an update of an array with EBUSY, and not looked at those behind it. */
void watch_refused(const uint64_t *updates, size_t behind);

void watch_entered(struct mmu *mmu, enum pvmmu_error error);
void watch_leaves(struct mmu *mmu);
void watch_left(struct mmu *mmu, enum pvmmu_error error);
void watch_paused(struct mmu *mmu, enum pvmmu_error error);
void watch_resumed(struct mmu *mmu, enum pvmmu_error error);

/* Before the library is handed operations; the answer is the first's number, and the others' follow it. */
uint64_t watch_update(struct mmu *mmu, uint64_t slot, struct pvmmu_pte pte);
uint64_t watch_updates(struct mmu *mmu, uint64_t slot, const struct pvmmu_pte *ptes, size_t count);
uint64_t watch_wrprotect(struct mmu *mmu, uint64_t slot, size_t count, size_t *requests);
uint64_t watch_zap(struct mmu *mmu, uint64_t slot, size_t count, size_t *requests);
uint64_t watch_flush_tlbs(struct mmu *mmu);
uint64_t watch_upper(struct mmu *mmu, uint64_t slot, struct pvmmu_pte pte);
uint64_t watch_validate(struct mmu *mmu, struct page page, uint32_t level);
uint64_t watch_retire(struct mmu *mmu, struct page page);
uint64_t watch_attach(struct mmu *mmu, struct page page, uint64_t at, struct pvmmu_pte flags);
uint64_t watch_detach(struct mmu *mmu, struct page page, uint64_t at);

/* The call that took them has returned. */
void watch_answered(struct mmu *mmu, enum pvmmu_error error, uint64_t request, size_t count);

void watch_read(struct mmu *mmu, uint64_t slot, struct pvmmu_pte pte);
void watch_seen(uint64_t slot, struct pvmmu_pte held);
void watch_switches(struct mmu *mmu, struct pvmmu_mfn root, struct pvmmu_va stack);
void watch_switched(struct mmu *mmu, uint64_t next);
void watch_exited(struct mmu *mmu);

#endif
