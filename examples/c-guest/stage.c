#include "stage.h"

/* Two kernels for the library: one that counts, and one that is measured. */
struct mmu counted;
struct mmu bare;
struct pvmmu_task task;
struct pvmmu_task other;
static struct pvmmu_task bare_task;

struct page frames[FRAMES];
struct page page;
struct pvmmu_table table;
struct pvmmu_table bare_table;

static int is_ready;

void make_ready(void)
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
    if (mmu_table_init(&counted, &table, page, 1) || mmu_table_init(&bare, &bare_table, page, 1))
        ground_crash("a table is not taken");
}

struct pvmmu_slot slot(size_t index)
{
    return pvmmu_slot_of(page.frame, index);
}

int same(struct pvmmu_pte a, struct pvmmu_pte b)
{
    return a.bits == b.bits;
}

/* An entry of the region with this number: software's own flags differ. */
struct pvmmu_pte marked(uint64_t region)
{
    return pvmmu_pte_of(frames[0].frame, PTE_FLAGS | region << 9);
}
