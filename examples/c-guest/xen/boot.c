/* From Xen's entry to the kernel's main, and what may interrupt it. One vCPU. */
#include "xen.h"

#include "ground.h"
#include "wire.h"

#define REASON_REBOOT 1
#define REASON_CRASH 3

struct trap_info {
    uint8_t vector;
    uint8_t flags;
    uint16_t cs;
    uint64_t address;
};

#define KERNEL_CS 0xe033
#define MASK_UPCALLS 4

void upcall_entry(void);
void failsafe_entry(void);
void syscall_entry(void);
void trap_entry_0(void);
void trap_entry_6(void);
void trap_entry_13(void);
void trap_entry_14(void);

/* Boot maps the real frame in the place of this page. */
struct shared_info shared __attribute__((aligned(4096)));
const struct start_info *start_info;

static uint32_t port;
static void (*on_event)(void);
static uint32_t context = PVMMU_CONTEXT_TASK;

int64_t xen_call(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
    register uint64_t r10 __asm__("r10") = d;
    register uint64_t r8 __asm__("r8") = e;
    int64_t answer;

    /* Xen leaves other arguments behind where it has continued the call. */
    __asm__ volatile("syscall"
                     : "=a"(answer), "+D"(a), "+S"(b), "+d"(c), "+r"(r10), "+r"(r8)
                     : "0"(number)
                     : "rcx", "r11", "memory");
    return answer;
}

void console_write(const char *bytes, size_t count)
{
    xen_call(CALL_CONSOLE_IO, 0, count, (uint64_t)bytes, 0, 0);
}

_Noreturn void shut_down(uint32_t reason)
{
    for (;;)
        xen_call(CALL_SCHED_OP, 2, (uint64_t)&reason, 0, 0, 0);
}

_Noreturn void ground_crash(const char *text)
{
    shared.vcpus[0].mask = 1;
    wire_last_words(text);
    shut_down(REASON_CRASH);
}

_Noreturn void on_trap(uint64_t vector, uint64_t rip)
{
    wire_last_number("exception", vector);
    wire_last_number("at", rip);
    wire_last_number("address", shared.vcpus[0].cr2);
    ground_crash("an exception ends this kernel");
}

_Noreturn void on_failsafe(void)
{
    ground_crash("Xen could not return to a frame, or a system call came in");
}

void on_upcall(void)
{
    uint64_t bit = UINT64_C(1) << port % 64;
    uint32_t before = context;

    shared.vcpus[0].pending = 0;
    __atomic_exchange_n(&shared.vcpus[0].selector, 0, __ATOMIC_SEQ_CST);
    if (port == 0 || !(__atomic_fetch_and(&shared.pending[port / 64], ~bit, __ATOMIC_SEQ_CST) & bit) || !on_event)
        return;
    context = PVMMU_CONTEXT_INTERRUPT;
    on_event();
    context = before;
}

void send_event(void (*handler)(void))
{
    uint32_t argument = port;

    on_event = handler;
    if (xen_call(CALL_EVENT_CHANNEL_OP, 4, (uint64_t)&argument, 0, 0, 0) < 0)
        ground_crash("an event is not sent");
    on_event = 0;
}

uint32_t ground_context(void)
{
    return context;
}

uint64_t ground_mask(void)
{
    uint64_t was_masked = shared.vcpus[0].mask;

    shared.vcpus[0].mask = 1;
    __asm__ volatile("" ::: "memory");
    return was_masked;
}

void ground_unmask(uint64_t saved)
{
    __asm__ volatile("" ::: "memory");
    if (saved)
        return;
    shared.vcpus[0].mask = 0;
    /* Xen looks when it is entered. */
    if (shared.vcpus[0].pending)
        xen_call(CALL_XEN_VERSION, 0, 0, 0, 0, 0);
}

static void set_traps(void)
{
    static const struct trap_info traps[] = {
        {0, MASK_UPCALLS, KERNEL_CS, (uint64_t)trap_entry_0},   {6, MASK_UPCALLS, KERNEL_CS, (uint64_t)trap_entry_6},
        {13, MASK_UPCALLS, KERNEL_CS, (uint64_t)trap_entry_13}, {14, MASK_UPCALLS, KERNEL_CS, (uint64_t)trap_entry_14},
        {0, 0, 0, 0},
    };

    if (xen_call(CALL_SET_TRAP_TABLE, (uint64_t)traps, 0, 0, 0, 0) < 0
        || xen_call(CALL_SET_CALLBACKS, (uint64_t)upcall_entry, (uint64_t)failsafe_entry, (uint64_t)syscall_entry, 0, 0) < 0)
        ground_crash("the entry points are refused");
}

static void open_upcalls(void)
{
    uint32_t bind[2] = {0, 0};

    if (xen_call(CALL_VCPU_OP, 7, 0, 0, 0, 0) < 0)
        ground_crash("the ticker is not stopped");
    if (xen_call(CALL_EVENT_CHANNEL_OP, 7, (uint64_t)bind, 0, 0, 0) < 0)
        ground_crash("no port");
    port = bind[1];
    ground_unmask(0);
}

_Noreturn void boot(const struct start_info *info)
{
    start_info = info;
    /* The flush is of this one address, on this vCPU. */
    if (xen_call(CALL_UPDATE_VA_MAPPING, (uint64_t)&shared, info->shared_info | PTE_WRITABLE, 2, 0, 0) < 0)
        shut_down(REASON_CRASH);
    set_traps();
    open_upcalls();
    wire_serve();
    shut_down(REASON_REBOOT);
}
