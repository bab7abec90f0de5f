//! The context-switch hook.

use hypercall::{Mfn, MmuextOp, Operation, SwitchContext, VirtAddr};

use crate::{
    Callback, Mmu, Platform,
    caller::Caller,
    mmu::{Mode, Told},
    operations::{Operations, private::Submit},
    queue::Request,
    stats::FlushReason,
};

/// A context switch under way on one vCPU: between the outgoing task's last step and the incoming
/// task's first.
///
/// What the outgoing task has queued, and what is asked for here (base pointers, descriptors, stack)
/// leave as one ordered batch when it is finished or dropped (R7). It needs the queue alone, no
/// task's state; it does not matter which of the two tasks the kernel calls current. Failures go to
/// the platform. A switch that is forgotten (`mem::forget`) hands nothing over: there is no later
/// moment at which it could be told from one that is still under way.
///
/// ```
/// # mod kernel { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/kernel.rs")); }
/// # use kernel::{Kernel, Page};
/// # use mock_xen::{referee::Profile as Rules, testing::TestGuest};
/// # let guest = TestGuest::new(Rules::Strict);
/// # let kernel = Kernel::new(&guest);
/// use hypercall::{Mfn, SwitchContext, TaskContext, VcpuId, VirtAddr};
/// use pv_mmu::{Mmu, Operations, TaskState};
///
/// let (mmu, context, mut task) = (Mmu::new(&kernel), TaskContext::in_user_space(), TaskState::new());
/// let mut region = mmu.enter(&mut task, &context);
/// region.set_pte(guest.slot(0), guest.pte(0));
///
/// // The task is preempted in its region; the scheduler goes on to another.
/// let (switching, root) = (SwitchContext::in_user_space(), guest.xen().processor(VcpuId::new(0)).base);
/// let mut switch = mmu.switch(&switching);
/// switch.base_pointers(root, Mfn::new(0));
/// switch.stack(0xe02b, VirtAddr::unchecked(0xffff_8880_0010_0000));
/// switch.finish();
/// assert!(guest.xen().read_entry(guest.slot(0)).unwrap().is_present());
/// assert_eq!(mmu.stats().flushes, 1, "the write and what the switch needs, together");
///
/// region.leave()?; // later, perhaps on another vCPU
/// # Ok::<(), pv_mmu::Failures>(())
/// ```
#[must_use = "the batch leaves when the switch is finished"]
#[derive(Debug)]
pub struct ContextSwitch<'r, P: Platform> {
    mmu: Mmu<'r, P>,
    _context: &'r SwitchContext,
}

impl<'r, P: Platform> ContextSwitch<'r, P> {
    pub(crate) const fn new(mmu: Mmu<'r, P>, context: &'r SwitchContext) -> Self {
        Self { mmu, _context: context }
    }

    /// Loads the base pointers of the incoming address space; frame 0 for no user tables.
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn base_pointers(&mut self, kernel: Mfn, user: Mfn) {
        self.mmuext(MmuextOp::NewBaseptr { table: kernel });
        self.mmuext(MmuextOp::NewUserBaseptr { table: user });
    }

    /// Sets the stack on which the kernel is entered from user mode.
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn stack(&mut self, ss: u64, sp: VirtAddr) {
        self.operation(&Operation::StackSwitch { ss, sp });
    }

    /// An operation whose completion matters: `callback` runs once, after the batch has been handed
    /// over, and is told what became of it. The base pointer in force is one such thing.
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn operation_then(&mut self, operation: &Operation, callback: Callback) {
        self.submit(Request::new(*operation, Caller::here()).then(callback));
    }

    /// Hands the batch over.
    pub fn finish(self) {}
}

impl<P: Platform> Submit for ContextSwitch<'_, P> {
    type Answer = ();

    fn submit(&mut self, request: Request) {
        let queued = self.mmu.submit(request, Mode::Lazy, Told::Platform);
        debug_assert!(queued.is_ok(), "what may wait is never refused at once");
    }
}

impl<P: Platform> Drop for ContextSwitch<'_, P> {
    fn drop(&mut self) {
        self.mmu.flush(FlushReason::Switch, &mut Told::Platform);
    }
}
