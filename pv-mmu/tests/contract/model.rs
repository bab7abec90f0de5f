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
    /// Whether multicalls are refused.
    pub(crate) no_multicall: bool,
}

/// One vCPU's way to the state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model(pub(crate) Rc<RefCell<State>>);

impl State {
    fn apply(&mut self, operation: Operation) -> Result<(), Errno> {
        if let Operation::Update { update, .. } = operation {
            if self.poison.contains(&update.value) {
                return Err(Errno::BUSY);
            }
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
        *entry = update.value | noted;
    }

    fn run(&mut self, operations: impl Iterator<Item = Operation>) -> Outcome {
        let mut done = 0;
        for operation in operations {
            match self.apply(operation) {
                Ok(()) => done += 1,
                Err(errno) => return Outcome::refused(done, errno),
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
        Pte::from_bits(self.0.borrow().entries.get(&slot.address()).copied().unwrap_or(0))
    }

    fn exchange(&self, slot: PteSlot, pte: Pte) -> Pte {
        let old = self.read(slot);
        self.0.borrow_mut().entries.insert(slot.address(), pte.bits());
        old
    }
}
