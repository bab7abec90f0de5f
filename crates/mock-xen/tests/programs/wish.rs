//! What a random guest may ask for, in terms of its frames' positions.

use hypercall::{
    DomId, Level, MmuUpdate, MmuextOp, Operation, Pte, PteFlags, PteSlot, Subject, UpdateCommand, VaFlush, VirtAddr,
};
use proptest::prelude::*;

use crate::guest::{FRAMES, Guest};

/// Something a guest asks for or does.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    /// An update of a word of one of the frames, of its entry in the direct map, or of the root.
    Update { place: Place, entry: Entry, command: UpdateCommand, subject: Subject },
    /// `update_va_mapping` of a frame in the direct map.
    Map { frame: usize, entry: Entry },
    /// A pin at a level.
    Pin { frame: usize, level: Level },
    /// An unpin.
    Unpin { frame: usize },
    /// A base pointer, kernel's or user's.
    Base { frame: usize, user: bool },
    /// A frame cleared, or another's contents copied to it.
    Fill { frame: usize, source: Option<usize> },
    /// A store without a hypercall.
    Store { frame: usize, index: usize, entry: Entry },
    /// A store to a read-only entry of the direct map.
    Trapped { frame: usize, entry: Entry },
    /// The processor uses a word as an entry.
    Use { place: Place },
}

/// Where an entry lies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Word { frame: usize, index: usize },
    DirectMap { frame: usize },
    Root { index: usize },
}

/// An entry that maps one of the frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    frame: usize,
    flags: PteFlags,
}

impl Entry {
    fn of(self, guest: &Guest) -> Pte {
        Pte::new(guest.frames[self.frame], self.flags)
    }
}

impl Place {
    pub(crate) fn slot(self, guest: &Guest) -> PteSlot {
        match self {
            Self::Word { frame, index } => PteSlot::of(guest.frames[frame], index),
            Self::DirectMap { frame } => guest.slots[frame],
            Self::Root { index } => PteSlot::of(guest.root, index),
        }
    }
}

impl Wish {
    /// The hypercall's operation; `None` for what needs none.
    pub(crate) fn operation(&self, guest: &Guest) -> Option<Operation> {
        let own = |op| Some(Operation::Mmuext { op, domain: DomId::SELF });
        match *self {
            Self::Update { place, entry, command, subject } => {
                let update = MmuUpdate::new(place.slot(guest).with_command(command), entry.of(guest));
                Some(Operation::Update { update, subject })
            }
            Self::Map { frame, entry } => {
                let (va, pte) = (VirtAddr::unchecked(guest.addresses[frame]), entry.of(guest));
                Some(Operation::UpdateVaMapping { va, pte, flush: VaFlush::None })
            }
            Self::Pin { frame, level } => own(MmuextOp::Pin { level, table: guest.frames[frame] }),
            Self::Unpin { frame } => own(MmuextOp::Unpin { table: guest.frames[frame] }),
            Self::Base { frame, user: false } => own(MmuextOp::NewBaseptr { table: guest.frames[frame] }),
            Self::Base { frame, user: true } => own(MmuextOp::NewUserBaseptr { table: guest.frames[frame] }),
            Self::Fill { frame, source: None } => own(MmuextOp::ClearPage { frame: guest.frames[frame] }),
            Self::Fill { frame, source: Some(source) } => {
                let (destination, source) = (guest.frames[frame], guest.frames[source]);
                own(MmuextOp::CopyPage { destination, source })
            }
            Self::Store { .. } | Self::Trapped { .. } | Self::Use { .. } => None,
        }
    }

    /// Does what needs no hypercall; whether it was done.
    pub(crate) fn act(&self, guest: &Guest) -> bool {
        match *self {
            Self::Store { frame, index, entry } => {
                guest.xen.write_plain(guest.frames[frame], index, entry.of(guest).bits()).is_ok()
            }
            Self::Trapped { frame, entry } => guest.xen.trapped_write(guest.slots[frame], entry.of(guest)).is_ok(),
            Self::Use { place } => guest.xen.set_accessed_dirty(place.slot(guest), PteFlags::ACCESSED_DIRTY).is_ok(),
            _ => false,
        }
    }

    /// For counting which kinds succeed.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Update { place: Place::Word { .. }, .. } => "update of a word",
            Self::Update { place: Place::DirectMap { .. }, .. } => "update of the direct map",
            Self::Update { place: Place::Root { .. }, .. } => "update of the root",
            Self::Map { .. } => "map",
            Self::Pin { level: Level::L1, .. } => "pin L1",
            Self::Pin { level: Level::L2, .. } => "pin L2",
            Self::Pin { level: Level::L3, .. } => "pin L3",
            Self::Pin { level: Level::L4, .. } => "pin L4",
            Self::Unpin { .. } => "unpin",
            Self::Base { user: false, .. } => "base pointer",
            Self::Base { user: true, .. } => "user base pointer",
            Self::Fill { .. } => "fill",
            Self::Store { .. } => "store",
            Self::Trapped { .. } => "trapped store",
            Self::Use { .. } => "use",
        }
    }
}

fn frame() -> impl Strategy<Value = usize> {
    0..FRAMES
}

/// Few words, so that programs meet themselves; those of an L4 that Xen owns are among them.
fn index() -> impl Strategy<Value = usize> {
    prop::sample::select(vec![0, 1, 255, 256, 258, 272, 300, 511])
}

fn level() -> impl Strategy<Value = Level> {
    prop::sample::select(Level::ALL.to_vec())
}

prop_compose! {
    /// Mostly read-only or absent entries: a frame that is mapped writable becomes no table.
    fn entry()(
        frame in frame(),
        flags in prop::sample::select(vec![0x61, 0x61, 0x61, 0x65, 0x63, 0x67, 0x60, 0, 0xe7, 0x71]),
        available in prop::sample::select(vec![0, 0, 1 << 9, 1 << 52]),
    ) -> Entry {
        Entry { frame, flags: PteFlags::from_bits_truncate(flags | available) }
    }
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        6 => (frame(), index()).prop_map(|(frame, index)| Place::Word { frame, index }),
        2 => frame().prop_map(|frame| Place::DirectMap { frame }),
        1 => index().prop_map(|index| Place::Root { index: index.max(280) }),
    ]
}

fn update() -> impl Strategy<Value = Wish> {
    let command = prop::sample::select(vec![
        UpdateCommand::Normal,
        UpdateCommand::Normal,
        UpdateCommand::PreserveAd,
        UpdateCommand::NoTranslate,
        UpdateCommand::MachPhys,
    ]);
    let subject =
        prop::sample::select(vec![Subject::SELF, Subject::SELF, Subject::SELF, Subject::frames_of(DomId::IO)]);
    (place(), entry(), command, subject).prop_map(|(place, entry, command, subject)| Wish::Update {
        place,
        entry,
        command,
        subject,
    })
}

/// A frame's own entry in the direct map, most often read-only.
fn map() -> impl Strategy<Value = Wish> {
    (frame(), entry(), any::<bool>()).prop_map(|(frame, entry, other)| {
        let entry = if other { entry } else { Entry { frame, flags: PteFlags::from_bits_truncate(0x61) } };
        Wish::Map { frame, entry }
    })
}

/// One wish; `base` says whether kernel base pointers are among them.
pub(crate) fn wish(base: bool) -> impl Strategy<Value = Wish> {
    prop_oneof![
        8 => update(),
        8 => map(),
        6 => (frame(), level()).prop_map(|(frame, level)| Wish::Pin { frame, level }),
        3 => frame().prop_map(|frame| Wish::Unpin { frame }),
        1 => (frame(), any::<bool>()).prop_map(move |(frame, user)| Wish::Base { frame, user: user || !base }),
        1 => (frame(), prop::option::of(frame())).prop_map(|(frame, source)| Wish::Fill { frame, source }),
        3 => (frame(), index(), entry()).prop_map(|(frame, index, entry)| Wish::Store { frame, index, entry }),
        1 => (frame(), entry()).prop_map(|(frame, entry)| Wish::Trapped { frame, entry }),
        1 => place().prop_map(|place| Wish::Use { place }),
    ]
}
