//! A hypervisor that is nothing but a map from entries to values and a list of what arrived. It
//! refuses what it is told to refuse.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use hypercall::{
    Errno, Hypervisor, MmuUpdate, Operation, Outcome, PreparedCall, PreparedCalls, Pte, PteFlags, PteSlot, Subject,
    UpdateCommand,
};

use crate::kernel::Memory;

/// The state all vCPUs share.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) entries: BTreeMap<u64, u64>,
    /// What was applied, in order.
    pub(crate) applied: Vec<Operation>,
    /// Operations per hypercall.
    pub(crate) hypercalls: Vec<usize>,
    /// Values that are refused.
    pub(crate) poison: BTreeSet<u64>,
    /// An operation that is refused.
    pub(crate) refused: Option<Operation>,
    /// An entry whose updates are refused.
    pub(crate) refused_slot: Option<PteSlot>,
    /// Whether a refusal claims that every operation of its call was done.
    pub(crate) overstates: bool,
    /// Whether multicalls are refused.
    pub(crate) no_multicall: bool,
    /// Another processor, which may use any entry at any moment.
    pub(crate) walker: Walker,
    /// Entries that were present and are not, with what they held in that moment.
    pub(crate) emptied: Vec<(PteSlot, Pte)>,
    /// Accessed and dirty bits that an update has overwritten in a present entry.
    pub(crate) overwritten: Vec<(PteSlot, PteFlags)>,
}

/// A processor that uses entries: at each moment the next of `uses`.
#[derive(Debug, Default)]
pub(crate) struct Walker {
    pub(crate) uses: std::collections::VecDeque<Option<(PteSlot, Use)>>,
}

/// What an entry is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Load,
    Store,
}

/// One vCPU's way to the state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model(pub(crate) Rc<RefCell<State>>);

impl State {
    /// A moment: whatever the other processor does in it happens now.
    fn moment(&mut self) {
        if let Some(Some((slot, used))) = self.walker.uses.pop_front() {
            self.touch(slot, used);
        }
    }

    /// The other processor uses an entry.
    pub(crate) fn touch(&mut self, slot: PteSlot, used: Use) {
        let Some(entry) = self.entries.get_mut(&slot.address()) else { return };
        let flags = Pte::from_bits(*entry).flags();
        if flags.contains(PteFlags::PRESENT) {
            *entry |= PteFlags::ACCESSED.bits();
            if used == Use::Store && flags.contains(PteFlags::RW) {
                *entry |= PteFlags::DIRTY.bits();
            }
        }
    }

    fn apply(&mut self, operation: Operation) -> Result<(), Errno> {
        if self.refused == Some(operation) {
            return Err(Errno::INVAL);
        }
        if let Operation::Update { update, .. } = operation {
            if self.poison.contains(&update.value) || self.refused_slot.is_some_and(|slot| slot.same_entry(update.slot))
            {
                return Err(Errno::BUSY);
            }
            self.moment();
            self.store(update);
        }
        self.applied.push(operation);
        Ok(())
    }

    /// Stores an update as Xen would.
    pub(crate) fn store(&mut self, update: MmuUpdate) {
        let entry = self.entries.entry(update.slot.address()).or_default();
        let noted = match update.slot.command() {
            Some(UpdateCommand::PreserveAd) => *entry & PteFlags::ACCESSED_DIRTY.bits(),
            _ => 0,
        };
        let (old, new) = (Pte::from_bits(*entry), Pte::from_bits(update.value | noted));
        *entry = new.bits();
        let slot = PteSlot::from_bits(update.slot.address());
        let lost = old.flags().without(new.flags()) & PteFlags::ACCESSED_DIRTY;
        if old.is_present() && !new.is_present() {
            self.emptied.push((slot, old));
        }
        if old.is_present() && lost != PteFlags::NONE {
            self.overwritten.push((slot, lost));
        }
    }

    fn run(&mut self, operations: impl ExactSizeIterator<Item = Operation>) -> Outcome {
        let (mut done, count) = (0, operations.len() as u32);
        for operation in operations {
            match self.apply(operation) {
                Ok(()) => done += 1,
                Err(errno) => return Outcome::refused(if self.overstates { count } else { done }, errno),
            }
        }
        Outcome::all(done)
    }

    fn run_call(&mut self, call: &mut PreparedCall<'_>) -> Outcome {
        let operations: Vec<_> = (0..call.count()).map(|item| call.operation(item).expect("readable")).collect();
        let outcome = self.run(operations.into_iter());
        call.set_done(outcome.done);
        outcome
    }
}

impl Hypervisor for Model {
    fn mmu_update(&mut self, updates: &[MmuUpdate], subject: Subject) -> Outcome {
        let mut state = self.0.borrow_mut();
        state.hypercalls.push(updates.len());
        state.run(updates.iter().map(|update| Operation::Update { update: *update, subject }))
    }

    fn call(&mut self, call: &mut PreparedCall<'_>) -> Outcome {
        let mut state = self.0.borrow_mut();
        state.hypercalls.push(call.count() as usize);
        state.run_call(call)
    }

    fn multicall(&mut self, calls: &mut PreparedCalls<'_>) -> Result<(), Errno> {
        let mut state = self.0.borrow_mut();
        if state.no_multicall {
            return Err(Errno::INVAL);
        }
        state.hypercalls.push(calls.len());
        for index in 0..calls.len() {
            let mut call = calls.call(index).expect("within the multicall");
            let outcome = state.run_call(&mut call);
            calls.set_result(index, outcome.result.map_or_else(Errno::as_return, |()| 0));
        }
        Ok(())
    }
}

impl Memory for Model {
    fn read(&self, slot: PteSlot) -> Pte {
        let mut state = self.0.borrow_mut();
        state.moment();
        Pte::from_bits(state.entries.get(&slot.address()).copied().unwrap_or(0))
    }
}
