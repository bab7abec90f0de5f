#include "threads.h"

#include <pthread.h>

#include "machine.h"

#define ROUNDS 200
#define EACH 32

static struct pvmmu_kernel kernel;
static struct pvmmu_queue queues[2];
static struct pvmmu_task tasks[2];
static struct pvmmu_pte pte;

static struct pvmmu_queue *lock(void *data, struct pvmmu_here *here)
{
    (void)data;
    here->saved = ground_mask();
    here->vcpu = processor.vcpu;
    here->context = PVMMU_CONTEXT_TASK;
    return &queues[here->vcpu];
}

static void unlock(void *data, const struct pvmmu_here *here)
{
    (void)data;
    ground_unmask(here->saved);
}

static int64_t hypercall(void *data, uint64_t number, const uint64_t *arguments)
{
    (void)data;
    return ground_hypercall(number, arguments);
}

static struct pvmmu_pte load(void *data, struct pvmmu_slot slot)
{
    (void)data;
    return ground_load(slot);
}

static void online(void *data, struct pvmmu_vcpus *vcpus)
{
    (void)data;
    vcpus->words[0] = 3;
}

static void flush_others(void *data, struct pvmmu_mfn table)
{
    (void)data;
    (void)table;
}

static void report(void *data, const struct pvmmu_report *told)
{
    (void)data;
    (void)told;
    ground_crash("something was reported");
}

static void fatal(void *data, enum pvmmu_error error)
{
    (void)data;
    (void)error;
    ground_crash("the vCPU was lost in the middle of a call");
}

/* A region that sets this vCPU's entries, or empties them. */
static void region(struct pvmmu_task *task, struct mockxen_who who, struct pvmmu_pte value)
{
    struct pvmmu_mfn table = {mockxen_table(machine.guest)};
    uint64_t n, request;

    mockxen_entered(machine.guest, who, !pvmmu_enter(task, NULL));
    for (n = 0; n < EACH; n++) {
        struct pvmmu_slot slot = pvmmu_slot_of(table, 2 * n + who.vcpu);

        request = mockxen_ask_update(machine.guest, who, 1, slot.bits, value.bits);
        if (pvmmu_set_pte(task, slot, value, NULL))
            ground_crash("what may wait was refused");
        mockxen_answered(machine.guest, request);
    }
    mockxen_leaves(machine.guest, who);
    mockxen_left(machine.guest, who, !pvmmu_leave(task, NULL));
}

static void *run(void *data)
{
    struct pvmmu_pte none = {0};
    uint32_t *vcpu = data;
    struct mockxen_who who = {*vcpu + 1, *vcpu, 0};
    int round;

    processor.vcpu = *vcpu;
    for (round = 0; round < ROUNDS; round++)
        region(&tasks[*vcpu], who, round % 2 ? none : pte);
    return NULL;
}

void threads(void)
{
    struct pvmmu_platform platform = {.lock = lock, .unlock = unlock, .hypercall = hypercall, .load = load,
                                      .online = online, .flush_others = flush_others, .report = report, .fatal = fatal};
    uint32_t vcpus[2] = {0, 1};
    pthread_t handles[2];
    int n;

    machine_start();
    pte = pvmmu_pte_of(ground_take_page().frame, PTE_FLAGS);
    if (pvmmu_kernel_init(&kernel, sizeof kernel, &platform, NULL))
        ground_crash("the kernel is not taken");
    for (n = 0; n < 2; n++)
        if (pvmmu_queue_init(&queues[n], sizeof queues[n], vcpus[n], NULL)
            || pvmmu_task_init(&tasks[n], sizeof tasks[n], &kernel, PVMMU_PROFILE_STRICT, NULL))
            ground_crash("a queue or a task is not taken");
    for (n = 0; n < 2; n++)
        if (pthread_create(&handles[n], NULL, run, &vcpus[n]))
            ground_crash("no thread");
    for (n = 0; n < 2; n++)
        pthread_join(handles[n], NULL);
}
