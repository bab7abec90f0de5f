/* What the kernel's page-table code stands on: the real Xen (xen/), or the mock in user space (mock/). */
#ifndef GROUND_H
#define GROUND_H

#include "pvmmu.h"

#define ENTRIES 512
#define PTE_PRESENT UINT64_C(0x1)
#define PTE_RW UINT64_C(0x2)
#define PTE_USER UINT64_C(0x4)
#define PTE_ACCESSED UINT64_C(0x20)
#define PTE_DIRTY UINT64_C(0x40)
#define PTE_GUEST_KERNEL (UINT64_C(1) << 52)
/* Flags of the entries the kernel sets, in the form in which Xen keeps them. */
#define PTE_FLAGS (PTE_PRESENT | PTE_USER | PTE_GUEST_KERNEL)
/* Flags of the entry that maps a page of the kernel's for stores. */
#define PTE_WRITABLE (PTE_PRESENT | PTE_RW | PTE_ACCESSED | PTE_DIRTY)

#define CALL_MMU_UPDATE 1
#define CALL_MULTICALL 13
#define CALL_MMUEXT_OP 26

/* A page of the kernel's, mapped writable and zero at first. */
struct page {
    struct pvmmu_mfn frame;
    struct pvmmu_va address;
};

/* Ends the kernel or the program with a message. */
_Noreturn void ground_crash(const char *text);

/* A page nobody has had before. */
struct page ground_take_page(void);

/* Hypercall `number` with five arguments, as Xen's own: the answer is what is in rax. */
int64_t ground_hypercall(uint64_t number, const uint64_t *arguments);

/* An entry by its machine address, by a plain load. */
struct pvmmu_pte ground_load(struct pvmmu_slot slot);

/* A word of a page that is mapped writable. */
void ground_store(struct pvmmu_slot slot, struct pvmmu_pte pte);

/* Where the table in `table` is mapped; null where it cannot be reached by a pointer. */
const uint64_t *ground_table(struct pvmmu_mfn table);

/* Masks upcalls on this vCPU, and answers whether they were. */
uint64_t ground_mask(void);
void ground_unmask(uint64_t saved);

/* The vCPU this runs on, and whether it is a handler's code. */
uint32_t ground_vcpu(void);
uint32_t ground_context(void);

/* A clock. */
uint64_t ground_ticks(void);

/* Lets `handler` interrupt the code that calls this, before it returns. */
void ground_interrupt(void (*handler)(void));

/* The L4 table this vCPU runs on, and the end of a stack that Xen may enter the kernel on. */
struct pvmmu_mfn ground_root(void);
struct pvmmu_va ground_stack(void);

/* Writes `name=value`, `name=true` or a row of figures, and a line end, to the answer. */
void ground_tell(const char *name, uint64_t value);
void ground_tell_truth(const char *name, int truth);
void ground_tell_row(const char *name, uint64_t updates, uint64_t hypercalls, uint64_t cost);

#endif
