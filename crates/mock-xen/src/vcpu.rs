//! Virtual processors: what each has loaded, and the typed way to call from one.

use std::fmt;

use hypercall::{
    Errno, Hypervisor, Mfn, MmuUpdate, Outcome, PreparedCall, PreparedCalls, RawCall, Subject, VcpuId, VirtAddr, abi,
};

use parking_lot::Mutex;

use crate::MockXen;
use crate::memory::{ArgumentSource, SliceMemory};
use crate::mock::Left;
use crate::running::Running;
use crate::schedule::PreemptPoint;

/// What a vCPU has loaded, by the guest's own hypercalls or from the start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct VcpuState {
    /// Whether it has ever been given something to run.
    pub initialised: bool,
    /// Whether it runs.
    pub up: bool,
    /// The kernel base pointer: the L4 table it runs on; frame 0 before it is initialised.
    pub base: Mfn,
    /// The user-mode base pointer.
    pub user_base: Option<Mfn>,
    /// Frames and number of entries of the global descriptor table.
    pub gdt: (Vec<Mfn>, u32),
    /// Address and number of entries of the local descriptor table.
    pub ldt: Option<(VirtAddr, u64)>,
    /// Selector and pointer of the stack Xen enters the kernel on, as last asked for.
    pub kernel_stack: (u64, VirtAddr),
    /// Whether the next FPU instruction traps.
    pub task_switched: bool,
    /// By [`hypercall::SegmentBase`].
    pub segment_bases: [u64; 4],
}

impl VcpuState {
    /// Nothing loaded yet.
    pub(crate) const OFF: Self = Self {
        initialised: false,
        up: false,
        base: Mfn::new(0),
        user_base: None,
        gdt: (Vec::new(), 0),
        ldt: None,
        kernel_stack: (0, VirtAddr::unchecked(0)),
        task_switched: false,
        segment_bases: [0; 4],
    };

    /// Running on a base pointer.
    pub(crate) fn running_on(base: Mfn) -> Self {
        Self { initialised: true, up: true, base, ..Self::OFF }
    }
}

/// One vCPU.
#[derive(Debug)]
pub(crate) struct Vcpu {
    pub(crate) state: Mutex<VcpuState>,
    /// Held for as long as it is in a hypercall.
    pub(crate) running: Mutex<Running>,
}

impl Vcpu {
    pub(crate) fn new(state: VcpuState) -> Self {
        Self { state: Mutex::new(state), running: Mutex::default() }
    }
}

/// One vCPU's way to the mock: a [`Hypervisor`] whose calls bring their arguments along instead of
/// pointing into guest memory.
///
/// A vCPU makes one call at a time: threads that play different vCPUs may call at once, two that
/// play the same one are a guest that cannot be.
///
/// A prepared call is left as it was prepared: what a continuation does to the argument words is
/// seen on the raw path only.
///
/// ```
/// use hypercall::{DomId, Errno, Level, MmuextOp, Operation, VcpuId, issue_operation};
/// use mock_xen::{referee::Profile, testing::TestGuest};
///
/// let guest = TestGuest::new(Profile::Strict);
/// let mut vcpu = guest.hypervisor(VcpuId::new(0));
/// let pin = |table| Operation::Mmuext { op: MmuextOp::Pin { level: Level::L1, table }, domain: DomId::SELF };
/// assert_eq!(issue_operation(&mut vcpu, &pin(guest.empty_table())), Ok(()));
/// assert_eq!(issue_operation(&mut vcpu, &pin(guest.page(0))), Err(Errno::INVAL), "mapped writable, so no table");
/// ```
pub struct MockVcpu<'a> {
    xen: &'a MockXen,
    vcpu: VcpuId,
    gap: Option<&'a dyn Fn(PreemptPoint)>,
}

impl fmt::Debug for MockVcpu<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockVcpu").field("vcpu", &self.vcpu).finish_non_exhaustive()
    }
}

impl<'a> MockVcpu<'a> {
    pub(crate) const fn new(xen: &'a MockXen, vcpu: VcpuId) -> Self {
        Self { xen, vcpu, gap: None }
    }

    /// The same, with `gap` called wherever Xen could leave a hypercall and run something else before it
    /// goes on: between two operations of an array, by its [`PreemptPoint::Operation`], and between two
    /// calls of a multicall. Other vCPUs may make hypercalls from within `gap`; this one may not.
    ///
    /// The vCPU's [`Schedule`](crate::Schedule) says where between two operations that is, and never
    /// otherwise: give it [`Step`](crate::Step) for everywhere.
    #[must_use]
    pub fn pausing(self, gap: &'a dyn Fn(PreemptPoint)) -> Self {
        Self { gap: Some(gap), ..self }
    }

    /// Which vCPU this is.
    #[must_use]
    pub const fn id(&self) -> VcpuId {
        self.vcpu
    }

    fn prepared(&self, running: &mut Running, call: &mut PreparedCall<'_>) -> i64 {
        let mut raw = *call.raw();
        self.run(running, &mut raw, &mut call.memory())
    }

    fn run<S: ArgumentSource>(&self, running: &mut Running, call: &mut RawCall, source: &mut S) -> i64 {
        loop {
            if let Left::Answered(value) = self.xen.run_once(self.vcpu, running, call, source) {
                return value;
            }
            self.pause(PreemptPoint::Operation);
        }
    }

    fn pause(&self, point: PreemptPoint) {
        if let Some(gap) = self.gap {
            gap(point);
        }
    }
}

impl Hypervisor for MockVcpu<'_> {
    fn mmu_update(&mut self, updates: &[MmuUpdate], subject: Subject) -> Outcome {
        let mut memory = SliceMemory { updates, done: 0 };
        let count = updates.len() as u64;
        let args = [SliceMemory::UPDATES, count, SliceMemory::DONE, subject.bits().into(), 0];
        let mut call = RawCall { number: abi::HYPERCALL_MMU_UPDATE, args };
        let run = |running: &mut Running| self.run(running, &mut call, &mut memory);
        let value = self.xen.within_hypercall(self.vcpu, run);
        Outcome { done: memory.done, result: Errno::from_return(value).map(drop) }
    }

    fn call(&mut self, call: &mut PreparedCall<'_>) -> Outcome {
        let value = self.xen.within_hypercall(self.vcpu, |running| self.prepared(running, call));
        call.outcome(value)
    }

    fn multicall(&mut self, calls: &mut PreparedCalls<'_>) -> Result<(), Errno> {
        self.xen.within_hypercall(self.vcpu, |running| {
            for index in 0..calls.len() {
                if index > 0 {
                    self.pause(PreemptPoint::Call);
                }
                if let Some(value) = calls.call(index).map(|mut call| self.prepared(running, &mut call)) {
                    calls.set_result(index, value);
                }
            }
        });
        Ok(())
    }
}
