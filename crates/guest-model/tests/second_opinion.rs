//! A second opinion: three scenarios written as threads for `shuttle`, whose scheduler knows nothing of
//! this crate's. Both find the same faults, and both find nothing in the library.
//!
//! A task is a thread that has to hold its vCPU to run. A timer thread asks for a preemption, another for
//! an interrupt, at any moment; the task does as asked before its next step, by the kernel's own hooks.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Instant;

use guest_model::{Bounds, Handler, Policy, Profile, Program, Scenario, Step};
use hypercall::{InterruptContext, Mfn, Operation, Pte, PteSlot, SwitchContext, TaskContext, VcpuId, VcpuMask};
use mock_xen::{
    MockVcpu,
    referee::{self, Asker, RequestId, Rule, TaskId},
    testing::{TestGuest, update},
};
use pv_mmu::{Context, Fault, Mmu, Operations, Platform, Report, TaskState, VcpuQueue};
use shuttle::sync::{Mutex, MutexGuard, atomic::AtomicBool, atomic::Ordering};

type Queue = VcpuQueue<2, 3, 32>;

const VCPU: VcpuId = VcpuId::new(0);
/// Ways gone for each scenario.
const WAYS: usize = 3000;
/// Places on a way at which priorities change (PCT).
const DEPTH: usize = 4;

struct Kernel {
    guest: TestGuest,
    queue: Mutex<Queue>,
    /// The vCPU: whoever holds it runs. It knows who ran last.
    vcpu: Mutex<Option<u64>>,
    preempt: AtomicBool,
    interrupt: AtomicBool,
    fault: Option<Fault>,
}

impl Kernel {
    fn new(profile: referee::Profile, fault: Option<Fault>) -> Self {
        let mut queue = Queue::new();
        fault.into_iter().for_each(|fault| queue.plant(fault));
        Self {
            guest: TestGuest::new(profile),
            queue: Mutex::new(queue),
            vcpu: Mutex::new(None),
            preempt: AtomicBool::new(false),
            interrupt: AtomicBool::new(false),
            fault,
        }
    }
}

/// A task while it runs.
struct Task<'k> {
    kernel: &'k Kernel,
    number: u64,
    held: RefCell<Option<MutexGuard<'k, Option<u64>>>>,
    is_open: Cell<bool>,
    wish: Cell<Option<Operation>>,
    request: Cell<Option<RequestId>>,
}

impl<'k> Task<'k> {
    fn new(kernel: &'k Kernel, number: u64) -> Self {
        let (held, is_open) = (RefCell::new(None), Cell::new(true));
        Self { kernel, number, held, is_open, wish: Cell::new(None), request: Cell::new(None) }
    }

    const fn asker(&self) -> Asker {
        Asker::task(TaskId::new(self.number), VCPU)
    }

    fn take(&self) {
        let mut vcpu = self.kernel.vcpu.lock().expect("nobody panics");
        if let Some(prev) = vcpu.replace(self.number) {
            self.kernel.guest.referee().switch(VCPU, TaskId::new(prev), TaskId::new(self.number));
        }
        self.held.replace(Some(vcpu));
    }

    /// The switch hook, then the vCPU is anybody's.
    fn give(&self) {
        self.closed(|| Mmu::new(self).switch(&SwitchContext::in_user_space()).finish());
        self.held.take();
    }

    fn closed(&self, hook: impl FnOnce()) {
        let (wish, request) = (self.wish.take(), self.request.take());
        self.is_open.set(false);
        hook();
        self.is_open.set(true);
        self.wish.set(wish);
        self.request.set(request);
    }

    fn handle(&self) {
        let (slot, pte) = (self.kernel.guest.slot(0), self.kernel.guest.pte(15));
        self.closed(|| {
            let asker = Asker::interrupt(TaskId::new(self.number), VCPU);
            let request = self.kernel.guest.referee().ask(asker, update(slot, pte));
            let set = Mmu::new(self).interrupt(&InterruptContext::in_user_space()).set_pte(slot, pte);
            assert!(set.is_ok(), "nothing is refused");
            self.kernel.guest.referee().answered(request);
            self.kernel.guest.referee().interrupt_end(VCPU);
        });
    }

    fn point(&self) {
        if !self.is_open.get() {
            return;
        }
        if self.kernel.interrupt.swap(false, Ordering::SeqCst) {
            self.handle();
        }
        if self.kernel.preempt.swap(false, Ordering::SeqCst) {
            self.give();
            self.take();
        }
    }

    fn run(&self, profile: pv_mmu::Profile, steps: &[Step]) {
        self.take();
        let (context, mut state) = (TaskContext::in_user_space(), TaskState::with_profile(profile));
        for (number, step) in steps.iter().enumerate() {
            let mut mmu = Mmu::new(self).dynamic(&mut state, Context::Task(&context));
            let referee = self.kernel.guest.referee();
            match step {
                Step::Enter => {
                    let entered = mmu.enter().is_ok();
                    self.point();
                    referee.enter(self.asker(), entered);
                }
                Step::Leave => {
                    referee.leave(self.asker());
                    let left = mmu.leave().is_ok();
                    self.point();
                    referee.left(self.asker(), left);
                }
                Step::Set(entry) => {
                    let slot = self.kernel.guest.slot(usize::from(*entry));
                    let pte = self.kernel.guest.pte(self.number as usize * 6 + number);
                    self.wish.set(Some(update(slot, pte)));
                    assert!(mmu.set_pte(slot, pte).is_ok(), "nothing is refused");
                    self.point();
                    self.request.take().into_iter().for_each(|request| referee.answered(request));
                }
                other => panic!("{other:?} is not part of these scenarios"),
            }
        }
        self.give();
        self.kernel.guest.referee().task_exit(TaskId::new(self.number));
    }
}

impl<'k> Platform for Task<'k> {
    type Hypervisor = MockVcpu<'k>;
    type Queue = Queue;

    fn with_vcpu<R>(&self, step: impl FnOnce(&mut Queue, &mut MockVcpu<'k>) -> R) -> R {
        self.point();
        let mut queue = self.kernel.queue.lock().expect("nobody panics");
        if let Some(wish) = self.wish.take() {
            self.request.set(Some(self.kernel.guest.referee().ask(self.asker(), wish)));
        }
        step(&mut queue, &mut self.kernel.guest.hypervisor(VCPU))
    }

    fn read_pte(&self, slot: PteSlot) -> Pte {
        self.kernel.guest.xen().read_entry(slot).expect("an entry of the guest")
    }

    fn online(&self) -> VcpuMask {
        VcpuMask::EMPTY.with(VCPU)
    }

    fn flush_others(&self, _table: Mfn) {}

    fn report(&self, report: &Report) {
        panic!("nothing is refused and nothing leaked: {report}");
    }

    fn planted(&self) -> Option<Fault> {
        self.kernel.fault
    }
}

/// One of the three.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    profile: Profile,
    programs: [&'static [Step]; 2],
    is_interrupted: bool,
    fault: Fault,
    rule: Rule,
    /// The rule by which this explorer finds it.
    ours: Rule,
}

const REGION: &[Step] = &[Step::Enter, Step::Set(0), Step::Set(1), Step::Leave];
const NESTED: &[Step] = &[Step::Enter, Step::Enter, Step::Set(0), Step::Leave, Step::Set(1), Step::Leave];
const OTHER: &[Step] = &[Step::Enter, Step::Set(2), Step::Leave];

const CASES: [Case; 3] = [
    Case {
        name: "S17",
        profile: Profile::Strict,
        programs: [REGION, &[Step::Set(2)]],
        is_interrupted: false,
        fault: Fault::SwitchKeeps,
        rule: Rule::R7,
        ours: Rule::R7,
    },
    Case {
        name: "S19",
        profile: Profile::Nested,
        programs: [NESTED, OTHER],
        is_interrupted: false,
        fault: Fault::DividedStep,
        rule: Rule::R13,
        // Before it shows, our model sees a step end with what it handed over queued.
        ours: Rule::R9,
    },
    Case {
        name: "S29",
        profile: Profile::Strict,
        programs: [REGION, &[]],
        is_interrupted: true,
        fault: Fault::HandlerWaits,
        rule: Rule::R6,
        ours: Rule::R6,
    },
];

impl Case {
    fn profiles(self) -> (referee::Profile, pv_mmu::Profile) {
        match self.profile {
            Profile::Strict => (referee::Profile::Strict, pv_mmu::Profile::Strict),
            Profile::Nested => (referee::Profile::Nested, pv_mmu::Profile::Nested),
        }
    }

    /// One way by shuttle: the rules found broken at its end.
    fn go(self, fault: Option<Fault>) -> Vec<Rule> {
        let (judged, profile) = self.profiles();
        let kernel = Arc::new(Kernel::new(judged, fault));
        let tasks = (0..2).map(|number| {
            let kernel = kernel.clone();
            shuttle::thread::spawn(move || Task::new(&kernel, number as u64).run(profile, self.programs[number]))
        });
        let timer = |flag: fn(&Kernel) -> &AtomicBool, is_on: bool| {
            let kernel = kernel.clone();
            shuttle::thread::spawn(move || flag(&kernel).store(is_on, Ordering::SeqCst))
        };
        let timers = [timer(|kernel| &kernel.preempt, true), timer(|kernel| &kernel.interrupt, self.is_interrupted)];
        tasks.chain(timers).collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().expect("nobody panics"));
        let verdict = kernel.guest.verdict();
        verdict.violations.iter().map(|violation| violation.rule).collect()
    }

    /// Every rule that shuttle finds broken first on a way.
    fn by_shuttle(self, fault: Option<Fault>) -> Vec<Rule> {
        let found = Arc::new(std::sync::Mutex::new(Vec::new()));
        let sink = found.clone();
        let way = move || {
            let broken = self.go(fault);
            sink.lock().expect("nobody panics").extend(broken.first());
        };
        shuttle::check_pct(way, WAYS, DEPTH);
        let mut found = std::mem::take(&mut *found.lock().expect("nobody panics"));
        found.sort_unstable();
        found.dedup();
        found
    }

    fn by_us(self, fault: Option<Fault>) -> (Option<Rule>, u64, u64) {
        let programs = self.programs.map(|steps| Program::Fixed(steps.to_vec())).to_vec();
        let handlers = if self.is_interrupted { vec![Handler::Set(0)] } else { Vec::new() };
        let scenario = Scenario::new(self.name, "by both", self.profile, programs);
        let scenario = Arc::new(Scenario { handlers, planted: fault, bounds: Bounds::default(), ..scenario });
        let outcome = Policy::PvMmu.explore(&scenario, |_| true);
        (outcome.fault.and_then(|fault| fault.found.rule()), outcome.seen.states, outcome.seen.schedules)
    }
}

#[test]
fn shuttle_agrees_on_three_scenarios() {
    for case in CASES {
        let begun = Instant::now();
        let theirs = case.by_shuttle(None);
        let (their_time, begun) = (begun.elapsed().as_secs_f64(), Instant::now());
        let (ours, states, schedules) = case.by_us(None);
        let our_time = begun.elapsed().as_secs_f64();
        assert_eq!((theirs, ours), (Vec::new(), None), "{}", case.name);
        println!(
            "{}: shuttle {:.0} schedules a second, by priorities; ours {:.0} schedules, {:.0} states a second, all of them",
            case.name,
            WAYS as f64 / their_time,
            schedules as f64 / our_time,
            states as f64 / our_time,
        );
    }
}

#[test]
fn shuttle_finds_what_is_planted_too() {
    for case in CASES {
        let (ours, ..) = case.by_us(Some(case.fault));
        let theirs = case.by_shuttle(Some(case.fault));
        assert_eq!(ours, Some(case.ours), "{}", case.name);
        assert!(theirs.contains(&case.rule), "{}: {theirs:?}", case.name);
    }
}
