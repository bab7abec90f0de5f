/* The kernel's page-table layer: what stands between its memory management and the library. */
#ifndef MMU_H
#define MMU_H

#include "ground.h"

#define VCPUS 2
#define NEVER UINT64_MAX

/* A kernel that the library works for. There are two here, so that what is measured does not pay for what counts. */
struct mmu {
    struct pvmmu_kernel kernel;
    struct pvmmu_queue queues[VCPUS];
    /* The task that runs. */
    struct pvmmu_task *current;
    uint64_t task_number;
    /* What the last call that was refused said. */
    struct pvmmu_why why;
    /* What has been handed over. */
    uint64_t hypercalls;
    uint64_t operations;
    uint64_t reports;
    /* The operation that is answered with EBUSY in the place of Xen. */
    uint64_t refuse;
    /* A fault that has to be found: switches hand nothing over. */
    int forgets_switch;
};

/* How `mmu_init` lets hypercalls go out. */
enum mmu_way { MMU_BARE, MMU_COUNTED };

void mmu_init(struct mmu *mmu, enum mmu_way way);

/* From now on `task`, by a number of the kernel's choice, is the one that runs. */
void mmu_task_init(struct mmu *mmu, struct pvmmu_task *task);
void mmu_run(struct mmu *mmu, struct pvmmu_task *task, uint64_t number);

enum pvmmu_error mmu_enter(struct mmu *mmu);
enum pvmmu_error mmu_leave(struct mmu *mmu);
enum pvmmu_error mmu_pause(struct mmu *mmu);
enum pvmmu_error mmu_resume(struct mmu *mmu);
enum pvmmu_error mmu_set(struct mmu *mmu, struct pvmmu_slot slot, struct pvmmu_pte pte);
enum pvmmu_error mmu_set_range(struct mmu *mmu, struct pvmmu_slot slot, const struct pvmmu_pte *ptes, size_t count);
enum pvmmu_error mmu_wrprotect(struct mmu *mmu, struct pvmmu_slot slot, size_t count);
enum pvmmu_error mmu_flush_tlbs(struct mmu *mmu);
struct pvmmu_pte mmu_read(struct mmu *mmu, struct pvmmu_slot slot);

/* Empties `count` entries and puts what they held into `held`, which has room for so many; `cleared` of them were not empty. */
enum pvmmu_error mmu_zap(struct mmu *mmu, struct pvmmu_slot slot, size_t count, struct pvmmu_pte *held, size_t *cleared);

/* Empties one entry and puts what it held into `held`. */
enum pvmmu_error mmu_clear(struct mmu *mmu, struct pvmmu_slot slot, struct pvmmu_pte *held);

/* Takes the running task off its vCPU and goes on with `next`, on base pointer `root` and stack `stack`. */
enum pvmmu_error mmu_switch(struct mmu *mmu, struct pvmmu_task *next, uint64_t number, struct pvmmu_mfn root,
                            struct pvmmu_va stack);

/* The task that runs ends. */
enum pvmmu_error mmu_exit(struct mmu *mmu);

/* Changes one entry by `change`, which makes `becomes` of it. */
enum pvmmu_error mmu_modify(struct mmu *mmu, struct pvmmu_slot slot, pvmmu_change_fn change, struct pvmmu_pte becomes);

/* Sets an entry and keeps what the processor has noted in it. */
enum pvmmu_error mmu_commit(struct mmu *mmu, struct pvmmu_slot slot, struct pvmmu_pte pte);

/* Whether a dirty entry was used, as bit 0 of `young`; it counts as not used from now on. */
enum pvmmu_error mmu_age(struct mmu *mmu, struct pvmmu_slot slot, uint64_t young[8]);

/* Sets an entry of a table of level 2. */
enum pvmmu_error mmu_set_upper(struct mmu *mmu, struct pvmmu_slot slot, struct pvmmu_pte pte);

/* A page as a table that a pin keeps, and back. */
enum pvmmu_error mmu_table_init(struct mmu *mmu, struct pvmmu_table *table, struct page page, uint32_t level);
enum pvmmu_error mmu_table_validate(struct mmu *mmu, struct pvmmu_table *table, struct page page, uint32_t level);
enum pvmmu_error mmu_table_retire(struct mmu *mmu, struct pvmmu_table *table, struct page page);

/* A page as a table that the entry `at` of level 2 keeps, rewritten there, and back. */
enum pvmmu_error mmu_table_attach(struct mmu *mmu, struct pvmmu_table *table, struct page page, struct pvmmu_slot at,
                                  struct pvmmu_pte flags);
enum pvmmu_error mmu_table_rewrite(struct mmu *mmu, struct pvmmu_table *table, struct page page, struct pvmmu_slot at,
                                   struct pvmmu_pte flags, pvmmu_change_fn change);
enum pvmmu_error mmu_table_detach(struct mmu *mmu, struct pvmmu_table *table, struct page page, struct pvmmu_slot at);

#endif
