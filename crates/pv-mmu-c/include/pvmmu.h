/* Batches a paravirtualised guest kernel's page-table operations: the library for kernels in C.
 *
 * Made from crates/pv-mmu-c by `ci/c-face.sh --write`; do not edit. MIT OR Apache-2.0.
 *
 * R1 to R18 are the rules of docs/contract.md; how to link it: docs/c-face.md. Every function answers with a code; all but
 * PVMMU_ERROR_FAILED, PVMMU_ERROR_OPEN_REGIONS and PVMMU_ERROR_NOT_CLEARED mean that nothing has been done. `why` may be null; where the code
 * is not PVMMU_ERROR_NONE it says more. Sections "Safety" say what the library cannot check. */

#ifndef PVMMU_H
#define PVMMU_H

#include <stddef.h>
#include <stdint.h>
#define PVMMU_ALIGNED(bytes) __attribute__((aligned(bytes)))

// Entries that a `struct pvmmu_held` has room for.
#define PVMMU_HELD_ENTRIES 512

// Words of `struct pvmmu_held`.
#define PVMMU_HELD_WORDS 1032

// Harvest: leave no accessed or dirty bits behind in the entries, by a second update of each.
#define PVMMU_HARVEST_CLEAN 1

// Harvest: flush every TLB behind the entries, in the same batch (R12).
#define PVMMU_HARVEST_FLUSH_TLBS 2

// Failures that are named; the rest are reported to the platform one by one.
#define PVMMU_FAILURES 4

// `update_va_mapping` flushes nothing.
#define PVMMU_FLUSH_NONE 0

// It flushes this vCPU's TLB.
#define PVMMU_FLUSH_TLB_LOCAL 1

// It flushes every vCPU's TLB.
#define PVMMU_FLUSH_TLB_ALL 2

// It flushes the TLBs of `vcpus`.
#define PVMMU_FLUSH_TLB_MULTI 3

// It invalidates the page on this vCPU.
#define PVMMU_FLUSH_INVLPG_LOCAL 4

// It invalidates the page on every vCPU.
#define PVMMU_FLUSH_INVLPG_ALL 5

// It invalidates the page on `vcpus`.
#define PVMMU_FLUSH_INVLPG_MULTI 6

// A task's own code.
#define PVMMU_CONTEXT_TASK 0

// A handler that interrupted it, the upcall's above all (R6).
#define PVMMU_CONTEXT_INTERRUPT 1

// Words of `struct pvmmu_kernel`.
#define PVMMU_KERNEL_WORDS 16

// Words of `struct pvmmu_queue`.
#define PVMMU_QUEUE_WORDS 2560

// Operations that are handed over with upcalls masked, at most (R15).
#define PVMMU_MASKED_BOUND 554

// A region never nests (R4).
#define PVMMU_PROFILE_STRICT 0

// Enter and leave count; every leave flushes, the outermost ends laziness (R4).
#define PVMMU_PROFILE_NESTED 1

// Words of `struct pvmmu_task`.
#define PVMMU_TASK_WORDS 192

// An operation is not effective, found by a flush whose caller did not ask for it (R14): `failure`.
#define PVMMU_REPORT_FAILED 0

// A region was still open when its task ended; it is flushed now (R2). `value`: its depth.
#define PVMMU_REPORT_LEAKED_REGION 1

// `value` regions opened in a pause outlived it, and are closed now (R5).
#define PVMMU_REPORT_UNBALANCED_PAUSE 2

// Xen refused a multicall as a whole, with errno `value`; its calls were issued one by one.
#define PVMMU_REPORT_MULTICALL_REFUSED 3

// Something this version of the header has no name for.
#define PVMMU_REPORT_OTHER 4

// Operations of a switch at most; more than a queue has room for would not leave as one batch.
#define PVMMU_SWITCH_OPERATIONS 16

// Reasons for a flush there are.
#define PVMMU_FLUSH_REASONS 12

// The table is memory.
#define PVMMU_TABLE_DRAFT 1

// The processor may walk it.
#define PVMMU_TABLE_LIVE 2

// Words of `struct pvmmu_table`.
#define PVMMU_TABLE_WORDS 24

// What a call answers. All but `PVMMU_ERROR_FAILED`, `PVMMU_ERROR_OPEN_REGIONS` and `PVMMU_ERROR_NOT_CLEARED` mean
// that nothing has been done.
enum pvmmu_error {
  // Done.
  PVMMU_ERROR_NONE = 0,
  // A pointer is null. `value`: which argument, from 1 on.
  PVMMU_ERROR_NULL = 1,
  // A pointer is no multiple of what its type asks for. `value`: the pointer.
  PVMMU_ERROR_UNALIGNED = 2,
  // The storage is smaller than this library needs: header and archive are of different versions. `value`: its
  // bytes, `limit`: those that are needed.
  PVMMU_ERROR_SIZE = 3,
  // The storage has not been initialised, or was given back. `value`: the word that is where the mark should be.
  PVMMU_ERROR_NOT_INITIALISED = 4,
  // A function of the platform is missing. `value`: which, counted from 1 in the order of the structure.
  PVMMU_ERROR_MISSING_FUNCTION = 5,
  // `lock` answered with no queue, or one of another vCPU. `value`: the vCPU it says it is on, `limit`: the queue's.
  PVMMU_ERROR_WRONG_VCPU = 6,
  // `lock` told of no context there is. `value`: what it told.
  PVMMU_ERROR_CONTEXT = 7,
  // The call was made from within a step: by a callback that runs with upcalls masked and must not use the library
  // (R9).
  PVMMU_ERROR_WITHIN_STEP = 8,
  // The task, table or buffer is in a call already: a callback came back by it, or two use it at once.
  PVMMU_ERROR_BUSY = 9,
  // The task is in a region, and its profile does not nest (R4).
  PVMMU_ERROR_NESTED = 10,
  // 255 regions or pauses are open (R4, R5).
  PVMMU_ERROR_TOO_DEEP = 11,
  // Not for interrupt handlers (R6), and not for the switch code.
  PVMMU_ERROR_INTERRUPT = 12,
  // The task is in no region (R4).
  PVMMU_ERROR_NOT_ENTERED = 13,
  // No pause is open (R5).
  PVMMU_ERROR_NOT_PAUSED = 14,
  // The pause is ended; `value` regions opened in it had not been left, and are closed now (R5).
  PVMMU_ERROR_OPEN_REGIONS = 15,
  // A slot is no multiple of 8 or beyond 52 bits. `value`: the slot.
  PVMMU_ERROR_SLOT = 16,
  // An address is not canonical. `value`: the address.
  PVMMU_ERROR_ADDRESS = 17,
  // The range has no entries.
  PVMMU_ERROR_EMPTY_RANGE = 18,
  // The range reaches beyond its table. `value`: its slot, `limit`: its entries.
  PVMMU_ERROR_BEYOND_TABLE = 19,
  // The buffer has no room for so many. `value`: the entries asked for, `limit`: the room.
  PVMMU_ERROR_FULL = 20,
  // An operation's kind or one of its other numbers is none there is. `value`: the number.
  PVMMU_ERROR_ARGUMENT = 21,
  // Operations are not effective: `failed` of them, the first named in `failures` (R2, R14).
  PVMMU_ERROR_FAILED = 22,
  // The entry was not emptied and still translates; why is told with the task's failures. `value`: its slot.
  PVMMU_ERROR_NOT_CLEARED = 23,
  // A table's state does not allow it: a draft takes stores, a live one operations. `value`: the state it is in.
  PVMMU_ERROR_TABLE_STATE = 24,
};

// What an operation does, and which fields of `pvmmu_operation` it has. Fields it does not have are not looked at.
enum pvmmu_op {
  // One that C cannot ask for. Never in a request.
  PVMMU_OP_OTHER = 0,
  // An update of an entry of any level, never merged: `slot` (its lowest two bits: 0, or 2 to keep accessed and
  // dirty), `pte`; `detail` 0 for own tables and frames, else the fourth argument of `mmu_update`.
  PVMMU_OP_UPDATE = 1,
  // Validate `frame` as a table of level `detail` (1 to 4) and keep it so.
  PVMMU_OP_PIN = 2,
  // Give up the pin of `frame`; `flush_others` is called first (R12).
  PVMMU_OP_UNPIN = 3,
  // Load `frame`, an L4 table, as the kernel's base pointer.
  PVMMU_OP_NEW_BASEPTR = 4,
  // Load `frame` as user mode's; frame 0 for none.
  PVMMU_OP_NEW_USER_BASEPTR = 5,
  // Flush this vCPU's TLB.
  PVMMU_OP_TLB_FLUSH_LOCAL = 6,
  // Flush the TLBs of `vcpus`.
  PVMMU_OP_TLB_FLUSH_MULTI = 7,
  // Flush every vCPU's TLB.
  PVMMU_OP_TLB_FLUSH_ALL = 8,
  // Invalidate the page of `address` on this vCPU.
  PVMMU_OP_INVLPG_LOCAL = 9,
  // The same on `vcpus`.
  PVMMU_OP_INVLPG_MULTI = 10,
  // The same on every vCPU.
  PVMMU_OP_INVLPG_ALL = 11,
  // Load the local descriptor table at `address` with `value` descriptors, at most 8192.
  PVMMU_OP_SET_LDT = 12,
  // Fill `frame` with zeros.
  PVMMU_OP_CLEAR_PAGE = 13,
  // Copy frame number `value` to `frame`.
  PVMMU_OP_COPY_PAGE = 14,
  // Write `pte` where the current tables map `address`; `detail` is one of `PVMMU_FLUSH_*`, with `vcpus` where that
  // says so.
  PVMMU_OP_UPDATE_VA_MAPPING = 15,
  // The kernel's stack: selector `value`, pointer `address`.
  PVMMU_OP_STACK_SWITCH = 16,
  // Whether the next FPU instruction traps: `value` 0 or 1.
  PVMMU_OP_FPU_TASKSWITCH = 17,
  // Load base `detail` (0 fs, 1 gs of user mode, 2 gs of kernel mode, 3 user gs selector) with `value`.
  PVMMU_OP_SET_SEGMENT_BASE = 18,
  // Write descriptor `value` at machine address `slot.bits`.
  PVMMU_OP_UPDATE_DESCRIPTOR = 19,
};

// What the library keeps of a task: a depth, a pause count, and failures until the leave. Never a queue.
struct PVMMU_ALIGNED(16) pvmmu_task {
  uint64_t opaque[PVMMU_TASK_WORDS];
};

// A page-table entry's place: its machine address, a multiple of 8.
struct pvmmu_slot {
  // The machine address.
  uint64_t bits;
};

// A page-table entry, as the processor has it.
struct pvmmu_pte {
  // The word.
  uint64_t bits;
};

// A machine frame number: 4096 bytes each.
struct pvmmu_mfn {
  // The number.
  uint64_t number;
};

// A virtual address.
struct pvmmu_va {
  // The address.
  uint64_t address;
};

// A set of vCPUs: vCPU n is bit n % 64 of word n / 64.
struct pvmmu_vcpus {
  // The bits.
  uint64_t words[2];
};

// One wish of the kernel to the hypervisor.
struct pvmmu_operation {
  // One of `enum pvmmu_op`.
  uint32_t kind;
  // A small number, as the kind says.
  uint32_t detail;
  // An entry.
  struct pvmmu_slot slot;
  // Its value.
  struct pvmmu_pte pte;
  // A frame.
  struct pvmmu_mfn frame;
  // A virtual address.
  struct pvmmu_va address;
  // Another number, as the kind says.
  uint64_t value;
  // vCPUs.
  struct pvmmu_vcpus vcpus;
};

// An operation that is not effective.
struct pvmmu_failure {
  // Which.
  struct pvmmu_operation operation;
  // Xen's refusal, as the positive number of `errno.h`; 0: not attempted after an earlier refusal.
  uint32_t errno;
};

// What a call that was refused says beyond its code. Written only where the code is not `PVMMU_ERROR_NONE`.
struct pvmmu_why {
  // The code that the call answered with.
  enum pvmmu_error code;
  // How many operations are not effective.
  uint32_t failed;
  // The offending value, as the code says.
  uint64_t value;
  // What it was measured against, as the code says.
  uint64_t limit;
  // The first of them.
  struct pvmmu_failure failures[PVMMU_FAILURES];
};

// Gives the entry for number `n` of a range, from 0 on. Runs with upcalls masked and must not use the library.
typedef struct pvmmu_pte (*pvmmu_pte_fn)(void *data, size_t n);

// Looks at `known`, entry number `n` of a range as the caller's operations have left it (R11), and answers with 1 and
// the new entry in `pte`, or with 0 to leave it. Runs with upcalls masked and must not use the library.
typedef uint32_t (*pvmmu_change_fn)(void *data, size_t n, struct pvmmu_pte known, struct pvmmu_pte *pte);

// Room for what a table's entries held.
struct PVMMU_ALIGNED(16) pvmmu_held {
  uint64_t opaque[PVMMU_HELD_WORDS];
};

// Is told what the entry at `slot` held last, accessed and dirty final. Runs with upcalls as they were; the task is in
// the call meanwhile.
typedef void (*pvmmu_each_held_fn)(void *data, struct pvmmu_slot slot, struct pvmmu_pte held);

// A kernel: its platform, checked. One for all vCPUs, never changed.
struct pvmmu_kernel {
  uint64_t opaque[PVMMU_KERNEL_WORDS];
};

// The queue of one vCPU: 512 updates in 32 calls at most. `lock` hands it out.
struct PVMMU_ALIGNED(128) pvmmu_queue {
  uint64_t opaque[PVMMU_QUEUE_WORDS];
};

// Where a step runs: `lock` fills it in, and the same comes back with `unlock`.
struct pvmmu_here {
  // The kernel's own: whether upcalls were masked before.
  uint64_t saved;
  // The vCPU the caller is on.
  uint32_t vcpu;
  // `PVMMU_CONTEXT_TASK` or `PVMMU_CONTEXT_INTERRUPT`.
  uint32_t context;
};

// One report.
struct pvmmu_report {
  // One of `PVMMU_REPORT_*`.
  uint32_t kind;
  // A number, as the kind says.
  uint32_t value;
  // The operation, where the kind has one.
  struct pvmmu_failure failure;
};

// What only the kernel knows. `data` is passed to every function.
//
// All but `table` and `store` have to be there. The library calls none of them with a vCPU taken but `unlock`,
// `hypercall`, `load` and `table`.
struct pvmmu_platform {
  // The kernel's own.
  void *data;
  // 1. Pins the caller to its vCPU, masks upcalls, fills in `here` and answers with the vCPU's queue (R9). Upcalls
  //    stay masked and nobody else runs on this vCPU until `unlock`. May be called with upcalls masked.
  struct pvmmu_queue *(*lock)(void *data, struct pvmmu_here *here);
  // 2. Undoes `lock`.
  void (*unlock)(void *data, const struct pvmmu_here *here);
  // 3. Makes hypercall `number` with five arguments and answers with what Xen returned in rax. Arguments are numbers
  //    and addresses; a multicall's entries and done counts are written by Xen.
  int64_t (*hypercall)(void *data, uint64_t number, const uint64_t *arguments);
  // 4. Reads an entry from memory, by a plain load.
  struct pvmmu_pte (*load)(void *data, struct pvmmu_slot slot);
  // 5. Fills in the vCPUs that are online.
  void (*online)(void *data, struct pvmmu_vcpus *vcpus);
  // 6. Returns once no other vCPU runs on `table`, or has the load away from it queued (R12): interrupts whoever
  //    may, has the handler leave the table and call `pvmmu_interrupt_flush`, and waits. Nothing to do where there is
  //    one vCPU.
  void (*flush_others)(void *data, struct pvmmu_mfn table);
  // 7. Is told what no caller is there to be told. The report is gone when it returns.
  void (*report)(void *data, const struct pvmmu_report *report);
  // 8. `lock` has gone wrong in the middle of a call, where nobody can be answered any more: `code` as for a call
  //    that has not begun. Must not return; if it does, the library spins.
  void (*fatal)(void *data, enum pvmmu_error code);
  // Where the table in frame `table` is mapped, 512 entries; null where it is not. Saves a call of `load` for each
  // entry of a range. May be missing.
  const uint64_t *(*table)(void *data, struct pvmmu_mfn table);
  // Stores a word of a page that is no table, by a plain store: what `pvmmu_table_*` need. May be missing.
  void (*store)(void *data, struct pvmmu_slot slot, struct pvmmu_pte pte);
};

// What a vCPU's queue has done (R17): `queued` = `applied` + `refused` + `not_attempted` + `merged` + `superseded` +
// `pending`, and the flushes by reason add up to `flushes`.
struct pvmmu_stats {
  // Operations asked for.
  uint64_t queued;
  // Operations that Xen applied.
  uint64_t applied;
  // Operations it refused.
  uint64_t refused;
  // Operations not attempted after a refusal.
  uint64_t not_attempted;
  // Updates joined with a pending one of the same entry.
  uint64_t merged;
  // TLB flushes that another one beside them made needless.
  uint64_t superseded;
  // Operations in the queue now.
  uint64_t pending;
  // Batches handed over.
  uint64_t flushes;
  // The same by reason: leave, nested leave, pause, explicit, switch, interrupt, immediate, capacity, read hazard,
  // leak, harvest, table.
  uint64_t flushes_by_reason[PVMMU_FLUSH_REASONS];
  // Operations that went out alone, past the queue.
  uint64_t direct;
  // Operations of the largest batch.
  uint64_t largest_batch;
};

// A page table's handle.
struct PVMMU_ALIGNED(16) pvmmu_table {
  uint64_t opaque[PVMMU_TABLE_WORDS];
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Sets an L1 entry of the caller's own tables. In a region it may wait (R1).
//
// Errors: `PVMMU_ERROR_SLOT`; outside a region `PVMMU_ERROR_FAILED`; those of every call by a task
// (`pvmmu_task_exit`).
//
// # Safety
// 1. Pointers.
enum pvmmu_error pvmmu_set_pte(struct pvmmu_task *task,
                               struct pvmmu_slot slot,
                               struct pvmmu_pte pte,
                               struct pvmmu_why *why);

// Sets an L1 entry and keeps what accessed and dirty bits the processor has set in it until then (R11).
//
// Errors: as `pvmmu_set_pte`.
//
// # Safety
// 1. Pointers.
enum pvmmu_error pvmmu_commit_pte(struct pvmmu_task *task,
                                  struct pvmmu_slot slot,
                                  struct pvmmu_pte pte,
                                  struct pvmmu_why *why);

// Sets an entry of an L2, L3 or L4 table of the caller's own, in its place in the order (R3).
//
// Errors: as `pvmmu_set_pte`.
//
// # Safety
// 1. Pointers.
enum pvmmu_error pvmmu_set_upper(struct pvmmu_task *task,
                                 struct pvmmu_slot slot,
                                 struct pvmmu_pte pte,
                                 struct pvmmu_why *why);

// Asks for any operation: a TLB flush, a pin, a base pointer, a descriptor, in its place in the order (R3, R10, R12).
//
// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_ARGUMENT`, `PVMMU_ERROR_SLOT`, `PVMMU_ERROR_ADDRESS`; outside a region
// `PVMMU_ERROR_FAILED`; those of every call by a task (`pvmmu_task_exit`).
//
// # Safety
// 1. Pointers. 2. The operation takes nothing away that the kernel stands on, as for a hypercall of its own.
enum pvmmu_error pvmmu_operation(struct pvmmu_task *task,
                                 const struct pvmmu_operation *operation,
                                 struct pvmmu_why *why);

// Reads an entry as the caller's operations have left it, pending ones included (R11).
//
// Errors: `PVMMU_ERROR_SLOT`, `PVMMU_ERROR_NULL`; those of every call by a task (`pvmmu_task_exit`).
//
// # Safety
// 1. Pointers.
enum pvmmu_error pvmmu_read_pte(struct pvmmu_task *task,
                                struct pvmmu_slot slot,
                                struct pvmmu_pte *pte,
                                struct pvmmu_why *why);

// Sets `count` consecutive L1 entries of one table from `slot` on: part of the queue when lazy, else one array in one
// hypercall. `pte_of` gives each. In order with what is queued (R1, R3).
//
// Errors: `PVMMU_ERROR_SLOT`, `PVMMU_ERROR_NULL`, `PVMMU_ERROR_EMPTY_RANGE`, `PVMMU_ERROR_BEYOND_TABLE`; those of
// every call by a task (`pvmmu_task_exit`).
//
// # Safety
// 1. Pointers; `pte_of` can be called with `data`.
enum pvmmu_error pvmmu_set_ptes(struct pvmmu_task *task,
                                struct pvmmu_slot slot,
                                size_t count,
                                pvmmu_pte_fn pte_of,
                                void *data,
                                struct pvmmu_why *why);

// Changes `count` consecutive L1 entries of one table by what they hold: `change` decides for each. Accessed and dirty
// that the processor sets meanwhile are kept. The caller holds the lock that keeps others from the entries until the
// leave (R3, R11).
//
// Errors: as `pvmmu_set_ptes`.
//
// # Safety
// 1. Pointers; `change` can be called with `data`.
enum pvmmu_error pvmmu_modify(struct pvmmu_task *task,
                              struct pvmmu_slot slot,
                              size_t count,
                              pvmmu_change_fn change,
                              void *data,
                              struct pvmmu_why *why);

// Takes from `count` consecutive L1 entries of one table the right to store; accessed and dirty stay. The caller
// flushes (R3, R11).
//
// Errors: as `pvmmu_set_ptes`.
//
// # Safety
// 1. Pointers.
enum pvmmu_error pvmmu_wrprotect(struct pvmmu_task *task, struct pvmmu_slot slot, size_t count, struct pvmmu_why *why);

// Empties an L1 entry and answers with what it held last, accessed and dirty final (R11). Flushes what is queued; for
// many entries see `pvmmu_harvest`.
//
// Errors: `PVMMU_ERROR_SLOT`, `PVMMU_ERROR_NULL`, `PVMMU_ERROR_NOT_CLEARED`; those of every call by a task
// (`pvmmu_task_exit`).
//
// # Safety
// 1. Pointers.
enum pvmmu_error pvmmu_get_and_clear(struct pvmmu_task *task,
                                     struct pvmmu_slot slot,
                                     struct pvmmu_pte *held,
                                     struct pvmmu_why *why);

// Initialises room for what entries held, of `bytes` bytes (`sizeof(struct pvmmu_held)`). One for each vCPU or task is
// enough; it is used in one call at a time. What a harvest (R11) is given.
//
// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_UNALIGNED`, `PVMMU_ERROR_SIZE`.
//
// # Safety
// 1. Pointers; `held` has `bytes` bytes, and nobody uses it yet.
enum pvmmu_error pvmmu_held_init(struct pvmmu_held *held, size_t bytes, struct pvmmu_why *why);

// Empties `count` consecutive L1 entries of one table, flushes once, and tells `each` what every entry held last, in
// order. Entries that held nothing, or that could not be emptied, are not told; failures are as for a range.
// `options`: any of `PVMMU_HARVEST_*`. `room` is the call's until it returns.
// What was queued for the entries goes out before (R10, R11).
//
// Errors: `PVMMU_ERROR_SLOT`, `PVMMU_ERROR_NULL`, `PVMMU_ERROR_ARGUMENT`, `PVMMU_ERROR_EMPTY_RANGE`,
// `PVMMU_ERROR_BEYOND_TABLE`; of `room` those of a task; those of every call by a task (`pvmmu_task_exit`).
//
// # Safety
// 1. Pointers; `each` can be called with `data`.
enum pvmmu_error pvmmu_harvest(struct pvmmu_task *task,
                               struct pvmmu_slot slot,
                               size_t count,
                               uint32_t options,
                               struct pvmmu_held *room,
                               pvmmu_each_held_fn each,
                               void *data,
                               struct pvmmu_why *why);

// Which of `count` consecutive L1 entries of one table were used: bit n % 64 of word n / 64 of `young`, 8 words. From
// now on they count as not used; dirty stays. An entry that is used, writable and not dirty is read-only for a moment,
// and flushes (R11).
//
// Errors: `PVMMU_ERROR_SLOT`, `PVMMU_ERROR_NULL`, `PVMMU_ERROR_EMPTY_RANGE`, `PVMMU_ERROR_BEYOND_TABLE`; those of
// every call by a task (`pvmmu_task_exit`).
//
// # Safety
// 1. Pointers; `young` has 8 words.
enum pvmmu_error pvmmu_test_and_clear_young(struct pvmmu_task *task,
                                            struct pvmmu_slot slot,
                                            size_t count,
                                            uint64_t *young,
                                            struct pvmmu_why *why);

// Initialises a kernel object of `bytes` bytes (`sizeof(struct pvmmu_kernel)`) with a copy of `platform`. What it
// promises is what R9 rests on.
//
// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_UNALIGNED`, `PVMMU_ERROR_SIZE`, `PVMMU_ERROR_MISSING_FUNCTION`.
//
// # Safety
// 1. `kernel` has `bytes` bytes and stays where it is while a task of it lives; `platform` can be read; `why` is null
//    or can be written. 2. Each function of the platform can be called in every context the library is used in, keeps
//    what is said of it, and what its answers point at stays: a queue as long as its vCPU.
enum pvmmu_error pvmmu_kernel_init(struct pvmmu_kernel *kernel,
                                   size_t bytes,
                                   const struct pvmmu_platform *platform,
                                   struct pvmmu_why *why);

// Initialises the queue of vCPU number `vcpu`, of `bytes` bytes (`sizeof(struct pvmmu_queue)`). Before the vCPU uses
// it. It is this vCPU's alone (R8, R9).
//
// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_UNALIGNED`, `PVMMU_ERROR_SIZE`.
//
// # Safety
// 1. `queue` has `bytes` bytes, and nobody uses it yet; `why` is null or can be written.
enum pvmmu_error pvmmu_queue_init(struct pvmmu_queue *queue, size_t bytes, uint32_t vcpu, struct pvmmu_why *why);

// Initialises the state of a task of `kernel`, of `bytes` bytes (`sizeof(struct pvmmu_task)`), outside any region.
// `profile`: `PVMMU_PROFILE_STRICT` or `PVMMU_PROFILE_NESTED` (R4).
//
// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_UNALIGNED`, `PVMMU_ERROR_SIZE`, `PVMMU_ERROR_NOT_INITIALISED` (the kernel),
// `PVMMU_ERROR_ARGUMENT`.
//
// # Safety
// 1. Pointers; `task` has `bytes` bytes, and nobody uses it yet.
enum pvmmu_error pvmmu_task_init(struct pvmmu_task *task,
                                 size_t bytes,
                                 const struct pvmmu_kernel *kernel,
                                 uint32_t profile,
                                 struct pvmmu_why *why);

// The task ends: a region or pause still open is flushed and reported as leaked (R2), and the storage is given back.
//
// Errors: `PVMMU_ERROR_INTERRUPT`, and those of every call by a task: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_UNALIGNED`,
// `PVMMU_ERROR_NOT_INITIALISED`, `PVMMU_ERROR_WRONG_VCPU`, `PVMMU_ERROR_CONTEXT`, `PVMMU_ERROR_WITHIN_STEP`,
// `PVMMU_ERROR_BUSY`.
//
// # Safety
// 1. Pointers.
enum pvmmu_error pvmmu_task_exit(struct pvmmu_task *task, struct pvmmu_why *why);

// Enters a region: until it is left, the task's operations may wait (R1, R4).
//
// Errors: `PVMMU_ERROR_NESTED`, `PVMMU_ERROR_TOO_DEEP`, `PVMMU_ERROR_INTERRUPT` (R6); those of every call by a task
// (`pvmmu_task_exit`).
//
// # Safety
// 1. Pointers.
enum pvmmu_error pvmmu_enter(struct pvmmu_task *task, struct pvmmu_why *why);

// Leaves a region: when this returns, each of its operations is effective or named as failed (R2, R4).
//
// Errors: `PVMMU_ERROR_NOT_ENTERED`, `PVMMU_ERROR_INTERRUPT`; `PVMMU_ERROR_FAILED`: the region is left, and `failed`
// of its operations are not effective; those of every call by a task (`pvmmu_task_exit`).
//
// # Safety
// 1. Pointers.
enum pvmmu_error pvmmu_leave(struct pvmmu_task *task, struct pvmmu_why *why);

// Pauses laziness at any depth: flushes, and makes operations immediate (R5). Pauses nest; legal outside a region too.
//
// Errors: `PVMMU_ERROR_TOO_DEEP`, `PVMMU_ERROR_INTERRUPT`; `PVMMU_ERROR_FAILED`: it is paused, and operations asked
// for before are not effective; those of every call by a task (`pvmmu_task_exit`).
//
// # Safety
// 1. Pointers.
enum pvmmu_error pvmmu_pause(struct pvmmu_task *task, struct pvmmu_why *why);

// Ends a pause; the depth is what it was (R5).
//
// Errors: `PVMMU_ERROR_NOT_PAUSED`, `PVMMU_ERROR_INTERRUPT`; `PVMMU_ERROR_OPEN_REGIONS`: it is ended, and regions
// opened in it are closed; those of every call by a task (`pvmmu_task_exit`).
//
// # Safety
// 1. Pointers.
enum pvmmu_error pvmmu_resume(struct pvmmu_task *task, struct pvmmu_why *why);

// Hands over what is queued on this vCPU; laziness goes on. Failures: the task's next leave, a handler's `report`
// (R14).
//
// Errors: those of every call by a task (`pvmmu_task_exit`).
//
// # Safety
// 1. Pointers.
enum pvmmu_error pvmmu_flush(struct pvmmu_task *task, struct pvmmu_why *why);

// Whether an operation asked for now may wait: 1, or 0 outside a region, in a pause, in a handler (R1, R5, R6).
//
// Errors: `PVMMU_ERROR_NULL` (`lazy`), and those of every call by a task (`pvmmu_task_exit`).
//
// # Safety
// 1. Pointers.
enum pvmmu_error pvmmu_is_lazy(struct pvmmu_task *task, uint32_t *lazy, struct pvmmu_why *why);

// The switch hook: what the outgoing task has queued, and then the `count` operations at `operations` (base pointers,
// stack, segment bases), leave as one ordered batch before this returns (R7, R8). Called between two tasks, with
// preemption off; it needs no task's state. Failures go to `report`. All operations are looked at before the first is
// queued.
//
// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_NOT_INITIALISED`, `PVMMU_ERROR_WRONG_VCPU`, `PVMMU_ERROR_WITHIN_STEP`;
// `PVMMU_ERROR_FULL` for more than `PVMMU_SWITCH_OPERATIONS`; `PVMMU_ERROR_ARGUMENT`, `PVMMU_ERROR_SLOT` and
// `PVMMU_ERROR_ADDRESS` for an operation that is none.
//
// # Safety
// 1. Pointers; `count` operations can be read. 2. As for `pvmmu_operation`.
enum pvmmu_error pvmmu_switch(const struct pvmmu_kernel *kernel,
                              const struct pvmmu_operation *operations,
                              size_t count,
                              struct pvmmu_why *why);

// Hands over what is queued on this vCPU, for a handler that another vCPU has asked to (`flush_others`, R12) or that
// takes the vCPU offline. Failures go to `report`. The interrupted task stays lazy and loses nothing (R6).
//
// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_NOT_INITIALISED`, `PVMMU_ERROR_WRONG_VCPU`, `PVMMU_ERROR_WITHIN_STEP`;
// `PVMMU_ERROR_CONTEXT` where `lock` tells of a task.
//
// # Safety
// 1. Pointers.
enum pvmmu_error pvmmu_interrupt_flush(const struct pvmmu_kernel *kernel, struct pvmmu_why *why);

// Reads the counts of the vCPU the caller is on (R17).
//
// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_UNALIGNED`, `PVMMU_ERROR_NOT_INITIALISED`, `PVMMU_ERROR_WRONG_VCPU`,
// `PVMMU_ERROR_WITHIN_STEP`.
//
// # Safety
// 1. Pointers.
enum pvmmu_error pvmmu_stats(const struct pvmmu_kernel *kernel, struct pvmmu_stats *stats, struct pvmmu_why *why);

// Initialises the handle of a table of `level` (1 to 4), of `bytes` bytes (`sizeof(struct pvmmu_table)`), as a draft:
// the page in `frame`, which the kernel has mapped at `alias` by the entry `writable` and nowhere else writable, with
// what is stored there. Nothing reaches it, so none of R1 to R18 is about what is stored in
// it.
//
// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_UNALIGNED`, `PVMMU_ERROR_SIZE`, `PVMMU_ERROR_NOT_INITIALISED`,
// `PVMMU_ERROR_ARGUMENT` (the level), `PVMMU_ERROR_ADDRESS`, `PVMMU_ERROR_MISSING_FUNCTION` (9: `store`).
//
// # Safety
// 1. Pointers; `table` has `bytes` bytes, and nobody uses it yet. 2. Nobody else stores to the page.
enum pvmmu_error pvmmu_table_init(struct pvmmu_table *table,
                                  size_t bytes,
                                  const struct pvmmu_kernel *kernel,
                                  uint32_t level,
                                  struct pvmmu_mfn frame,
                                  struct pvmmu_va alias,
                                  struct pvmmu_pte writable,
                                  struct pvmmu_why *why);

// Takes the page of a draft back: the handle is none any more. Refused while the processor may walk it (R12).
//
// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_UNALIGNED`, `PVMMU_ERROR_NOT_INITIALISED`, `PVMMU_ERROR_BUSY`,
// `PVMMU_ERROR_TABLE_STATE`.
//
// # Safety
// 1. Pointers.
enum pvmmu_error pvmmu_table_forget(struct pvmmu_table *table, struct pvmmu_why *why);

// Where the table is in its life: `PVMMU_TABLE_DRAFT` or `PVMMU_TABLE_LIVE`. What is stored and what is queued follows
// from it (R11).
//
// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_UNALIGNED`, `PVMMU_ERROR_NOT_INITIALISED`, `PVMMU_ERROR_BUSY`.
//
// # Safety
// 1. Pointers.
enum pvmmu_error pvmmu_table_state(struct pvmmu_table *table, uint32_t *state, struct pvmmu_why *why);

// Stores entry `index` (0 to 511) of a draft. A live table takes operations only (R10).
//
// Errors: as `pvmmu_table_forget`; `PVMMU_ERROR_ARGUMENT` (the index).
//
// # Safety
// 1. Pointers.
enum pvmmu_error pvmmu_table_store(struct pvmmu_table *table,
                                   size_t index,
                                   struct pvmmu_pte pte,
                                   struct pvmmu_why *why);

// Reads entry `index` (0 to 511) of a draft. Of a table that was retired, accessed and dirty are final (R11).
//
// Errors: as `pvmmu_table_store`; `PVMMU_ERROR_NULL`.
//
// # Safety
// 1. Pointers.
enum pvmmu_error pvmmu_table_load(struct pvmmu_table *table,
                                  size_t index,
                                  struct pvmmu_pte *pte,
                                  struct pvmmu_why *why);

// Makes a draft live by a pin, in one hypercall with what is queued (R3). It is effective when this returns.
//
// Errors: `PVMMU_ERROR_TABLE_STATE`; `PVMMU_ERROR_FAILED`: it is a draft as before; `PVMMU_ERROR_INTERRUPT`; those of
// a handle (`pvmmu_table_forget`) and of every call by a task (`pvmmu_task_exit`).
//
// # Safety
// 1. Pointers.
enum pvmmu_error pvmmu_table_validate(struct pvmmu_table *table, struct pvmmu_task *task, struct pvmmu_why *why);

// Lets the entry `at`, one level above, point to the table with the flags of `flags` (its frame is not looked at): a
// draft becomes live by it, a live one is moved there from the entry that pointed to it before. In one hypercall with
// what is queued (R3).
//
// Errors: `PVMMU_ERROR_SLOT`; `PVMMU_ERROR_FAILED`: it is as before; `PVMMU_ERROR_INTERRUPT`; those of a handle
// (`pvmmu_table_forget`) and of every call by a task (`pvmmu_task_exit`).
//
// # Safety
// 1. Pointers.
enum pvmmu_error pvmmu_table_attach(struct pvmmu_table *table,
                                    struct pvmmu_task *task,
                                    struct pvmmu_slot at,
                                    struct pvmmu_pte flags,
                                    struct pvmmu_why *why);

// Gives a live table up: entry, pin, and alias writable, in one hypercall with what is queued; `flush_others` is
// called before (R12). It comes back as a draft with what it held last.
//
// Errors: `PVMMU_ERROR_TABLE_STATE`; `PVMMU_ERROR_FAILED`: it is live as before; `PVMMU_ERROR_INTERRUPT`; those of a
// handle (`pvmmu_table_forget`) and of every call by a task (`pvmmu_task_exit`).
//
// # Safety
// 1. Pointers.
enum pvmmu_error pvmmu_table_retire(struct pvmmu_table *table, struct pvmmu_task *task, struct pvmmu_why *why);

// Changes `changes` of a live table's entries or fewer: by updates, or, where the measured costs say so, by giving the
// table up, plain stores, and making it live again; `change` is asked for each of the 512 entries, or told of a few.
// The caller holds the locks of the table and of the entry that points to it; the entry is empty meanwhile. Accessed
// and dirty are kept by updates, and final in what `change` is told otherwise (R11).
//
// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_TABLE_STATE`; `PVMMU_ERROR_FAILED`: `pvmmu_table_state` tells whether it
// was not given up and is live as before, or is a draft with the new entries that Xen does not accept;
// `PVMMU_ERROR_INTERRUPT`; those of a handle (`pvmmu_table_forget`) and of every call by a task (`pvmmu_task_exit`).
//
// # Safety
// 1. Pointers; `change` can be called with `data`.
enum pvmmu_error pvmmu_table_rewrite(struct pvmmu_table *table,
                                     struct pvmmu_task *task,
                                     size_t changes,
                                     pvmmu_change_fn change,
                                     void *data,
                                     struct pvmmu_why *why);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PVMMU_H */

#ifdef __cplusplus
#define PVMMU_ASSERT(condition, text) static_assert(condition, text)
#else
#define PVMMU_ASSERT(condition, text) _Static_assert(condition, text)
#endif
PVMMU_ASSERT(sizeof(struct pvmmu_kernel) == PVMMU_KERNEL_WORDS * sizeof(uint64_t), "pvmmu: 8 bytes a word, no padding");
PVMMU_ASSERT(sizeof(struct pvmmu_queue) == PVMMU_QUEUE_WORDS * sizeof(uint64_t), "pvmmu: 8 bytes a word, no padding");
PVMMU_ASSERT(sizeof(struct pvmmu_task) == PVMMU_TASK_WORDS * sizeof(uint64_t), "pvmmu: 8 bytes a word, no padding");
PVMMU_ASSERT(sizeof(struct pvmmu_held) == PVMMU_HELD_WORDS * sizeof(uint64_t), "pvmmu: 8 bytes a word, no padding");
PVMMU_ASSERT(sizeof(struct pvmmu_table) == PVMMU_TABLE_WORDS * sizeof(uint64_t), "pvmmu: 8 bytes a word, no padding");
PVMMU_ASSERT(sizeof(size_t) == 8 && sizeof(void *) == 8, "pvmmu: x86-64 only");
#undef PVMMU_ASSERT

/* The slot of entry `index`, 0 to 511, of the table in frame `table`. */
static inline struct pvmmu_slot pvmmu_slot_of(struct pvmmu_mfn table, uint64_t index)
{
    struct pvmmu_slot slot;
    slot.bits = (table.number << 12) + (index % 512) * 8;
    return slot;
}

/* The entry that maps `frame` with the bits of `flags`. */
static inline struct pvmmu_pte pvmmu_pte_of(struct pvmmu_mfn frame, uint64_t flags)
{
    struct pvmmu_pte pte;
    pte.bits = ((frame.number << 12) & UINT64_C(0x000ffffffffff000)) | flags;
    return pte;
}

/* The frame that `pte` names; meaningful where it is present. */
static inline struct pvmmu_mfn pvmmu_pte_frame(struct pvmmu_pte pte)
{
    struct pvmmu_mfn frame;
    frame.number = (pte.bits & UINT64_C(0x000ffffffffff000)) >> 12;
    return frame;
}

/* Whether nothing is in `pte` but accessed and dirty bits, as an emptied entry may have. */
static inline int pvmmu_pte_is_none(struct pvmmu_pte pte)
{
    return (pte.bits & ~UINT64_C(0x60)) == 0;
}
