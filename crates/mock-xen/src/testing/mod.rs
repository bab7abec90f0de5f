//! A guest for a kernel author's own tests: from a region to a verdict in ten lines.
//!
//! A [`TestGuest`] is a machine that answers like Xen, with a table to write to and pages to map, and a
//! referee that watches both ends. The batcher under test is called in closures: a [`TestTask`] tells the
//! referee what is asked and when, the closure does it by whatever code, and the batcher issues its
//! hypercalls through [`TestGuest::hypervisor`]. Nothing else is asked of a batcher. One that takes a
//! context token gets it from `in_user_space`, as
//! [`TaskContext::in_user_space`](hypercall::TaskContext::in_user_space).
//!
//! ```
//! use hypercall::{Errno, Operation, VcpuId, issue_operation};
//! use mock_xen::{referee::{Profile, Rule}, testing::{TestGuest, update}};
//!
//! // The batcher under test: a queue that leave empties, one hypercall at a time.
//! fn leave(guest: &TestGuest, vcpu: VcpuId, queue: &mut Vec<Operation>) -> Result<(), Errno> {
//!     queue.drain(..).try_for_each(|operation| issue_operation(&mut guest.hypervisor(vcpu), &operation))
//! }
//!
//! let (guest, vcpu, mut queue) = (TestGuest::new(Profile::Strict), VcpuId::new(0), Vec::new());
//! let task = guest.task(1, vcpu);
//! task.enter(|| true);
//! for page in 0..3 {
//!     task.ask(update(guest.slot(page), guest.pte(page)), |operation| Ok(queue.push(*operation)));
//! }
//! task.leave(|| leave(&guest, vcpu, &mut queue));
//! guest.assert_clean();
//!
//! // One that returns from leave too early is told which operation of which task is missing where.
//! task.enter(|| true);
//! task.ask(update(guest.slot(3), guest.pte(3)), |operation| Ok(queue.push(*operation)));
//! task.leave(|| true);
//! guest.assert_violates(Rule::R2);
//! ```

mod answer;
mod moments;
mod task;

use std::sync::Arc;

use hypercall::{
    DomId, ENTRIES_PER_TABLE, Level, Mfn, MmuUpdate, MmuextOp, Operation, Pfn, Pte, PteFlags, PteSlot, Subject, VcpuId,
};

use crate::referee::{Asker, Profile, Referee, Rule, Settings, TaskId, Verdict, Violation};
use moments::{Moments, Teller};

use crate::{GuestBuilder, MockVcpu, MockXen};

pub use answer::{Answer, Failed};
pub use task::TestTask;

/// An update of the entry at `slot`, by the slot's command.
#[must_use]
pub const fn update(slot: PteSlot, pte: Pte) -> Operation {
    Operation::Update { update: MmuUpdate::new(slot, pte), subject: Subject::SELF }
}

/// An `mmuext_op` of the guest's own.
#[must_use]
pub const fn mmuext(op: MmuextOp) -> Operation {
    Operation::Mmuext { op, domain: DomId::SELF }
}

/// A guest of two vCPUs, watched by a referee.
///
/// ```
/// use hypercall::VcpuId;
/// use mock_xen::{referee::{Profile, Rule}, testing::TestGuest};
///
/// let guest = TestGuest::new(Profile::Strict);
/// let task = guest.task(1, VcpuId::new(0));
/// task.enter(|| true);
/// task.enter(|| true); // the batcher under test lets regions nest: it should have said no
/// guest.assert_violates(Rule::R4);
/// ```
#[derive(Debug)]
pub struct TestGuest {
    xen: MockXen,
    moments: Arc<Moments>,
    table: Mfn,
    empty_table: Mfn,
    pages: Vec<Mfn>,
}

impl TestGuest {
    /// Its vCPUs: 0 and 1.
    pub const VCPUS: u32 = 2;
    /// Its pages: 0 to 15.
    pub const PAGES: usize = 16;

    /// A guest whose regions follow `profile`.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self::with_settings(Settings::new(profile))
    }

    /// A guest whose referee has these settings; its two vCPUs are those that are online, unless the
    /// settings say otherwise.
    #[must_use]
    pub fn with_settings(settings: Settings) -> Self {
        let vcpus = (0..Self::VCPUS).map(VcpuId::new);
        let settings = settings.online_by_default(vcpus.clone().collect());
        let moments = Arc::new(Moments::new(Arc::new(Referee::with_settings(settings))));
        let mut builder = GuestBuilder::new(Self::VCPUS);
        builder.ram(Pfn::new(0), Mfn::new(0x100)).witness(moments.clone());
        let (table, empty_table) = (builder.new_frame(), builder.new_frame());
        let pages = (0..Self::PAGES).map(|_| builder.new_frame()).collect();
        builder.table(table, Level::L1).pin(table).table(empty_table, Level::L1);
        let xen = builder.build().expect("the layout is fixed and sound");
        for vcpu in vcpus {
            let processor = xen.processor(vcpu);
            moments.referee().loaded(vcpu, processor.base, processor.user_base);
        }
        Self { xen, moments, table, empty_table, pages }
    }

    /// The machine.
    #[must_use]
    pub const fn xen(&self) -> &MockXen {
        &self.xen
    }

    /// The referee, for what a [`TestTask`] does not tell.
    #[must_use]
    pub fn referee(&self) -> &Referee {
        self.moments.referee()
    }

    fn moments(&self) -> &Moments {
        &self.moments
    }

    /// The platform's `report` has told the guest, on `vcpu`, of an operation that is not effective (R14). What a call
    /// answers need not be told by this: a [`TestTask`] does.
    #[track_caller]
    pub fn reported(&self, vcpu: VcpuId, failed: Failed) {
        let Failed { operation, errno } = failed;
        let what =
            if errno.is_some() { "the guest is told of the refusal of" } else { "the guest is told: not attempted" };
        self.moments.tell(Teller::Machine(vcpu), what, Some(&operation), |referee| match errno {
            Some(errno) => referee.failed(vcpu, &operation, errno),
            None => referee.not_attempted(vcpu, &operation),
        });
    }

    /// The way to call the machine as `vcpu`.
    ///
    /// # Panics
    /// For another vCPU than 0 and 1.
    #[must_use]
    pub fn hypervisor(&self, vcpu: VcpuId) -> MockVcpu<'_> {
        self.xen.vcpu(vcpu)
    }

    /// Entry `index`, 0 to 511, of a pinned L1 table that is empty at first.
    ///
    /// # Panics
    /// For an index beyond the table.
    #[must_use]
    pub fn slot(&self, index: usize) -> PteSlot {
        assert!(index < ENTRIES_PER_TABLE, "a table has {ENTRIES_PER_TABLE} entries and no entry {index}");
        PteSlot::of(self.table, index)
    }

    /// That table.
    #[must_use]
    pub const fn table(&self) -> Mfn {
        self.table
    }

    /// An empty frame that can be pinned as a table: nothing maps it writable.
    #[must_use]
    pub const fn empty_table(&self) -> Mfn {
        self.empty_table
    }

    /// The frame of page `number`.
    ///
    /// # Panics
    /// For a page the guest does not have.
    #[must_use]
    pub fn page(&self, number: usize) -> Mfn {
        assert!(number < Self::PAGES, "the guest has {} pages and no page {number}", Self::PAGES);
        self.pages[number]
    }

    /// An entry that maps page `number` writable.
    ///
    /// # Panics
    /// For a page the guest does not have.
    #[must_use]
    pub fn pte(&self, number: usize) -> Pte {
        Pte::new(self.page(number), PteFlags::PRESENT | PteFlags::RW)
    }

    /// An entry that Xen refuses with `-EBUSY`: it maps a page table writable.
    #[must_use]
    pub fn refused_pte(&self) -> Pte {
        Pte::new(self.table, PteFlags::PRESENT | PteFlags::RW)
    }

    /// Task `number`, on `vcpu`.
    #[must_use]
    pub const fn task(&self, number: u64, vcpu: VcpuId) -> TestTask<'_> {
        TestTask::new(self, Asker::task(TaskId::new(number), vcpu))
    }

    /// What the referee found so far.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.referee().verdict()
    }

    /// The verdict, and where a rule was broken all that led there: each moment with its task, vCPU and line of the
    /// test, how operations are written, and what the test itself may have left out.
    #[must_use]
    pub fn explained(&self) -> String {
        let verdict = self.verdict();
        let mut text = format!("{verdict}{}{}", moments::slip(&verdict), self.moments.behind(&verdict));
        if !verdict.is_clean() {
            text += &self.legend();
        }
        text
    }

    /// How operations are written.
    fn legend(&self) -> String {
        let (table, page) = (self.table.number(), self.pages[0].number());
        format!(
            "\n  `slot {table:#x}[n] := value`: entry n of the test's table becomes value; page p is mfn {page:#x} + p, and the last \
             three digits of a value are flags: 003 is present and writable"
        )
    }

    /// Why the test may not end here, apart from broken rules.
    fn unfinished(verdict: &Verdict) -> Option<String> {
        let counted = |count: usize, one: &str, more: &str| match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            _ => Some(format!("{count} {more}")),
        };
        counted(verdict.pending, "operation is still pending", "operations are still pending")
            .map(|text| text + ", leave or flush before the verdict")
            .or_else(|| {
                counted(verdict.untold, "refusal has not been told", "refusals have not been told").map(|text| {
                    text + ": `leave` takes what the library answers, `TestGuest::reported` what it tells the platform"
                })
            })
            .or_else(|| {
                let text = counted(verdict.open, "task is in a region or pause", "tasks are in a region or pause");
                text.map(|text| text + ", end that first")
            })
    }

    /// Asserts that no rule was broken, that nothing is pending, no refusal untold and no region open, that every
    /// count of the machine is right, and that it modelled all it was asked for.
    ///
    /// # Panics
    /// If that is not so; the message is that of [`TestGuest::explained`].
    #[track_caller]
    pub fn assert_clean(&self) {
        let verdict = self.verdict();
        assert!(verdict.is_clean(), "{}", self.explained());
        if let Some(unfinished) = Self::unfinished(&verdict) {
            panic!("{unfinished}: {verdict}");
        }
        let missing = self.xen.not_modelled();
        assert!(missing.is_empty(), "the mock does not model what was asked of it: {missing:?}");
        if let Err(failure) = self.xen.audit() {
            panic!("the mock has miscounted: {failure}");
        }
    }

    /// Asserts that `rule` was broken, and answers with the first violation of it.
    ///
    /// # Panics
    /// If it was not; the message is that of [`TestGuest::explained`], with what was broken instead.
    #[track_caller]
    pub fn assert_violates(&self, rule: Rule) -> Violation {
        let verdict = self.verdict();
        match verdict.violations.iter().find(|violation| violation.rule == rule) {
            Some(violation) => *violation,
            None => panic!("{rule} ({}) was expected to be broken, and was not: {}", rule.title(), self.explained()),
        }
    }
}
