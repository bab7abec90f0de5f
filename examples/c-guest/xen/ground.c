/* Memory, clock and answers on the real Xen. */
#include "ground.h"

#include "wire.h"
#include "xen.h"

/* Where Xen has the machine-to-physical table. Virtual addresses of this kernel are physical ones. */
#define MACHINE_TO_PHYSICAL ((const volatile uint64_t *)UINT64_C(0xffff800000000000))
#define PAGES 16
#define PAGE_BYTES 4096

static uint64_t pages[PAGES][ENTRIES] __attribute__((aligned(PAGE_BYTES)));
static uint32_t taken;
static uint8_t user_stack[PAGE_BYTES] __attribute__((aligned(16)));

static struct pvmmu_mfn frame_at(uint64_t address)
{
    const uint64_t *frames = (const uint64_t *)start_info->mfn_list;
    struct pvmmu_mfn frame = {frames[address / PAGE_BYTES]};

    return frame;
}

struct page ground_take_page(void)
{
    struct page page;

    if (taken == PAGES)
        ground_crash("all pages are taken");
    page.address.address = (uint64_t)pages[taken++];
    page.frame = frame_at(page.address.address);
    return page;
}

int64_t ground_hypercall(uint64_t number, const uint64_t *arguments)
{
    return xen_call(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4]);
}

static volatile uint64_t *word_at(struct pvmmu_slot slot)
{
    return (volatile uint64_t *)(MACHINE_TO_PHYSICAL[slot.bits / PAGE_BYTES] * PAGE_BYTES + slot.bits % PAGE_BYTES);
}

struct pvmmu_pte ground_load(struct pvmmu_slot slot)
{
    struct pvmmu_pte pte = {*word_at(slot)};

    return pte;
}

void ground_store(struct pvmmu_slot slot, struct pvmmu_pte pte)
{
    *word_at(slot) = pte.bits;
}

const uint64_t *ground_table(struct pvmmu_mfn table)
{
    return (const uint64_t *)word_at(pvmmu_slot_of(table, 0));
}

uint32_t ground_vcpu(void)
{
    return 0;
}

uint64_t ground_ticks(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
    return (uint64_t)high << 32 | low;
}

void ground_interrupt(void (*handler)(void))
{
    send_event(handler);
}

struct pvmmu_mfn ground_root(void)
{
    return frame_at(start_info->pt_base);
}

struct pvmmu_va ground_stack(void)
{
    struct pvmmu_va stack = {(uint64_t)user_stack + sizeof user_stack};

    return stack;
}

void ground_tell(const char *name, uint64_t value)
{
    wire_text(name);
    wire_text("=");
    wire_number(value);
    wire_text("\n");
}

void ground_tell_truth(const char *name, int truth)
{
    wire_text(name);
    wire_text(truth ? "=true\n" : "=false\n");
}

void ground_tell_row(const char *name, uint64_t updates, uint64_t hypercalls, uint64_t cost)
{
    wire_text(name);
    wire_text(" c ");
    wire_number(updates);
    wire_text(" ");
    wire_number(hypercalls);
    wire_text(" ");
    wire_number(cost);
    wire_text("\n");
}
