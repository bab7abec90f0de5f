/* Xen as this kernel calls it, and what the two share in memory (xen/include/public/xen.h). */
#ifndef XEN_H
#define XEN_H

#include <stddef.h>
#include <stdint.h>

struct start_info {
    char magic[32];
    uint64_t nr_pages;
    uint64_t shared_info;
    uint32_t flags;
    uint64_t store[2];
    uint64_t console[2];
    uint64_t pt_base;
    uint64_t nr_pt_frames;
    uint64_t mfn_list;
    uint64_t mod_start;
    uint64_t mod_len;
    char cmd_line[1024];
};

struct vcpu_info {
    volatile uint8_t pending;
    volatile uint8_t mask;
    uint8_t pad[6];
    volatile uint64_t selector;
    volatile uint64_t cr2;
    uint64_t rest[5];
};

struct shared_info {
    struct vcpu_info vcpus[32];
    volatile uint64_t pending[64];
    volatile uint64_t mask[64];
    uint64_t rest[128];
};

_Static_assert(offsetof(struct start_info, mfn_list) == 104 && offsetof(struct start_info, cmd_line) == 128, "start_info");
_Static_assert(sizeof(struct vcpu_info) == 64 && sizeof(struct shared_info) == 4096, "shared_info");
_Static_assert(offsetof(struct shared_info, pending) == 2048, "shared_info");

#define CALL_SET_TRAP_TABLE 0
#define CALL_SET_CALLBACKS 4
#define CALL_UPDATE_VA_MAPPING 14
#define CALL_XEN_VERSION 17
#define CALL_CONSOLE_IO 18
#define CALL_VCPU_OP 24
#define CALL_SCHED_OP 29
#define CALL_EVENT_CHANNEL_OP 32

/* The page of the machine's, shared with Xen, and what the domain's builder has told. */
extern struct shared_info shared;
extern const struct start_info *start_info;

/* Hypercall `number`. Upcalls that are due and not masked are made before it returns. */
int64_t xen_call(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e);

void console_write(const char *bytes, size_t count);

/* Sends the event that interrupts this vCPU. */
void send_event(void (*handler)(void));

_Noreturn void shut_down(uint32_t reason);

#endif
