//! A guest on the mock hypervisor, watched by the referee: every wrapper here tells the referee what
//! is asked before the library is called, and what the library said after it returned.

use std::sync::Arc;

use hypercall::{
    DomId, Errno, InterruptContext, Level, Mfn, MmuUpdate, MmuextOp, Operation, Pfn, Pte, PteFlags, PteSlot, Subject,
    UpdateCommand, VcpuId, VirtAddr,
};
use mock_xen::{
    GuestBuilder, MockVcpu, MockXen, Witness,
    referee::{Asker, Profile, Referee, Rule, Settings, TaskId, Wish},
};
use parking_lot::Mutex;
use pv_mmu::{
    Context, Dynamic, Failure, Failures, LeaveError, Mmu, Operations, Outside, ReadModifyWrite, Region, Report,
    TaskState, VcpuQueue,
};

use crate::kernel::{Kernel, Memory};

/// One operation as it arrived.
pub(crate) type Arrival = (Operation, Option<Result<(), Errno>>);

/// What arrived, hypercall by hypercall; passes it on to the referee.
pub(crate) struct Log {
    referee: Referee,
    calls: Mutex<Vec<Vec<Arrival>>>,
}

impl Witness for Log {
    fn arrived(&self, vcpu: VcpuId, operation: &Operation, result: Option<Result<(), Errno>>) {
        self.referee.arrived(vcpu, operation, result);
        if let Some(call) = self.calls.lock().last_mut() {
            call.push((*operation, result));
        }
    }

    fn hypercall_begins(&self, vcpu: VcpuId) {
        self.referee.hypercall_begins(vcpu);
        self.calls.lock().push(Vec::new());
    }

    fn hypercall_ends(&self, vcpu: VcpuId) {
        self.referee.hypercall_ends(vcpu);
    }
}

/// The machine, two L1 tables in use, and pages to map.
pub(crate) struct World {
    pub(crate) xen: MockXen,
    log: Arc<Log>,
    pub(crate) tables: [Mfn; 2],
    pub(crate) pages: Vec<Mfn>,
}

pub(crate) type OnMock<'w, const STOP: bool = false> = Kernel<MockVcpu<'w>, &'w MockXen, 512, 32, 128, STOP>;

impl Memory for &MockXen {
    fn read(&self, slot: PteSlot) -> Pte {
        self.read_entry(slot).expect("the slot is in the guest's memory")
    }
}

const VCPUS: u32 = 2;
const PAGES: u64 = 600;

impl World {
    pub(crate) fn new(profile: Profile) -> Self {
        let settings = Settings::new(profile).masked_bound(VcpuQueue::<512, 32, 128>::MASKED_BOUND as u32);
        let log = Arc::new(Log { referee: Referee::with_settings(settings), calls: Mutex::default() });
        let mut builder = GuestBuilder::new(VCPUS);
        builder.witness(log.clone()).ram_range(Pfn::new(1), Mfn::new(0x1001), PAGES);
        let tables = [builder.new_frame(), builder.new_frame()];
        for table in tables {
            builder.table(table, Level::L1).pin(table);
        }
        let xen = builder.build().expect("a guest without contradictions");
        Self { xen, log, tables, pages: (0..PAGES).map(|n| Mfn::new(0x1001 + n)).collect() }
    }

    pub(crate) fn strict() -> Self {
        Self::new(Profile::Strict)
    }

    /// A kernel on this machine that passes on to the referee what it is told.
    pub(crate) fn kernel<const STOP: bool>(&self) -> OnMock<'_, STOP> {
        let vcpus = (0..VCPUS).map(|vcpu| self.xen.vcpu(VcpuId::new(vcpu)));
        Kernel::new(&self.xen, vcpus)
    }

    pub(crate) fn referee(&self) -> &Referee {
        &self.log.referee
    }

    /// Entry `index` of table `table`.
    pub(crate) fn slot(&self, table: usize, index: usize) -> PteSlot {
        PteSlot::of(self.tables[table], index)
    }

    /// A writable user mapping of page `n`.
    pub(crate) fn page(&self, n: usize) -> Pte {
        Pte::new(self.pages[n], RW)
    }

    /// What the hypervisor stores for [`World::page`].
    pub(crate) fn stored(&self, n: usize) -> Pte {
        Pte::new(self.pages[n], RW | PteFlags::GLOBAL)
    }

    pub(crate) fn memory(&self, slot: PteSlot) -> Pte {
        self.xen.read_entry(slot).expect("the slot is in the guest's memory")
    }

    /// Hypercalls so far that told of an operation, with what was in them; forgets them.
    pub(crate) fn take_calls(&self) -> Vec<Vec<Operation>> {
        let calls = std::mem::take(&mut *self.log.calls.lock());
        calls.into_iter().map(|call| call.into_iter().map(|(operation, _)| operation).collect()).collect()
    }

    /// Nothing is pending, no rule is broken, every reference is accounted for.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        let verdict = self.referee().verdict();
        assert!(verdict.is_clean() && verdict.pending == 0, "{verdict}");
        self.xen.audit().expect("the frame counts add up");
        assert!(self.xen.not_modelled().is_empty(), "{:?}", self.xen.not_modelled());
    }

    /// Exactly these rules have been broken.
    #[track_caller]
    pub(crate) fn assert_broken(&self, rules: &[Rule]) {
        let verdict = self.referee().verdict();
        let broken: Vec<_> = verdict.violations.iter().map(|violation| violation.rule).collect();
        assert_eq!(broken, rules, "{verdict}");
    }
}

pub(crate) const RW: PteFlags = PteFlags::PRESENT.union(PteFlags::RW).union(PteFlags::USER);

/// An L1 update as the library issues it.
pub(crate) fn update(slot: PteSlot, pte: Pte) -> Operation {
    Operation::Update { update: MmuUpdate::new(slot, pte), subject: Subject::SELF }
}

/// An L1 update that preserves accessed and dirty.
pub(crate) fn preserving(slot: PteSlot, pte: Pte) -> Operation {
    update(slot.with_command(UpdateCommand::PreserveAd), pte)
}

pub(crate) fn mmuext(op: MmuextOp) -> Operation {
    Operation::Mmuext { op, domain: DomId::SELF }
}

pub(crate) fn invlpg(page: u64) -> MmuextOp {
    MmuextOp::InvlpgLocal { address: VirtAddr::unchecked(page << 12) }
}

/// A task, and the eyes on it.
pub(crate) struct Watch<'w, const STOP: bool = false> {
    world: &'w World,
    kernel: &'w OnMock<'w, STOP>,
    id: TaskId,
}

impl<'w, const STOP: bool> Watch<'w, STOP> {
    pub(crate) const fn new(world: &'w World, kernel: &'w OnMock<'w, STOP>, id: u64) -> Self {
        Self { world, kernel, id: TaskId::new(id) }
    }

    pub(crate) fn asker(&self) -> Asker {
        Asker::task(self.id, VcpuId::new(self.kernel.current.get() as u32))
    }

    fn handler(&self) -> Asker {
        Asker::interrupt(self.id, VcpuId::new(self.kernel.current.get() as u32))
    }

    fn ask<R>(&self, asker: Asker, wish: impl Into<Wish>, call: impl FnOnce() -> R) -> R {
        let request = self.world.referee().ask(asker, wish);
        let answer = call();
        self.pass_reports();
        self.world.referee().answered(request);
        answer
    }

    /// Tells the referee what the platform has been told since.
    pub(crate) fn pass_reports(&self) {
        let reports = self.kernel.take_unpassed();
        for report in &reports {
            match report {
                Report::Failed(failure) => self.pass(failure),
                Report::LeakedRegion { .. } => self.world.referee().leak_reported(self.asker()),
                _ => {}
            }
        }
    }

    fn pass(&self, failure: &Failure) {
        match failure.errno() {
            Some(errno) => self.world.referee().failed(self.asker().vcpu, failure.operation(), errno),
            None => self.world.referee().not_attempted(self.asker().vcpu, failure.operation()),
        }
    }

    fn pass_all(&self, failures: &Failures) {
        failures.iter().for_each(|failure| self.pass(failure));
    }

    /// Enters a region by guard.
    pub(crate) fn enter<'r>(&'r self, task: &'r mut TaskState) -> WatchedRegion<'r, 'w, STOP> {
        let region = self.kernel.mmu().enter(task, self.kernel.task());
        self.pass_reports();
        self.world.referee().enter(self.asker(), true);
        WatchedRegion { watch: self, region }
    }

    /// Something outside any region, for which the TLB question does not arise.
    pub(crate) fn outside<R>(
        &self,
        task: &mut TaskState,
        wish: impl Into<Wish>,
        call: impl FnOnce(&mut Outside<'_, OnMock<'w, STOP>>) -> R,
    ) -> R {
        self.ask(self.asker(), wish, || call(&mut self.kernel.mmu().outside(task, self.kernel.task())))
    }

    /// An interrupt handler's operation.
    pub(crate) fn interrupt(&self, operation: &Operation) -> Result<(), Failure> {
        let wish = match operation {
            Operation::Update { update, .. } => Wish::new(*operation).at_level(level_of(self.world, update)),
            _ => Wish::new(*operation),
        };
        let context: &InterruptContext = self.kernel.interrupt();
        let answer = self.ask(self.handler(), wish, || {
            let answer = self.kernel.mmu().interrupt(context).operation(operation);
            answer.inspect_err(|failure| self.pass(failure))
        });
        self.world.referee().interrupt_end(self.asker().vcpu);
        answer
    }

    /// This task is switched out for `next` on its vCPU, `extra` joining the switch's batch.
    pub(crate) fn switch_to(&self, next: &Self, extra: &[Operation]) {
        let vcpu = self.asker().vcpu;
        let mut switch = self.kernel.mmu().switch(self.kernel.switch());
        for operation in extra {
            self.world.referee().ask(Asker::switch(self.id, vcpu), operation);
            switch.operation(operation);
        }
        switch.finish();
        self.pass_reports();
        self.world.referee().switch(vcpu, self.id, next.id);
    }

    /// The dynamic API, watched.
    pub(crate) fn dynamic<'r>(&'r self, task: &'r mut TaskState) -> WatchedDynamic<'r, 'w, STOP> {
        let dynamic = self.kernel.mmu().dynamic(task, Context::Task(self.kernel.task()));
        WatchedDynamic { watch: self, dynamic }
    }

    pub(crate) fn exit(&self, task: &mut TaskState) {
        self.kernel.mmu().exit_task(task, self.kernel.task());
        self.pass_reports();
        self.world.referee().task_exit(self.id);
    }

    pub(crate) fn mmu(&self) -> Mmu<'_, OnMock<'w, STOP>> {
        self.kernel.mmu()
    }
}

/// Frames that are tables of a higher level hold no L1 entries.
fn level_of(world: &World, update: &MmuUpdate) -> Level {
    if world.tables.contains(&update.slot.table()) { Level::L1 } else { Level::L2 }
}

/// A region, and the eyes on it.
pub(crate) struct WatchedRegion<'r, 'w, const STOP: bool> {
    watch: &'r Watch<'w, STOP>,
    pub(crate) region: Region<'r, OnMock<'w, STOP>>,
}

impl<'w, const STOP: bool> WatchedRegion<'_, 'w, STOP> {
    pub(crate) fn set(&mut self, slot: PteSlot, pte: Pte) {
        self.watch.ask(self.watch.asker(), update(slot, pte), || self.region.set_pte(slot, pte));
    }

    pub(crate) fn commit(&mut self, slot: PteSlot, pte: Pte) {
        self.watch.ask(self.watch.asker(), preserving(slot, pte), || self.region.commit_pte(slot, pte));
    }

    pub(crate) fn upper(&mut self, level: Level, slot: PteSlot, pte: Pte) {
        let wish = Wish::new(update(slot, pte)).at_level(level);
        self.watch.ask(self.watch.asker(), wish, || self.region.set_upper(slot, pte));
    }

    pub(crate) fn ask(&mut self, operation: &Operation) {
        self.watch.ask(self.watch.asker(), operation, || self.region.operation(operation));
    }

    pub(crate) fn mmuext(&mut self, op: MmuextOp) {
        self.watch.ask(self.watch.asker(), mmuext(op), || self.region.mmuext(op));
    }

    pub(crate) fn set_range(&mut self, slot: PteSlot, count: usize, pte_of: impl Fn(usize) -> Pte) {
        let referee = self.watch.world.referee();
        let entry = |n| slot.offset(n).expect("within the table");
        let requests: Vec<_> =
            (0..count).map(|n| referee.ask(self.watch.asker(), update(entry(n), pte_of(n)))).collect();
        self.region.set_ptes(slot, count, pte_of).expect("within the table");
        self.watch.pass_reports();
        requests.into_iter().for_each(|request| referee.answered(request));
    }

    pub(crate) fn read(&self, slot: PteSlot) -> Pte {
        let memory = self.watch.world.memory(slot);
        let value = self.region.read_pte(slot);
        self.watch.world.referee().read(self.watch.asker(), slot, value, memory);
        value
    }

    /// Takes the right to store from a writable entry, and answers with what it is to be.
    pub(crate) fn wrprotect(&mut self, slot: PteSlot) -> Pte {
        let old = self.region.read_pte(slot);
        let new = old.with_flags(old.flags().without(PteFlags::RW));
        self.watch.ask(self.watch.asker(), preserving(slot, new), || self.region.wrprotect(slot));
        new
    }

    /// Empties an entry that is present or empty, and answers with what it held.
    pub(crate) fn get_and_clear(&mut self, slot: PteSlot) -> Pte {
        let held = if self.region.read_pte(slot).is_present() {
            self.watch.ask(self.watch.asker(), preserving(slot, Pte::EMPTY), || self.region.get_and_clear(slot))
        } else {
            self.region.get_and_clear(slot)
        };
        held.expect("nothing is refused").pte()
    }

    pub(crate) fn flush(&mut self) {
        self.watch.world.referee().flush(self.watch.asker());
        self.region.flush();
        self.watch.pass_reports();
        self.watch.world.referee().flushed(self.watch.asker());
    }

    pub(crate) fn leave(self) -> Result<(), Failures> {
        let asker = self.watch.asker();
        self.watch.world.referee().leave(asker);
        let left = self.region.leave();
        self.watch.pass_reports();
        let left = left.inspect_err(|failures| self.watch.pass_all(failures));
        self.watch.world.referee().left(asker, true);
        left
    }

    /// Ends by drop.
    pub(crate) fn drop_it(self) {
        let asker = self.watch.asker();
        self.watch.world.referee().leave(asker);
        drop(self.region);
        self.watch.pass_reports();
        self.watch.world.referee().left(asker, true);
    }

    /// Runs `immediate` with the region paused.
    pub(crate) fn paused(&mut self, operations: &[Operation]) {
        let (watch, referee) = (self.watch, self.watch.world.referee());
        let mut paused = self.region.pause();
        referee.paused(watch.asker(), true);
        for operation in operations {
            watch.ask(watch.asker(), operation, || paused.operation(operation)).expect("nothing is refused");
        }
        drop(paused);
        referee.resume(watch.asker(), true);
    }
}

/// The dynamic API, and the eyes on it.
pub(crate) struct WatchedDynamic<'r, 'w, const STOP: bool> {
    watch: &'r Watch<'w, STOP>,
    pub(crate) dynamic: Dynamic<'r, OnMock<'w, STOP>>,
}

impl<const STOP: bool> WatchedDynamic<'_, '_, STOP> {
    pub(crate) fn enter(&mut self) -> Result<(), pv_mmu::EnterError> {
        let entered = self.dynamic.enter();
        if entered.is_ok() {
            self.watch.world.referee().enter(self.watch.asker(), true);
        }
        entered
    }

    pub(crate) fn leave(&mut self) -> Result<(), LeaveError> {
        self.watch.world.referee().leave(self.watch.asker());
        let left = self.dynamic.leave();
        self.watch.pass_reports();
        if let Err(LeaveError::Failed(failures)) = &left {
            self.watch.pass_all(failures);
        }
        if !matches!(left, Err(LeaveError::NotEntered | LeaveError::Interrupt)) {
            self.watch.world.referee().left(self.watch.asker(), true);
        }
        left
    }

    pub(crate) fn pause(&mut self) -> Result<(), pv_mmu::PauseError> {
        let paused = self.dynamic.pause();
        self.watch.pass_reports();
        self.watch.world.referee().paused(self.watch.asker(), paused.is_ok());
        paused
    }

    pub(crate) fn resume(&mut self) -> Result<(), pv_mmu::ResumeError> {
        let resumed = self.dynamic.resume();
        if resumed != Err(pv_mmu::ResumeError::NotPaused) {
            self.watch.world.referee().resume(self.watch.asker(), true);
        }
        resumed
    }

    pub(crate) fn set(&mut self, slot: PteSlot, pte: Pte) {
        let set = self.watch.ask(self.watch.asker(), update(slot, pte), || self.dynamic.set_pte(slot, pte));
        set.expect("nothing is refused");
    }
    pub(crate) fn mmuext(&mut self, op: MmuextOp) {
        let issued = self.watch.ask(self.watch.asker(), mmuext(op), || self.dynamic.mmuext(op));
        issued.expect("nothing is refused");
    }

    pub(crate) fn read(&self, slot: PteSlot) {
        let memory = self.watch.world.memory(slot);
        let value = self.dynamic.read_pte(slot);
        self.watch.world.referee().read(self.watch.asker(), slot, value, memory);
    }
}
