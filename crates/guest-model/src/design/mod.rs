//! Designs of lazy regions: this library's, and those that history has tried and given up.
//!
//! The same scenarios run on each. A design does in its own way what it is asked by [`Cpu`], and every
//! step in which it touches what is shared is a point of its own.

mod linux;
mod pv_mmu;

use std::fmt::Debug;
use std::hash::Hasher;

use hypercall::{Operation, Pte, PteSlot};
use mock_xen::testing::Answer;

pub(crate) use self::{
    linux::{Linux, V6_6, V7_0, Y2006, Y2009, Y2009Native, Y2026, Y2026Debug},
    pv_mmu::PvMmu,
};
use crate::{cpu::Cpu, scenario::Scenario};

/// A batcher's way of doing lazy regions.
pub(crate) trait Design: Sized + 'static {
    /// What a task keeps on its own stack; no other task sees it.
    type Local: Debug + std::hash::Hash;
    /// What vCPUs and tasks share.
    type Shared: Debug;
    /// Operations that may be issued at most in one stretch with upcalls masked (R15).
    const MASKED_BOUND: u32;
    /// Whether what may not wait is asked for in a pause.
    const PAUSES: bool;

    /// What is shared, as it is in the beginning.
    fn shared(scenario: &Scenario) -> Self::Shared;

    /// What a task keeps, as it is in the beginning.
    fn local(scenario: &Scenario) -> Self::Local;

    /// Feeds what is shared.
    fn digest(shared: &Self::Shared, hasher: &mut impl Hasher);

    /// What is queued on a vCPU, for pictures.
    fn queued(shared: &Self::Shared, vcpu: usize) -> Vec<Operation>;

    /// Whether a step against a vCPU's queue is under way.
    fn is_in_use(shared: &Self::Shared, vcpu: usize) -> bool;

    /// Whether a task that keeps this may have operations wait.
    fn is_lazy(local: &Self::Local) -> bool;

    /// Enters a region.
    fn enter(cpu: &Cpu<'_, Self>, local: &mut Self::Local) -> Answer;

    /// Leaves one.
    fn leave(cpu: &Cpu<'_, Self>, local: &mut Self::Local) -> Answer;

    /// Pauses laziness.
    fn pause(cpu: &Cpu<'_, Self>, local: &mut Self::Local) -> Answer;

    /// Ends a pause.
    fn resume(cpu: &Cpu<'_, Self>, local: &mut Self::Local) -> Answer;

    /// Takes an operation of a task.
    fn ask(cpu: &Cpu<'_, Self>, local: &mut Self::Local, operation: &Operation) -> Answer;

    /// Takes an operation that has to be effective when this returns, region or not.
    fn ask_at_once(cpu: &Cpu<'_, Self>, local: &mut Self::Local, operation: &Operation) -> Answer;

    /// Sets entries from `slot` on; `pte_of` gives each and is called when it is taken.
    fn ask_range(
        cpu: &Cpu<'_, Self>,
        local: &mut Self::Local,
        slot: PteSlot,
        count: usize,
        pte_of: &mut dyn FnMut(usize) -> Pte,
    );

    /// Calls that belong together begin; nests.
    fn begin_pair(_cpu: &Cpu<'_, Self>) {}

    /// They end.
    fn end_pair(_cpu: &Cpu<'_, Self>) {}

    /// Sets entries in a region, each under a lock that its completion callback gives back.
    fn walk(cpu: &Cpu<'_, Self>, local: &mut Self::Local, count: usize);

    /// Hands over what is queued.
    fn flush(cpu: &Cpu<'_, Self>, local: &mut Self::Local);

    /// Reads an entry.
    fn read(cpu: &Cpu<'_, Self>, local: &mut Self::Local, slot: PteSlot) -> Pte;

    /// Empties an entry and answers with what it held.
    fn clear(cpu: &Cpu<'_, Self>, local: &mut Self::Local, slot: PteSlot) -> Pte;

    /// Takes from an entry the right to store; accessed and dirty stay.
    fn protect(cpu: &Cpu<'_, Self>, local: &mut Self::Local, slot: PteSlot);

    /// Switches counting on or off.
    fn count(cpu: &Cpu<'_, Self>, on: bool);

    /// The task ends.
    fn exit(cpu: &Cpu<'_, Self>, local: &mut Self::Local);

    /// Takes an operation of a handler.
    fn ask_in_interrupt(cpu: &Cpu<'_, Self>, operation: &Operation) -> Answer;

    /// Reads an entry in a handler.
    fn read_in_interrupt(cpu: &Cpu<'_, Self>, slot: PteSlot) -> Pte;

    /// Empties an entry in a handler.
    fn clear_in_interrupt(cpu: &Cpu<'_, Self>, slot: PteSlot) -> Pte;

    /// Hands over what is queued on the vCPU, in a handler.
    fn flush_in_interrupt(cpu: &Cpu<'_, Self>);

    /// The switch to another coroutine, with what the switch itself has to load; upcalls are masked.
    fn switch(cpu: &Cpu<'_, Self>, next: usize, loads: &[Operation]);
}
