//! What an interleaving runs in: vCPUs, tasks, memory, and the mock of the architecture.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use guest_model::Scenario;
use mock_xen::referee::Rule;
use pv_mmu::arch::{Deferral, Preemption};

use crate::{cpu::Cpu, design::Design};

/// Entries of the page table.
pub(crate) const ENTRIES: usize = 8;
/// One whose invalidation the hardware refuses, where it can.
pub(crate) const REFUSED: usize = 7;

/// An architecture, as the model needs it.
pub(crate) trait Arch: Sized + 'static {
    /// Its mock.
    type Mock;
    /// What follows a write.
    type Work: Copy;
    /// Why it was not done.
    type Refusal;
    /// What waits.
    type Deferral: for<'a> Deferral<Cpu<'a, Self>, Work = Self::Work, Refusal = Self::Refusal> + Default + Hash;
    /// Whose what waits is.
    const PREEMPTION: Preemption;
    /// Whether the hardware can refuse.
    const REFUSES: bool;
    /// What entries hold at first; 0 is nothing.
    const FIRST: u64;

    /// The machine.
    fn mock(vcpus: usize) -> Self::Mock;

    /// The value of a write that is the `number`th.
    fn value(number: u64) -> u64;

    /// Memory holds `new` where it held `old`.
    fn store(mock: &mut Self::Mock, vcpu: usize, entry: usize, new: u64);

    /// What follows that.
    fn work(entry: usize, old: u64, new: u64) -> Option<Self::Work>;

    /// Whether anything but `value` may be used for the entry.
    fn is_stale(mock: &Self::Mock, vcpu: usize, entry: usize, value: u64) -> bool;

    /// Whether the next that waits has what waits done first.
    fn is_full(waiting: &Self::Deferral) -> bool;

    /// What the kernel's switch does by itself.
    fn switched(_mock: &mut Self::Mock, _vcpu: usize) {}
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which; `None` where nobody could go on.
    pub rule: Option<Rule>,
    /// How.
    pub what: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            Some(rule) => write!(f, "{rule} ({}): {}", rule.title(), self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// A vCPU.
pub(crate) struct Vcpu<A: Arch> {
    /// What waits, where that is the vCPU's.
    pub(crate) waiting: RefCell<A::Deferral>,
    /// The mode of designs that keep one there.
    pub(crate) active: Cell<bool>,
    pub(crate) current: Cell<Option<usize>>,
}

/// A task, as others see it.
pub(crate) struct Task<A: Arch> {
    /// What waits, where that is the task's.
    pub(crate) waiting: RefCell<A::Deferral>,
    /// The mode of designs that keep one there.
    pub(crate) flag: Cell<bool>,
    pub(crate) vcpu: Cell<usize>,
    pub(crate) preempt_off: Cell<u32>,
    /// A handler runs on it.
    pub(crate) in_handler: Cell<bool>,
    /// Calls of the hardware by the task itself.
    pub(crate) calls: Cell<u64>,
    pub(crate) told: Cell<u32>,
    pub(crate) slept: Cell<u32>,
    /// What it has written and not yet been promised.
    pub(crate) owed: RefCell<BTreeSet<usize>>,
    pub(crate) is_done: Cell<bool>,
    pub(crate) waits_for: Cell<Option<usize>>,
}

/// All of it.
pub(crate) struct World<A: Arch> {
    pub(crate) design: Design,
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) mock: RefCell<A::Mock>,
    pub(crate) memory: [Cell<u64>; ENTRIES],
    /// Who wrote last: a task's number, or beyond the tasks for a handler.
    pub(crate) writer: [Cell<usize>; ENTRIES],
    pub(crate) writes: Cell<u64>,
    pub(crate) vcpus: Vec<Vcpu<A>>,
    pub(crate) tasks: Vec<Task<A>>,
    /// Who holds a lock.
    pub(crate) locks: [Cell<Option<usize>>; 4],
    pub(crate) found: RefCell<Option<Found>>,
    pub(crate) log: RefCell<Vec<String>>,
    pub(crate) is_logged: bool,
    pub(crate) is_ending: Cell<bool>,
    /// There are no points now.
    pub(crate) is_undisturbed: Cell<bool>,
}

impl<A: Arch> World<A> {
    pub(crate) fn new(design: Design, scenario: &Arc<Scenario>, is_logged: bool) -> Self {
        let vcpu = |_| Vcpu { waiting: RefCell::default(), active: Cell::new(false), current: Cell::new(None) };
        let task = |_| Task {
            waiting: RefCell::default(),
            flag: Cell::new(false),
            vcpu: Cell::new(0),
            preempt_off: Cell::new(0),
            in_handler: Cell::new(false),
            calls: Cell::new(0),
            told: Cell::new(0),
            slept: Cell::new(0),
            owed: RefCell::default(),
            is_done: Cell::new(false),
            waits_for: Cell::new(None),
        };
        let mut mock = A::mock(scenario.vcpus);
        if A::FIRST != 0 {
            (0..ENTRIES).for_each(|entry| A::store(&mut mock, 0, entry, A::FIRST));
        }
        Self {
            design,
            scenario: Arc::clone(scenario),
            mock: RefCell::new(mock),
            memory: [const { Cell::new(0) }; ENTRIES].map(|_| Cell::new(A::FIRST)),
            writer: [const { Cell::new(usize::MAX) }; ENTRIES],
            writes: Cell::new(A::FIRST),
            vcpus: (0..scenario.vcpus).map(vcpu).collect(),
            tasks: (0..scenario.tasks()).map(task).collect(),
            locks: [const { Cell::new(None) }; 4],
            found: RefCell::new(None),
            log: RefCell::default(),
            is_logged,
            is_ending: Cell::new(false),
            is_undisturbed: Cell::new(false),
        }
    }

    /// The first that is found counts.
    pub(crate) fn note(&self, rule: impl Into<Option<Rule>>, what: String) {
        if !self.is_ending.get() {
            self.found.borrow_mut().get_or_insert(Found { rule: rule.into(), what });
        }
    }

    pub(crate) fn log(&self, vcpu: usize, line: impl FnOnce() -> String) {
        if self.is_logged {
            self.log.borrow_mut().push(format!("vcpu {vcpu}  {}", line()));
        }
    }

    /// What waits on a vCPU and for the task there, as one number. What is in use by the one who asks counts as nothing.
    pub(crate) fn waiting(&self, vcpu: usize, task: usize) -> u64 {
        let mut hasher = DefaultHasher::new();
        let cells = [&self.vcpus[vcpu].waiting, &self.tasks[task].waiting];
        cells.iter().for_each(|cell| cell.try_borrow().ok().as_deref().hash(&mut hasher));
        hasher.finish()
    }

    /// What a vCPU must not have when it switches.
    pub(crate) fn leave_vcpu(&self, vcpu: usize) {
        let state = &self.vcpus[vcpu];
        if let Some(task) = state.current.take()
            && A::PREEMPTION == Preemption::Disabled
            && self.owes(vcpu)
        {
            self.note(
                Rule::R7,
                format!("task {task} is switched away from, and what it has deferred stays on vCPU {vcpu}"),
            );
        }
        A::switched(&mut self.mock.borrow_mut(), vcpu);
    }

    fn owes(&self, vcpu: usize) -> bool {
        self.vcpus[vcpu].waiting.try_borrow().is_ok_and(|waiting| !is_empty::<A>(&waiting))
    }
}

fn is_empty<A: Arch>(waiting: &A::Deferral) -> bool {
    <A::Deferral as Deferral<Cpu<'_, A>>>::is_empty(waiting)
}
