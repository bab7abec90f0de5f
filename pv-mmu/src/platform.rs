//! What only the kernel knows.

use hypercall::{Hypervisor, Mfn, Pte, PteSlot, VcpuMask};

use crate::{FailurePolicy, Queue, Report};

/// The kernel below the library: one small implementation per kernel.
///
/// The library keeps no statics, cells or atomics. Everything it shares between tasks, interrupts
/// and vCPUs it reaches through these methods, so each call of one of them is a point at which the
/// caller may be interrupted, preempted or moved, and between two of them nothing shared changes.
///
/// ```
/// use std::cell::RefCell;
///
/// use hypercall::{Mfn, Null, Pte, PteSlot, TaskContext, VcpuMask};
/// use pv_mmu::{Mmu, Operations, Platform, Report, TaskState, VcpuQueue};
///
/// /// A kernel of one vCPU that nothing interrupts, before a hypervisor that does nothing.
/// struct Kernel(RefCell<(VcpuQueue, Null)>);
///
/// impl Platform for Kernel {
///     type Hypervisor = Null;
///     type Queue = VcpuQueue;
///
///     fn with_vcpu<R>(&self, step: impl FnOnce(&mut VcpuQueue, &mut Null) -> R) -> R {
///         let (queue, hypervisor) = &mut *self.0.borrow_mut(); // a kernel masks upcalls here
///         step(queue, hypervisor)
///     }
///
///     fn read_pte(&self, _: PteSlot) -> Pte {
///         Pte::EMPTY
///     }
///
///     fn online(&self) -> VcpuMask {
///         VcpuMask::from_words([1, 0])
///     }
///
///     fn flush_others(&self, _: Mfn) {} // there are none
///
///     fn report(&self, report: &Report) {
///         eprintln!("{report}");
///     }
/// }
///
/// let kernel = Kernel(RefCell::new((VcpuQueue::new(), Null::new())));
/// let (context, mut task) = (TaskContext::in_user_space(), TaskState::new());
/// let mut region = Mmu::new(&kernel).enter(&mut task, &context);
/// (0..512).for_each(|index| region.set_pte(PteSlot::of(Mfn::new(7), index), Pte::EMPTY));
/// region.leave()?;
/// assert_eq!(kernel.0.borrow().1.hypercalls(), 1);
/// # Ok::<(), pv_mmu::Failures>(())
/// ```
pub trait Platform {
    /// How this kernel calls its hypervisor.
    type Hypervisor: Hypervisor;

    /// The queue each vCPU has; [`VcpuQueue`](crate::VcpuQueue) with the capacity of choice.
    type Queue: Queue;

    /// What happens to the operations behind a refused one (R14).
    const ON_FAILURE: FailurePolicy = FailurePolicy::Continue;

    /// Runs `step` with the queue and the hypervisor of the vCPU the caller is on.
    ///
    /// Pins the caller to the vCPU and masks upcalls before, undoes both after; `step` is one step
    /// against that vCPU (R9). The library never nests it, and never calls back into the kernel
    /// from within `step`, except for the values of a range
    /// ([`Region::set_ptes`](crate::Region::set_ptes)) and, where these depend on what entries hold, for
    /// [`Platform::read_pte`].
    fn with_vcpu<R>(&self, step: impl FnOnce(&mut Self::Queue, &mut Self::Hypervisor) -> R) -> R;

    /// Reads an entry from memory, by a plain load. Also called from within a step.
    fn read_pte(&self, slot: PteSlot) -> Pte;

    /// Reads entries of `table` from memory, by their index, 0 to 511: what operations on a range read by. A
    /// kernel overrides it to find the table's memory once for all of them.
    #[inline]
    fn read_table(&self, table: Mfn) -> impl Fn(usize) -> Pte {
        move |index| self.read_pte(PteSlot::of(table, index))
    }

    /// The vCPUs that are online. Others have no TLB and are left out of flushes.
    fn online(&self) -> VcpuMask;

    /// Returns once no other vCPU runs on `table`, and none has the load away from it still queued
    /// (R12). Called when the unpinning of `table` is asked for; from then on nobody runs on it, so
    /// nobody has to leave it. The kernel sends whoever may an interrupt whose handler leaves the table
    /// and calls [`Interrupt::flush`](crate::Interrupt::flush), and waits. Where only an address
    /// space's root is ever loaded, there is nothing to do for tables of L1 to L3.
    ///
    /// It waits for other vCPUs: unpinning is not asked for where that can deadlock, in interrupt
    /// handlers and in the switch code above all.
    fn flush_others(&self, table: Mfn);

    /// Which of the library's rules is broken on purpose.
    #[cfg(feature = "planted")]
    fn planted(&self) -> Option<crate::Fault> {
        None
    }

    /// Is told what no caller is there to be told. Called with the vCPU released, possibly from an
    /// interrupt handler or the switch code.
    fn report(&self, report: &Report);
}
