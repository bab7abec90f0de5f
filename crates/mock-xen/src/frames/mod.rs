//! The machine's frames: who owns each, what the guest's own are used as, and what they hold.
//!
//! # Locks
//! Two kinds, taken in this order and never the other way:
//! 1. [`Frames::tables`], a reader-writer lock over *which frames are page tables or descriptor
//!    pages*. Who holds it shared may rely on a table staying one and may take and give back
//!    references of plain frames; who holds it exclusively may turn frames into tables and back.
//!    It is taken once per operation, never while it is already held.
//! 2. A vCPU's state or a frame's own: leaves, no lock is taken while one of them is held, and never
//!    two at once.
//!
//! Frame contents are atomics and need no lock, as on the machine: an L1 update installs its entry
//! by compare-and-exchange after it has taken the new references and gives the references of
//! exactly that entry back which it replaced, so that vCPUs that write one entry at once never
//! count one twice.

mod directory;
mod layout;
mod state;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use hypercall::{DomId, ENTRIES_PER_TABLE, Errno, Mfn, Pfn};
use parking_lot::{Mutex, RwLock};

pub(crate) use directory::Directory;
pub(crate) use layout::CACHE_ATTRIBUTE;
pub use layout::Layout;
pub(crate) use state::{Claim, FrameState};
pub use state::{FrameType, FrameView, Owner};

use crate::not_modelled::NotModelled;

/// The right to rely on what is a table (`&Tables`) or to change it (`&mut Tables`).
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// Whether the operation under way left a table to be put away after it, which makes Xen
    /// continue the hypercall once more (`old_guest_table`).
    old_table: bool,
}

impl Tables {
    /// Notes that a table is left to be put away.
    pub(crate) const fn leave_old_table(&mut self) {
        self.old_table = true;
    }

    /// Whether a table was left since the last time this was asked.
    pub(crate) fn take_old_table(&mut self) -> bool {
        std::mem::take(&mut self.old_table)
    }
}

/// The domain whose frames an operation names, once its number has been looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameOwner {
    /// The guest itself.
    Domain,
    /// `DOMID_IO`.
    Io,
    /// `DOMID_XEN`.
    Xen,
}

impl FrameOwner {
    /// The owner a guest names by `domain`.
    ///
    /// # Errors
    /// `-ESRCH` for a domain that is not there and for the guest's own number, where Xen wants
    /// `DOMID_SELF`.
    pub(crate) const fn named(domain: DomId) -> Result<Self, Errno> {
        match domain {
            DomId::SELF => Ok(Self::Domain),
            DomId::IO => Ok(Self::Io),
            DomId::XEN => Ok(Self::Xen),
            _ => Err(Errno::SRCH),
        }
    }
}

/// A frame the guest owns.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) mfn: Mfn,
    /// Where the guest counts it; `None` for one that Xen shares with the guest.
    pub(crate) pfn: Option<Pfn>,
    pub(crate) m2p: AtomicU64,
    pub(crate) state: Mutex<FrameState>,
    /// Allocated at the first store: a frame never written reads as zeros.
    words: OnceLock<Box<[AtomicU64]>>,
}

impl Frame {
    pub(crate) fn new(mfn: Mfn, pfn: Option<Pfn>) -> Self {
        let (state, word) = match pfn {
            Some(pfn) => (FrameState::ALLOCATED, pfn.number()),
            None => (FrameState::SHARED, UNMAPPED_M2P),
        };
        Self { mfn, pfn, m2p: AtomicU64::new(word), state: Mutex::new(state), words: OnceLock::new() }
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
        &self.words.get_or_init(|| (0..ENTRIES_PER_TABLE).map(|_| AtomicU64::new(0)).collect())[index]
    }

    /// Everything in it.
    pub(crate) fn contents(&self) -> Box<[u64; ENTRIES_PER_TABLE]> {
        let mut all = Box::new([0; ENTRIES_PER_TABLE]);
        all.iter_mut().enumerate().for_each(|(index, word)| *word = self.load(index));
        all
    }
}

/// What the machine has at a frame number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// A frame of the guest.
    Guest(&'a Frame),
    /// A frame of somebody else: never [`Owner::Domain`].
    Other(Owner),
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
    /// Machine-to-physical words the guest wrote for frames that are not its own.
    other_m2p: Mutex<std::collections::BTreeMap<Mfn, u64>>,
    /// See the module's locks.
    pub(crate) tables: RwLock<Tables>,
}

impl Frames {
    /// The machine `layout` describes with the guest's frames `all`, each at a number of its own.
    pub(crate) fn new(layout: Layout, all: Vec<Frame>) -> Self {
        let directory = Directory::of(all.iter().map(|frame| frame.mfn));
        Self { layout, directory, all, other_m2p: Mutex::default(), tables: RwLock::default() }
    }

    /// The guest's frames, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Frame> {
        self.all.iter()
    }

    /// The guest's frame `mfn`.
    #[inline]
    pub(crate) fn guest(&self, mfn: Mfn) -> Option<&Frame> {
        self.all.get(self.directory.position(mfn)?)
    }

    /// What is at `mfn`.
    pub(crate) fn place(&self, mfn: Mfn) -> Place<'_> {
        match self.guest(mfn) {
            Some(frame) => Place::Guest(frame),
            None => self.layout.owner(mfn).map_or(Place::Absent, Place::Other),
        }
    }

    /// The guest's frame `mfn`, where an operation names it as a frame of `owner`.
    ///
    /// # Errors
    /// `-EINVAL` where it is not the guest's or not named as such; not modelled where the frame is
    /// `DOMID_XEN`'s and named so.
    pub(crate) fn owned(&self, mfn: Mfn, owner: FrameOwner) -> Result<&Frame, Errno> {
        match (self.place(mfn), owner) {
            (Place::Guest(frame), FrameOwner::Domain) => Ok(frame),
            (Place::Other(Owner::Xen), FrameOwner::Xen) => Err(NotModelled::HypervisorFrames.errno()),
            _ => Err(Errno::INVAL),
        }
    }

    /// Stores a machine-to-physical word (`MMU_MACHPHYS_UPDATE`); any value is taken.
    ///
    /// # Errors
    /// As [`Frames::owned`], except that `DOMID_IO`'s frames are open to whoever names them so.
    pub(crate) fn set_m2p(&self, mfn: Mfn, value: u64, owner: FrameOwner) -> Result<(), Errno> {
        if let (Place::Other(Owner::Io), FrameOwner::Io) = (self.place(mfn), owner) {
            self.other_m2p.lock().insert(mfn, value);
            return Ok(());
        }
        self.owned(mfn, owner)?.m2p.store(value, Ordering::SeqCst);
        Ok(())
    }

    /// The machine-to-physical word of `mfn`; `None` where there is no memory.
    pub(crate) fn m2p(&self, mfn: Mfn) -> Option<u64> {
        match self.place(mfn) {
            Place::Guest(frame) => Some(frame.m2p.load(Ordering::SeqCst)),
            Place::Other(_) => Some(self.other_m2p.lock().get(&mfn).copied().unwrap_or(UNMAPPED_M2P)),
            Place::Absent => None,
        }
    }

    /// The frame as Xen describes it; `None` where there is no memory.
    pub(crate) fn view(&self, mfn: Mfn) -> Option<FrameView> {
        match self.place(mfn) {
            Place::Guest(frame) => Some(frame.state.lock().view()),
            Place::Other(owner) => Some(FrameView { owner, ..FrameState::ALLOCATED.view() }),
            Place::Absent => None,
        }
    }
}
