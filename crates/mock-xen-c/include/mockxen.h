/* A user-space Xen 4.17 with a referee, for guest kernels in C.
 *
 * Made from crates/mock-xen-c by `ci/c-face.sh --write`; do not edit. MIT OR Apache-2.0.
 *
 * R1 to R18 are the rules of docs/contract.md; docs/c-face.md shows a test. What is no guest, vCPU or frame ends the
 * program with a message. */

#ifndef MOCKXEN_H
#define MOCKXEN_H

#include <stddef.h>
#include <stdint.h>

// A guest of two vCPUs, 0 and 1, with a pinned L1 table and 16 pages.
struct mockxen_guest;

// How the mock reaches what a hypercall points at. Functions that are missing are replaced by plain accesses; a
// program built with a sanitizer gives its own, so that an argument that is too short is found.
struct mockxen_memory {
  // Passed to each.
  void *data;
  // Loads a word of 8 bytes.
  uint64_t (*load)(void *data, const uint64_t *address);
  // Stores one.
  void (*store)(void *data, uint64_t *address, uint64_t word);
};

// Who acts: a task by a number of the program's choice, the vCPU it is on, and the context: 0 its own code, 1 a
// handler that interrupts it, 2 the switch code between two tasks.
struct mockxen_who {
  // The task.
  uint64_t task;
  // The vCPU.
  uint32_t vcpu;
  // The context.
  uint32_t context;
};

// A verdict. All zeros but `asked` and `arrived`: nothing is wrong.
struct mockxen_verdict {
  // Rules broken.
  uint64_t violations;
  // Operations that have not arrived.
  uint64_t pending;
  // Refusals of which the guest has not been told.
  uint64_t untold;
  // Tasks that are inside a region or a pause.
  uint64_t open;
  // Things the mock was asked for and does not model.
  uint64_t not_modelled;
  // 1: the machine's reference counts are wrong.
  uint64_t miscounted;
  // Operations asked for.
  uint64_t asked;
  // Operations that arrived.
  uint64_t arrived;
  // Bit n: rule Rn was broken.
  uint64_t rules;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// A new guest whose regions follow the strict rule, or with `nested` != 0 the nested one (R4). `memory` may be null.
// `masked_bound`: operations that may arrive in one stretch with upcalls masked (R15); 0 for no bound.
//
// # Safety
// 1. `memory` is null or can be read, and its functions can be called as long as the guest lives.
struct mockxen_guest *mockxen_new(uint32_t nested, uint32_t masked_bound, const struct mockxen_memory *memory);

// Frees a guest; null is none.
//
// # Safety
// 1. `guest` is null or was made by `mockxen_new` and not freed, and nobody uses it any more.
void mockxen_free(struct mockxen_guest *guest);

// Hypercall `number` of `vcpu` with five arguments; answers with what Xen returns in rax. Pointers among the arguments
// lead to the program's memory.
//
// # Safety
// 1. `guest` as for `mockxen_judge`; `arguments` are five words. 2. What they point at is the program's, as long as
//    the hypercall reads and writes there.
int64_t mockxen_hypercall(const struct mockxen_guest *guest, uint32_t vcpu, uint64_t number, const uint64_t *arguments);

// The frame of the pinned L1 table, which is empty at first.
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
uint64_t mockxen_table(const struct mockxen_guest *guest);

// The frame of page `number`, 0 to 15: memory that is mapped writable.
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
uint64_t mockxen_page(const struct mockxen_guest *guest, uint32_t number);

// The virtual address at which the guest has `frame` mapped. The program cannot follow it; hypercalls name it.
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
uint64_t mockxen_address(const struct mockxen_guest *guest, uint64_t frame);

// The frame of the L4 table that `vcpu` runs on.
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
uint64_t mockxen_base(const struct mockxen_guest *guest, uint32_t vcpu);

// The word at machine address `slot`, as the guest's memory holds it.
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
uint64_t mockxen_load(const struct mockxen_guest *guest, uint64_t slot);

// A plain store of the guest to machine address `slot`: 0, or -1 where it would fault, because no mapping of the page
// is writable.
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
int32_t mockxen_store(const struct mockxen_guest *guest, uint64_t slot, uint64_t word);

// What the processor does when it stores through the present entry at `slot`: accessed and dirty are set. 0, or -1
// where the entry is not present.
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
int32_t mockxen_touch(const struct mockxen_guest *guest, uint64_t slot);

// A store of the guest's kernel to the read-only entry at `slot`, past any library: Xen traps it and makes it as an
// update. The referee is told (R6, R10). 0, or -1 for a page fault.
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
int32_t mockxen_trapped_write(const struct mockxen_guest *guest, struct mockxen_who who, uint64_t slot, uint64_t pte);

// What the referee found so far; a text of it goes to `text`, of which there are `bytes` bytes: cut to fit, and ended
// by a zero. Each violation is a line that names rule, operation, task, vCPU and moments.
//
// # Safety
// 1. `guest` was made by `mockxen_new` and not freed. 2. `text` is null or has `bytes` bytes.
struct mockxen_verdict mockxen_judge(const struct mockxen_guest *guest, char *text, size_t bytes);

// The library is about to be handed an update of an entry of a table of `level`, 1 to 4. `slot` with Xen's command in
// its lowest bits: 2 for an update that keeps accessed and dirty. Answers with the request's number.
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
uint64_t mockxen_ask_update(const struct mockxen_guest *guest,
                            struct mockxen_who who,
                            uint32_t level,
                            uint64_t slot,
                            uint64_t pte);

// The library is about to be handed an `mmuext_op`, by Xen's `command` number, its first argument, and the set of
// vCPUs 0 to 63 where it has one. Answers with the request's number.
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
uint64_t mockxen_ask_mmuext(const struct mockxen_guest *guest,
                            struct mockxen_who who,
                            uint32_t command,
                            uint64_t argument,
                            uint64_t vcpus);

// The library is about to be handed a stack switch. Answers with the request's number.
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
uint64_t mockxen_ask_stack(const struct mockxen_guest *guest, struct mockxen_who who, uint64_t ss, uint64_t sp);

// The library is about to be handed a write of the entry that maps `address`, with nothing flushed. Answers with the
// request's number.
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
uint64_t mockxen_ask_va_mapping(const struct mockxen_guest *guest,
                                struct mockxen_who who,
                                uint64_t address,
                                uint64_t pte,
                                uint32_t invlpg_all);

// The call that took request `number` has returned (R1, R5, R6, R7, R14).
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
void mockxen_answered(const struct mockxen_guest *guest, uint64_t number);

// The guest has been told that an update was refused with `errno`, or with 0 that it was not attempted (R14).
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
void mockxen_failed_update(const struct mockxen_guest *guest,
                           uint32_t vcpu,
                           uint64_t slot,
                           uint64_t pte,
                           uint32_t errno);

// The same of an `mmuext_op`.
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
void mockxen_failed_mmuext(const struct mockxen_guest *guest,
                           uint32_t vcpu,
                           uint32_t command,
                           uint64_t argument,
                           uint64_t vcpus,
                           uint32_t errno);

// An adapter of the program's, in the hypervisor's place, has refused one update of an array with `errno`, and has not
// looked at the `behind` updates that follow it: `updates` are pairs of slot and value, from the refused one on.
//
// # Safety
// 1. `guest` as for `mockxen_judge`; `updates` has 1 + `behind` pairs.
void mockxen_refused(const struct mockxen_guest *guest,
                     uint32_t vcpu,
                     const uint64_t *updates,
                     size_t behind,
                     uint32_t errno);

// Enter has returned; `accepted` != 0 if it was taken (R4, R6).
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
void mockxen_entered(const struct mockxen_guest *guest, struct mockxen_who who, uint32_t accepted);

// Leave is about to be called (R2).
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
void mockxen_leaves(const struct mockxen_guest *guest, struct mockxen_who who);

// Leave has returned, and the failures it named have been told; one that names failures was taken (R2, R14).
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
void mockxen_left(const struct mockxen_guest *guest, struct mockxen_who who, uint32_t accepted);

// Pause has returned (R5).
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
void mockxen_paused(const struct mockxen_guest *guest, struct mockxen_who who, uint32_t accepted);

// Resume has returned (R5).
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
void mockxen_resumed(const struct mockxen_guest *guest, struct mockxen_who who, uint32_t accepted);

// The accessor answered `pte` for the entry at `slot` (R11).
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
void mockxen_read(const struct mockxen_guest *guest, struct mockxen_who who, uint64_t slot, uint64_t pte);

// The guest has learnt that the entry at `slot` holds, or held last, `pte`, accessed and dirty with it (R11).
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
void mockxen_seen(const struct mockxen_guest *guest, uint64_t slot, uint64_t pte);

// Upcalls are masked on `vcpu` from now on (`masked` != 0), or one reason for it has gone (R15).
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
void mockxen_mask(const struct mockxen_guest *guest, uint32_t vcpu, uint32_t masked);

// On `vcpu`, task `next` runs in the place of task `previous` from now on (R7).
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
void mockxen_switched(const struct mockxen_guest *guest, uint32_t vcpu, uint64_t previous, uint64_t next);

// A handler on `vcpu` has returned (R6).
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
void mockxen_interrupt_end(const struct mockxen_guest *guest, uint32_t vcpu);

// The library has reported that a task's region was left open (R2).
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
void mockxen_leak_reported(const struct mockxen_guest *guest, struct mockxen_who who);

// Task `task` is gone (R2).
//
// # Safety
// 1. `guest` as for `mockxen_judge`.
void mockxen_task_exit(const struct mockxen_guest *guest, uint64_t task);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MOCKXEN_H */
