//! Keeping the machine as it is, going back to that, and telling whether two moments are the same:
//! what an explorer of interleavings needs thousands of times a second.
//!
//! Protocol. [`MockXen::keep`] is called between hypercalls, when no vCPU is in one; so is
//! [`MockXen::restore`]. [`MockXen::digest`] may be called at any time by the thread that plays all
//! vCPUs, from within the gap of a hypercall ([`MockVcpu::pausing`](crate::MockVcpu::pausing)) too.
//! From the first `keep` on the machine marks the frames that are stored to, so that going back and
//! telling apart cost as much as was changed, not as much as there is.

use std::hash::{Hash, Hasher};
use std::sync::atomic::Ordering;

use hypercall::{Mfn, VcpuId};

use crate::MockXen;
use crate::frames::{Frame, FrameState};
use crate::vcpu::VcpuState;

/// A machine as it was: see [`MockXen::keep`].
#[derive(Clone, Debug)]
pub struct Kept {
    frames: Vec<KeptFrame>,
    vcpus: Vec<VcpuState>,
    spare: Vec<Mfn>,
}

#[derive(Clone, Debug)]
struct KeptFrame {
    state: FrameState,
    m2p: u64,
    words: Vec<u64>,
}

impl KeptFrame {
    fn of(frame: &Frame) -> Self {
        let words = frame.written().iter().map(|word| word.load(Ordering::Relaxed)).collect();
        Self { state: *frame.state.lock(), m2p: frame.m2p.load(Ordering::Relaxed), words }
    }
}

impl MockXen {
    /// Keeps frames and vCPUs as they are. TLBs are emptied: they are empty where [`MockXen::restore`]
    /// leads back to.
    #[must_use]
    pub fn keep(&self) -> Kept {
        self.machine.tlbs.flush_everywhere();
        self.machine.frames.iter().for_each(|frame| _ = frame.unmark());
        Kept {
            frames: self.machine.frames.iter().map(KeptFrame::of).collect(),
            vcpus: self.all_vcpus().map(|vcpu| vcpu.state.lock().clone()).collect(),
            spare: self.spare_frames().clone(),
        }
    }

    /// Makes everything as it was when this machine kept `kept`, its last. Machine-to-physical words of
    /// I/O frames, what was switched with `vm_assist`, schedules and a table still to be put away are left
    /// alone.
    pub fn restore(&self, kept: &Kept) {
        for (frame, kept) in self.machine.frames.iter().zip(&kept.frames) {
            *frame.state.lock() = kept.state;
            frame.m2p.store(kept.m2p, Ordering::Relaxed);
            if frame.unmark() {
                frame.rewrite(&kept.words);
            }
        }
        for (vcpu, kept) in self.all_vcpus().zip(&kept.vcpus) {
            let mut state = vcpu.state.lock();
            if *state != *kept {
                state.clone_from(kept);
            }
        }
        self.machine.tlbs.forget();
        self.spare_frames().clone_from(&kept.spare);
        self.forget_not_modelled();
    }

    /// Feeds `hasher` with all that the machine's further answers depend on, as far as it is not as this
    /// machine [kept](MockXen::keep) it last: two moments that feed the same are the same to a guest.
    ///
    /// Not fed are schedules, and a table that a hypercall under way has yet to put away.
    pub fn digest(&self, kept: &Kept, hasher: &mut impl Hasher) {
        let cached: Vec<u64> =
            (0..self.vcpu_count()).filter_map(|n| self.machine.tlbs.cached(VcpuId::new(n))).collect();
        for (frame, kept) in self.machine.frames.iter().zip(&kept.frames) {
            let state = *frame.state.lock();
            state.digest(hasher);
            cached.iter().for_each(|flushed| (*flushed <= state.unused_since).hash(hasher));
            frame.m2p.load(Ordering::Relaxed).hash(hasher);
            if frame.is_marked() {
                digest_words(frame, &kept.words, hasher);
            }
        }
        self.all_vcpus().for_each(|vcpu| vcpu.state.lock().hash(hasher));
        self.machine.tlbs.digest(hasher);
        self.spare_frames().len().hash(hasher);
    }
}

/// The words that differ from those kept.
fn digest_words(frame: &Frame, kept: &[u64], hasher: &mut impl Hasher) {
    for (index, word) in frame.written().iter().enumerate() {
        let word = word.load(Ordering::Relaxed);
        if word != kept.get(index).copied().unwrap_or(0) {
            (frame.mfn, index, word).hash(hasher);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;

    use hypercall::{Hypervisor, Level, MmuUpdate, Pte, PteFlags, PteSlot, Subject};

    use super::*;
    use crate::GuestBuilder;

    fn digest(xen: &MockXen, kept: &Kept) -> u64 {
        let mut hasher = DefaultHasher::new();
        xen.digest(kept, &mut hasher);
        hasher.finish()
    }

    #[test]
    fn what_changes_tells_and_going_back_undoes_it() {
        let mut builder = GuestBuilder::new(1);
        let (table, page) = (builder.new_frame(), builder.new_frame());
        builder.table(table, Level::L1).pin(table);
        let xen = builder.build().expect("a sound guest");
        let kept = xen.keep();
        let before = digest(&xen, &kept);
        let slot = PteSlot::of(table, 3);
        let set = |pte| xen.vcpu(VcpuId::new(0)).mmu_update(&[MmuUpdate::new(slot, pte)], Subject::SELF).result;
        set(Pte::new(page, PteFlags::PRESENT)).expect("a page of the guest");
        let mapped = digest(&xen, &kept);
        assert_ne!(mapped, before);
        set(Pte::EMPTY).expect("nothing to refuse");
        assert_eq!(digest(&xen, &kept), before, "what was undone does not tell");
        set(Pte::new(page, PteFlags::PRESENT)).expect("a page of the guest");
        assert_eq!(digest(&xen, &kept), mapped);
        xen.restore(&kept);
        assert_eq!((digest(&xen, &kept), xen.read_entry(slot)), (before, Some(Pte::EMPTY)));
        assert!(xen.audit().is_ok());
    }
}
