/* What can be wrong with a call and can be checked is answered with a clear error, and nothing has been done. */
#include "misuse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine.h"
#include "mmu.h"

static struct mmu mmu;
static struct pvmmu_task task;
static struct page table_page;
static struct pvmmu_table table;
static struct pvmmu_why why;
static int wrong;

static void expect_at(int line, enum pvmmu_error error, enum pvmmu_error expected, uint64_t value, uint64_t limit)
{
    if (error == expected && (!expected || (why.code == expected && why.value == value && why.limit == limit)))
        return;
    printf("misuse.c:%d: answered %d (value %#llx, limit %#llx), expected %d (%#llx, %#llx)\n", line, (int)error,
           (unsigned long long)why.value, (unsigned long long)why.limit, (int)expected, (unsigned long long)value,
           (unsigned long long)limit);
    wrong++;
}

#define expect(error, expected, value, limit) expect_at(__LINE__, error, PVMMU_ERROR_##expected, value, limit)

static struct pvmmu_slot slot(size_t index)
{
    return pvmmu_slot_of(table_page.frame, index);
}

static struct pvmmu_pte pte_of(void *data, size_t n)
{
    (void)n;
    return *(struct pvmmu_pte *)data;
}

static void pointers(void)
{
    static const struct pvmmu_pte none;
    static struct pvmmu_task never;
    struct pvmmu_task *unaligned = (struct pvmmu_task *)((char *)&task + 4);
    struct pvmmu_pte pte;

    expect(pvmmu_enter(NULL, &why), NULL, 1, 0);
    expect(pvmmu_enter(unaligned, &why), UNALIGNED, (uint64_t)unaligned, 0);
    expect(pvmmu_enter(&never, &why), NOT_INITIALISED, 0, 0);
    expect(pvmmu_read_pte(&task, slot(0), NULL, &why), NULL, 3, 0);
    expect(pvmmu_get_and_clear(&task, slot(0), NULL, &why), NULL, 3, 0);
    expect(pvmmu_set_ptes(&task, slot(0), 1, NULL, NULL, &why), NULL, 4, 0);
    expect(pvmmu_modify(&task, slot(0), 1, NULL, NULL, &why), NULL, 4, 0);
    expect(pvmmu_operation(&task, NULL, &why), NULL, 2, 0);
    expect(pvmmu_test_and_clear_young(&task, slot(0), 1, NULL, &why), NULL, 4, 0);
    expect(pvmmu_switch(NULL, NULL, 0, &why), NULL, 1, 0);
    expect(pvmmu_switch(&mmu.kernel, NULL, 1, &why), NULL, 2, 0);
    expect(pvmmu_stats(&mmu.kernel, NULL, &why), NULL, 2, 0);
    expect(pvmmu_table_validate(NULL, &task, &why), NULL, 1, 0);
    expect(pvmmu_table_load(&table, ENTRIES, &pte, &why), ARGUMENT, ENTRIES, 0);
    expect(pvmmu_table_store(&table, ENTRIES, none, &why), ARGUMENT, ENTRIES, 0);
    /* Without `why` the code alone says it. */
    expect(pvmmu_leave(&task, NULL) == PVMMU_ERROR_NOT_ENTERED ? PVMMU_ERROR_NONE : PVMMU_ERROR_FAILED, NONE, 0, 0);
}

static void storage(void)
{
    static struct pvmmu_task fresh;
    static struct pvmmu_kernel kernel;
    struct pvmmu_platform platform;

    memset(&platform, 0, sizeof platform);
    expect(pvmmu_kernel_init(&kernel, sizeof kernel, &platform, &why), MISSING_FUNCTION, 1, 0);
    expect(pvmmu_kernel_init(&kernel, sizeof kernel, NULL, &why), NULL, 3, 0);
    expect(pvmmu_task_init(&fresh, sizeof fresh, &kernel, PVMMU_PROFILE_STRICT, &why), NOT_INITIALISED, 0, 0);
    expect(pvmmu_task_init(&fresh, sizeof fresh - 8, &mmu.kernel, PVMMU_PROFILE_STRICT, &why), SIZE, sizeof fresh - 8,
           sizeof fresh);
    expect(pvmmu_task_init(&fresh, sizeof fresh, &mmu.kernel, 7, &why), ARGUMENT, 7, 0);
    expect(pvmmu_task_init(&fresh, sizeof fresh, &mmu.kernel, PVMMU_PROFILE_NESTED, &why), NONE, 0, 0);
    expect(pvmmu_task_exit(&fresh, &why), NONE, 0, 0);
    expect(pvmmu_enter(&fresh, &why), NOT_INITIALISED, 0, 0);
}

static void arguments(void)
{
    struct pvmmu_operation operation = {.kind = 99};
    struct pvmmu_operation many[PVMMU_SWITCH_OPERATIONS + 1];
    struct pvmmu_slot odd = {slot(0).bits + 4};
    struct pvmmu_pte pte = {0};
    struct pvmmu_va nowhere = {UINT64_C(1) << 47};

    memset(many, 0, sizeof many);
    expect(pvmmu_set_pte(&task, odd, pte, &why), SLOT, odd.bits, 0);
    expect(pvmmu_operation(&task, &operation, &why), ARGUMENT, 99, 0);
    operation.kind = PVMMU_OP_PIN;
    operation.detail = 5;
    expect(pvmmu_operation(&task, &operation, &why), ARGUMENT, 5, 0);
    operation.kind = PVMMU_OP_INVLPG_ALL;
    operation.address = nowhere;
    expect(pvmmu_operation(&task, &operation, &why), ADDRESS, nowhere.address, 0);
    expect(pvmmu_switch(&mmu.kernel, many, PVMMU_SWITCH_OPERATIONS + 1, &why), FULL, PVMMU_SWITCH_OPERATIONS + 1,
           PVMMU_SWITCH_OPERATIONS);
    expect(pvmmu_switch(&mmu.kernel, many, 1, &why), ARGUMENT, 0, 0);
    expect(pvmmu_set_ptes(&task, slot(0), 0, pte_of, &pte, &why), EMPTY_RANGE, 0, 0);
    expect(pvmmu_wrprotect(&task, slot(510), 3, &why), BEYOND_TABLE, slot(510).bits, 3);
    expect(pvmmu_table_init(&table, sizeof table, &mmu.kernel, 1, table_page.frame, nowhere, pte, &why), ADDRESS,
           nowhere.address, 0);
    expect(pvmmu_table_init(&table, sizeof table, &mmu.kernel, 9, table_page.frame, table_page.address, pte, &why),
           ARGUMENT, 9, 0);
}

static void regions(void)
{
    expect(pvmmu_leave(&task, &why), NOT_ENTERED, 0, 0);
    expect(pvmmu_resume(&task, &why), NOT_PAUSED, 0, 0);
    expect(mmu_enter(&mmu), NONE, 0, 0);
    expect(pvmmu_enter(&task, &why), NESTED, 0, 0);
    processor.context = PVMMU_CONTEXT_INTERRUPT;
    expect(pvmmu_enter(&task, &why), INTERRUPT, 0, 0);
    expect(pvmmu_leave(&task, &why), INTERRUPT, 0, 0);
    expect(pvmmu_pause(&task, &why), INTERRUPT, 0, 0);
    expect(pvmmu_task_exit(&task, &why), INTERRUPT, 0, 0);
    expect(pvmmu_table_retire(&table, &task, &why), INTERRUPT, 0, 0);
    processor.context = 9;
    expect(pvmmu_enter(&task, &why), CONTEXT, 9, 0);
    processor.context = PVMMU_CONTEXT_TASK;
    expect(pvmmu_interrupt_flush(&mmu.kernel, &why), CONTEXT, PVMMU_CONTEXT_TASK, 0);
    expect(pvmmu_table_validate(&table, &task, &why), TABLE_STATE, PVMMU_TABLE_LIVE, 0);
    expect(pvmmu_table_forget(&table, &why), TABLE_STATE, PVMMU_TABLE_LIVE, 0);
    expect(mmu_leave(&mmu), NONE, 0, 0);
}

/* A kernel whose `lock` hands out the queue of another vCPU, or none, from a certain call on. */
static struct pvmmu_queue *queue;
static int calls_left;
static uint32_t locks, unlocks;

static struct pvmmu_queue *lock(void *data, struct pvmmu_here *here)
{
    (void)data;
    locks++;
    here->saved = 0;
    here->vcpu = 0;
    here->context = PVMMU_CONTEXT_TASK;
    return calls_left-- > 0 ? &mmu.queues[0] : queue;
}

static void unlock(void *data, const struct pvmmu_here *here)
{
    (void)data;
    (void)here;
    unlocks++;
}

static void fatal(void *data, enum pvmmu_error error)
{
    (void)data;
    _exit(error == PVMMU_ERROR_WRONG_VCPU ? 77 : 78);
}

static int64_t hypercall(void *data, uint64_t number, const uint64_t *arguments)
{
    (void)data;
    return ground_hypercall(number, arguments);
}

static struct pvmmu_pte load(void *data, struct pvmmu_slot at)
{
    (void)data;
    return ground_load(at);
}

static void online(void *data, struct pvmmu_vcpus *vcpus)
{
    (void)data;
    vcpus->words[0] = 1;
}

static void flush_others(void *data, struct pvmmu_mfn frame)
{
    (void)data;
    (void)frame;
}

static void report(void *data, const struct pvmmu_report *told)
{
    (void)data;
    (void)told;
}

/* Loses the vCPU between two steps of one call, in a process of its own: the code it ends with. */
static int lost_vcpu(struct pvmmu_task *of)
{
    struct pvmmu_pte pte = pvmmu_pte_of(table_page.frame, PTE_FLAGS);
    int status = 0;
    pid_t child;

    fflush(stdout);
    child = fork();
    if (child == 0) {
        /* One for each of the first two; then what is queued, and its flush. */
        calls_left = 3;
        pvmmu_set_pte(of, slot(0), pte, NULL);
        pvmmu_enter(of, NULL);
        pvmmu_get_and_clear(of, slot(0), &pte, NULL);
        _exit(1);
    }
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void vcpus(void)
{
    static struct pvmmu_kernel kernel;
    static struct pvmmu_task of;
    struct pvmmu_platform platform = {NULL,   lock,         unlock, hypercall, load, online, flush_others,
                                      report, fatal, NULL, NULL};
    struct pvmmu_pte pte = pvmmu_pte_of(table_page.frame, PTE_FLAGS);
    struct pvmmu_stats stats;
    int ended;

    expect(pvmmu_kernel_init(&kernel, sizeof kernel, &platform, &why), NONE, 0, 0);
    expect(pvmmu_task_init(&of, sizeof of, &kernel, PVMMU_PROFILE_STRICT, &why), NONE, 0, 0);
    expect(pvmmu_table_init(&table, sizeof table, &kernel, 1, table_page.frame, table_page.address, pte, &why),
           MISSING_FUNCTION, 9, 0);
    queue = NULL;
    calls_left = 0;
    expect(pvmmu_enter(&of, &why), WRONG_VCPU, 0, UINT32_MAX);
    queue = &mmu.queues[1];
    expect(pvmmu_set_pte(&of, slot(0), pte, &why), WRONG_VCPU, 0, 1);
    expect(pvmmu_switch(&kernel, NULL, 0, &why), WRONG_VCPU, 0, 1);
    expect(pvmmu_stats(&kernel, &stats, &why), WRONG_VCPU, 0, 1);
    if (locks != unlocks) {
        printf("misuse.c: %u locks and %u unlocks\n", locks, unlocks);
        wrong++;
    }
    ended = lost_vcpu(&of);
    if (ended != 77) {
        printf("misuse.c: a vCPU lost within a call ends with %d\n", ended);
        wrong++;
    }
}

/* Callbacks that come back. */
static struct pvmmu_pte comes_back_within_a_step(void *data, size_t n)
{
    struct pvmmu_pte pte = {0};

    (void)data;
    (void)n;
    expect(pvmmu_set_pte(&task, slot(9), pte, &why), WITHIN_STEP, 0, 0);
    expect(pvmmu_interrupt_flush(&mmu.kernel, &why), WITHIN_STEP, 0, 0);
    return pte;
}

static void comes_back_by_the_task(void *data, struct pvmmu_slot at, struct pvmmu_pte held)
{
    (void)data;
    (void)at;
    (void)held;
    expect(pvmmu_leave(&task, &why), BUSY, 0, 0);
}

static void callbacks(void)
{
    static struct pvmmu_held room;
    struct pvmmu_pte pte = pvmmu_pte_of(ground_take_page().frame, PTE_FLAGS);
    struct mockxen_who who = {1, 0, 0};
    struct pvmmu_why unused;
    uint64_t request;

    expect(pvmmu_harvest(&task, slot(0), 1, 0, &room, comes_back_by_the_task, NULL, &why), NOT_INITIALISED, 0, 0);
    expect(pvmmu_held_init(&room, sizeof room, &why), NONE, 0, 0);
    expect(pvmmu_harvest(&task, slot(0), 1, 4, &room, comes_back_by_the_task, NULL, &why), ARGUMENT, 4, 0);
    expect(mmu_set(&mmu, slot(0), pte), NONE, 0, 0);
    request = mockxen_ask_update(machine.guest, who, 1, slot(1).bits, 0);
    expect(pvmmu_set_ptes(&task, slot(1), 1, comes_back_within_a_step, NULL, &unused), NONE, 0, 0);
    mockxen_answered(machine.guest, request);
    request = mockxen_ask_update(machine.guest, who, 1, slot(0).bits | 2, 0);
    expect(pvmmu_harvest(&task, slot(0), 1, 0, &room, comes_back_by_the_task, NULL, &unused), NONE, 0, 0);
    mockxen_answered(machine.guest, request);
}

int misuse(void)
{
    machine_start();
    mmu_init(&mmu, MMU_BARE);
    mmu_task_init(&mmu, &task);
    mmu_run(&mmu, &task, 1);
    table_page = ground_take_page();
    if (mmu_table_init(&mmu, &table, table_page, 1))
        ground_crash("a table is not taken");
    pointers();
    storage();
    arguments();
    if (mmu_table_validate(&mmu, &table, table_page, 1))
        ground_crash("a table is not validated");
    regions();
    callbacks();
    vcpus();
    return wrong;
}
