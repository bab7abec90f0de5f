//! Processors that use the guest's pages while one of its vCPUs is in the middle of something.
//!
//! Accessed and dirty bits are the processors' to set, at any moment, in any entry that is present, and a
//! translation once cached serves until it is flushed. Under a [`Walker`] the moments are those of the
//! mock: the beginning and the end of every hypercall and in front of every operation of an array. A test adds
//! its own by [`MockXen::moment`], where its guest reads an entry. What a walker does there it does by
//! [`MockXen::load`] and [`MockXen::store`] as some other vCPU, so through that vCPU's TLB.

use hypercall::{VcpuId, VirtAddr};

use crate::MockXen;
use crate::schedule::{PreemptPoint, Schedule, Seeded};

/// Whoever else uses the guest's pages.
pub trait Walker: Send {
    /// A moment has come. No hypercall can be made in it, nor anything done as the vCPU that is in one.
    fn moment(&mut self, xen: &MockXen);
}

/// A closure walks.
impl<F: FnMut(&MockXen) + Send> Walker for F {
    fn moment(&mut self, xen: &MockXen) {
        self(xen);
    }
}

/// Loads and stores at random: which and when follows from a seed.
///
/// ```
/// use hypercall::VcpuId;
/// use mock_xen::{SeededWalker, referee::Profile, testing::TestGuest};
///
/// // Whatever vCPU 0 does, vCPU 1 uses this page meanwhile, and the processor notes it in the entry.
/// let guest = TestGuest::new(Profile::Strict);
/// let page = guest.xen().direct_map(guest.page(0)).unwrap();
/// guest.xen().set_walker(SeededWalker::new(7, VcpuId::new(1), vec![page]));
/// (0..8).for_each(|_| guest.xen().moment());
/// assert!(guest.xen().tlb(VcpuId::new(1)).contains_key(&page));
/// ```
#[derive(Clone, Debug)]
pub struct SeededWalker {
    random: Seeded,
    vcpu: VcpuId,
    pages: Vec<VirtAddr>,
}

impl SeededWalker {
    /// `vcpu` uses one of `pages` in every second moment, half of the time for a store.
    #[must_use]
    pub const fn new(seed: u64, vcpu: VcpuId, pages: Vec<VirtAddr>) -> Self {
        Self { random: Seeded::new(seed, 2), vcpu, pages }
    }

    fn coin(&mut self) -> bool {
        self.random.pending(PreemptPoint::Operation)
    }
}

impl Walker for SeededWalker {
    fn moment(&mut self, xen: &MockXen) {
        if self.coin() || self.pages.is_empty() {
            return;
        }
        let number = (0..16).fold(0, |number, _| number << 1 | usize::from(self.coin()));
        let page = self.pages[number % self.pages.len()];
        // A fault is the guest's business: here it leaves the page alone.
        if self.coin() {
            let _ = xen.store(self.vcpu, page, number as u64);
        } else {
            let _ = xen.load(self.vcpu, page);
        }
    }
}

impl MockXen {
    /// From now on `walker` has its moments.
    pub fn set_walker(&self, walker: impl Walker + 'static) {
        *self.walker.lock() = Some(Box::new(walker));
    }

    /// From now on nobody has.
    pub fn clear_walker(&self) {
        *self.walker.lock() = None;
    }

    /// A moment in which somebody else may use the guest's pages.
    pub fn moment(&self) {
        // One that is in its moment has no other within it.
        if let Some(mut walker) = self.walker.try_lock()
            && let Some(walker) = walker.as_mut()
        {
            walker.moment(self);
        }
    }
}
