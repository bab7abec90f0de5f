//! The machine's frames: who owns each, what those with an owner of their own are used as, and what
//! they hold.
//!
//! Frame contents are atomics and need no lock, as on the machine: an L1 update installs its entry
//! by compare-and-exchange after it has taken the new references and gives the references of
//! exactly that entry back which it replaced, so that vCPUs that write one entry at once never
//! count one twice. A frame's state has a lock of its own, a leaf (see [`crate::machine`]).

mod directory;
mod layout;
mod state;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hypercall::{ENTRIES_PER_TABLE, Errno, Mfn, Pfn};
use parking_lot::Mutex;

pub(crate) use directory::Directory;
pub(crate) use layout::CACHE_ATTRIBUTE;
pub use layout::Layout;
pub(crate) use state::{Claim, FrameState, Progress, Unclaim};
pub use state::{FrameType, FrameView, Owner};

use crate::domain::FrameOwner;

/// A frame that is somebody's and can be mapped: the guest's, or one that Xen shares with it.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) mfn: Mfn,
    /// [`Owner::Domain`] or [`Owner::Xen`].
    pub(crate) owner: Owner,
    /// Where the guest counts it; `None` for one that Xen shares with the guest.
    pub(crate) pfn: Option<Pfn>,
    pub(crate) m2p: AtomicU64,
    pub(crate) state: Mutex<FrameState>,
    /// Allocated at the first store: a frame never written reads as zeros.
    words: OnceLock<Box<[AtomicU64]>>,
    /// Whether a word may have been stored since the mark was last taken away.
    marked: AtomicBool,
}

impl Frame {
    /// Memory of the guest, which counts it as `pfn`.
    pub(crate) fn memory(mfn: Mfn, pfn: Pfn) -> Self {
        Self::with((mfn, Some(pfn)), Owner::Domain, FrameState::ALLOCATED, pfn.number())
    }

    /// Xen's page for events and time, which is the guest's to write.
    pub(crate) fn shared_info(mfn: Mfn) -> Self {
        Self::with((mfn, None), Owner::Domain, FrameState::SHARED, UNMAPPED_M2P)
    }

    /// A frame of the machine-to-physical table, which anybody may read.
    pub(crate) fn machine_to_physical(mfn: Mfn) -> Self {
        Self::with((mfn, None), Owner::Xen, FrameState::SHARED_READ_ONLY, UNMAPPED_M2P)
    }

    const fn with((mfn, pfn): (Mfn, Option<Pfn>), owner: Owner, state: FrameState, m2p: u64) -> Self {
        let (m2p, state) = (AtomicU64::new(m2p), Mutex::new(state));
        Self { mfn, owner, pfn, m2p, state, words: OnceLock::new(), marked: AtomicBool::new(false) }
    }

    /// Whether Xen handed it out from its own heap, which forbids other cache attributes.
    pub(crate) const fn is_special(&self) -> bool {
        self.pfn.is_none()
    }

    /// Word `index`, 0 to 511.
    pub(crate) fn load(&self, index: usize) -> u64 {
        self.words.get().map_or(0, |words| words[index].load(Ordering::SeqCst))
    }

    /// Word `index` for changing.
    pub(crate) fn word(&self, index: usize) -> &AtomicU64 {
        self.marked.store(true, Ordering::Relaxed);
        &self.words.get_or_init(|| (0..ENTRIES_PER_TABLE).map(|_| AtomicU64::new(0)).collect())[index]
    }

    /// Stores word `index`.
    pub(crate) fn store(&self, index: usize, word: u64) {
        self.word(index).store(word, Ordering::SeqCst);
    }

    /// Everything in it.
    pub(crate) fn contents(&self) -> Box<[u64; ENTRIES_PER_TABLE]> {
        let mut all = Box::new([0; ENTRIES_PER_TABLE]);
        all.iter_mut().enumerate().for_each(|(index, word)| *word = self.load(index));
        all
    }

    /// Its words, none if it was never written.
    pub(crate) fn written(&self) -> &[AtomicU64] {
        self.words.get().map_or(&[], |words| words)
    }

    /// Makes its words `words`, zeros behind their end.
    pub(crate) fn rewrite(&self, words: &[u64]) {
        for (index, word) in self.written().iter().enumerate() {
            word.store(words.get(index).copied().unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// Whether a word may have been stored since [`Frame::unmark`].
    pub(crate) fn is_marked(&self) -> bool {
        self.marked.load(Ordering::Relaxed)
    }

    /// Takes the mark away, and answers whether it was there.
    pub(crate) fn unmark(&self) -> bool {
        let was_marked = self.is_marked();
        self.marked.store(false, Ordering::Relaxed);
        was_marked
    }

    /// Takes a general reference.
    pub(crate) fn hold(&self) {
        self.state.lock().general_count += 1;
    }

    /// Gives a general reference back.
    pub(crate) fn unhold(&self) {
        self.state.lock().general_count -= 1;
    }
}

/// What the machine has at a frame number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// A frame of the guest.
    Guest(&'a Frame),
    /// A frame of `DOMID_XEN`.
    Xen(&'a Frame),
    /// A frame of `DOMID_IO`.
    Io,
    /// Memory that is nobody's, for all a guest can tell.
    Nobody,
    /// No memory; devices at most.
    Absent,
}

/// The machine-to-physical word of a frame that no guest counts.
const UNMAPPED_M2P: u64 = u64::MAX;

/// All frames.
#[derive(Debug)]
pub(crate) struct Frames {
    pub(crate) layout: Layout,
    directory: Directory,
    all: Vec<Frame>,
    /// Machine-to-physical words the guest wrote for I/O frames.
    io_m2p: Mutex<BTreeMap<Mfn, u64>>,
}

impl Frames {
    /// The machine `layout` describes with the guest's `memory`, each at a number of its own.
    pub(crate) fn new(layout: Layout, memory: impl Iterator<Item = Frame>) -> Self {
        let table = layout.machine_to_physical_frames().map(Frame::machine_to_physical);
        let all: Vec<_> = memory.chain([Frame::shared_info(layout.shared_info())]).chain(table).collect();
        let directory = Directory::of(all.iter().map(|frame| frame.mfn));
        Self { layout, directory, all, io_m2p: Mutex::default() }
    }

    /// Every frame with a state, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Frame> {
        self.all.iter()
    }

    /// The frame `mfn`, if it has a state.
    #[inline]
    pub(crate) fn get(&self, mfn: Mfn) -> Option<&Frame> {
        self.all.get(self.directory.position(mfn)?)
    }

    /// The guest's frame `mfn`.
    #[inline]
    pub(crate) fn guest(&self, mfn: Mfn) -> Option<&Frame> {
        self.get(mfn).filter(|frame| frame.owner == Owner::Domain)
    }

    /// What is at `mfn`.
    #[inline]
    pub(crate) fn place(&self, mfn: Mfn) -> Place<'_> {
        match self.get(mfn) {
            Some(frame) if frame.owner == Owner::Domain => Place::Guest(frame),
            Some(frame) => Place::Xen(frame),
            None => match self.layout.owner(mfn) {
                None => Place::Absent,
                Some(Owner::Io) => Place::Io,
                Some(_) => Place::Nobody,
            },
        }
    }

    /// The frame `mfn`, where an operation names it as one of `owner`'s.
    ///
    /// # Errors
    /// `-EINVAL` where it is not that owner's, and for I/O frames, with which nothing can be done
    /// that needs this.
    pub(crate) fn owned(&self, mfn: Mfn, owner: FrameOwner) -> Result<&Frame, Errno> {
        match (self.place(mfn), owner) {
            (Place::Guest(frame), FrameOwner::Domain) | (Place::Xen(frame), FrameOwner::Xen) => Ok(frame),
            _ => Err(Errno::INVAL),
        }
    }

    /// Stores a machine-to-physical word (`MMU_MACHPHYS_UPDATE`); any value is taken (XSA-251).
    ///
    /// # Errors
    /// As [`Frames::owned`], except that `DOMID_IO`'s frames are open to whoever names them so.
    pub(crate) fn set_m2p(&self, mfn: Mfn, value: u64, owner: FrameOwner) -> Result<(), Errno> {
        if let (Place::Io, FrameOwner::Io) = (self.place(mfn), owner) {
            self.io_m2p.lock().insert(mfn, value);
            return Ok(());
        }
        self.owned(mfn, owner)?.m2p.store(value, Ordering::SeqCst);
        Ok(())
    }

    /// The machine-to-physical word of `mfn`; `None` where there is no memory.
    pub(crate) fn m2p(&self, mfn: Mfn) -> Option<u64> {
        match self.place(mfn) {
            Place::Guest(frame) | Place::Xen(frame) => Some(frame.m2p.load(Ordering::SeqCst)),
            Place::Io => Some(self.io_m2p.lock().get(&mfn).copied().unwrap_or(UNMAPPED_M2P)),
            Place::Nobody => Some(UNMAPPED_M2P),
            Place::Absent => None,
        }
    }

    /// Word `index` of a frame as a load finds it: the machine-to-physical table's frames show its
    /// first words.
    pub(crate) fn load(&self, frame: &Frame, index: usize) -> u64 {
        if frame.owner == Owner::Domain {
            return frame.load(index);
        }
        let before = frame.mfn.number() - self.layout.machine_to_physical().number();
        let mfn = Mfn::new(before * ENTRIES_PER_TABLE as u64 + index as u64);
        self.m2p(mfn).unwrap_or(UNMAPPED_M2P)
    }

    /// The frame as Xen describes it; `None` where there is no memory.
    pub(crate) fn view(&self, mfn: Mfn) -> Option<FrameView> {
        match self.place(mfn) {
            Place::Guest(frame) | Place::Xen(frame) => Some(frame.state.lock().view(frame.owner)),
            Place::Io => Some(FrameState::SHARED.view(Owner::Io)),
            Place::Nobody => Some(FrameState::ALLOCATED.view(Owner::Nobody)),
            Place::Absent => None,
        }
    }
}
