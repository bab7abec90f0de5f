/* What the kernel's work is done on: two kernels for the library, their tasks, a table and pages to map. */
#ifndef STAGE_H
#define STAGE_H

#include "mmu.h"

#define FRAMES 8

/* One that counts, and one that is measured. */
extern struct mmu counted;
extern struct mmu bare;

/* Tasks of the first: number 1, which runs, and another. */
extern struct pvmmu_task task;
extern struct pvmmu_task other;

/* A page, as a table of either. */
extern struct page page;
extern struct pvmmu_table table;
extern struct pvmmu_table bare_table;

extern struct page frames[FRAMES];

/* Puts it there, once. */
void make_ready(void);

/* Entry `index` of the table. */
struct pvmmu_slot slot(size_t index);

int same(struct pvmmu_pte a, struct pvmmu_pte b);

/* An entry by which one piece of work differs from another: software's own flags hold `number`, 0 to 7. */
struct pvmmu_pte marked(uint64_t number);

#endif
