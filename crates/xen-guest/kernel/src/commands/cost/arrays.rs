//! `mmu_update`, by what an entry held and what it is to hold, by command and by the array's length.

use hypercall::{ENTRIES_PER_TABLE, Level, Mfn, MmuextOp, Operation, Pfn, Pte, PteFlags, PteSlot, TaskContext};
use hypercall::{MmuUpdate, Subject, UpdateCommand};
use xen_guest::memory::{Page, p2m, take_page};

use super::{
    SIZES,
    issuer::{Issuer, mmuext, update},
    meter::Meter,
};
use crate::{
    error::Error,
    mmu::{self, FLAGS},
};

/// What an L1 entry holds.
#[derive(Clone, Copy)]
pub(super) enum Content {
    Empty,
    /// Not present, and not empty.
    Absent,
    ReadOnly,
    Writable,
    /// With a flag of software's own, which Xen stores without a look at it.
    ReadOnlyMarked,
    WritableMarked,
    /// Of another frame.
    ReadOnlyOther,
    WritableOther,
}

/// The two frames that entries map.
pub(super) struct Frames(pub(super) [Mfn; 2]);

impl Frames {
    pub(super) fn take() -> Result<Self, Error> {
        let page = || take_page().ok_or(Error::NoPage).map(|page| page.frame());
        Ok(Self([page()?, page()?]))
    }

    pub(super) fn pte(&self, content: Content) -> Pte {
        const MARK: PteFlags = PteFlags::from_bits_truncate(1 << 9);
        let Self([frame, other]) = *self;
        match content {
            Content::Empty => Pte::EMPTY,
            Content::Absent => Pte::from_bits(0x5000),
            Content::ReadOnly => Pte::new(frame, FLAGS),
            Content::Writable => Pte::new(frame, FLAGS | PteFlags::RW),
            Content::ReadOnlyMarked => Pte::new(frame, FLAGS | MARK),
            Content::WritableMarked => Pte::new(frame, FLAGS | PteFlags::RW | MARK),
            Content::ReadOnlyOther => Pte::new(other, FLAGS),
            Content::WritableOther => Pte::new(other, FLAGS | PteFlags::RW),
        }
    }
}

/// A change of an entry: name, before, after.
pub(super) type Change = (&'static str, Content, Content);

/// Every change that Xen treats in a way of its own.
const CHANGES: [Change; 11] = [
    ("map-ro", Content::Empty, Content::ReadOnly),
    ("map-rw", Content::Empty, Content::Writable),
    ("unmap-ro", Content::ReadOnly, Content::Empty),
    ("unmap-rw", Content::Writable, Content::Empty),
    ("flags-ro", Content::ReadOnly, Content::ReadOnlyMarked),
    ("flags-rw", Content::Writable, Content::WritableMarked),
    ("protect", Content::Writable, Content::ReadOnly),
    ("unprotect", Content::ReadOnly, Content::Writable),
    ("remap-ro", Content::ReadOnly, Content::ReadOnlyOther),
    ("remap-rw", Content::Writable, Content::WritableOther),
    ("absent", Content::Empty, Content::Absent),
];

const COMMANDS: [(&str, UpdateCommand); 3] = [
    ("normal", UpdateCommand::Normal),
    ("preserve-ad", UpdateCommand::PreserveAd),
    ("no-translate", UpdateCommand::NoTranslate),
];

/// Sets the first `count` entries of `table`.
pub(super) fn set(issuer: &mut Issuer, table: &Page, count: usize, pte: Pte) -> Result<(), Error> {
    issuer.array(count, |index| update(table.slot(index), pte)).map(drop)
}

pub(super) fn measure(context: &TaskContext, issuer: &mut Issuer, meter: &mut Meter<'_>) -> Result<(), Error> {
    let tables = [mmu::pinned_table(context)?, mmu::pinned_table(context)?];
    let frames = Frames::take()?;
    for (command_name, command) in COMMANDS {
        for (name, from, to) in CHANGES {
            for size in SIZES {
                let slot = |index| tables[0].slot(index).with_command(command);
                meter.row(format_args!("mmu_update/{command_name}/{name}"), size, || {
                    set(issuer, &tables[0], size, frames.pte(from))?;
                    issuer.array(size, |index| update(slot(index), frames.pte(to)))
                })?;
            }
        }
    }
    set(issuer, &tables[0], ENTRIES_PER_TABLE, Pte::EMPTY)?;
    alternating(issuer, meter, &tables, &frames)?;
    machine_to_physical(issuer, meter, frames.0[0])?;
    attaching(issuer, meter, &frames)
}

/// Each update is of another table than the one before.
fn alternating(issuer: &mut Issuer, meter: &mut Meter<'_>, tables: &[Page; 2], frames: &Frames) -> Result<(), Error> {
    for size in SIZES {
        let slot = |index: usize| tables[index % 2].slot(index);
        meter.row(format_args!("mmu_update/normal/map-ro-alternating"), size, || {
            issuer.array(size, |index| update(slot(index), Pte::EMPTY))?;
            issuer.array(size, |index| update(slot(index), frames.pte(Content::ReadOnly)))
        })?;
    }
    tables.iter().try_for_each(|table| set(issuer, table, ENTRIES_PER_TABLE, Pte::EMPTY))
}

/// The machine-to-physical table is told what it holds.
fn machine_to_physical(issuer: &mut Issuer, meter: &mut Meter<'_>, frame: Mfn) -> Result<(), Error> {
    let pfn = p2m::pfn(frame).map_or(0, Pfn::number);
    let slot = PteSlot::of(frame, 0).with_command(UpdateCommand::MachPhys);
    let told = Operation::Update { update: MmuUpdate { slot, value: pfn }, subject: Subject::SELF };
    for size in SIZES {
        meter.row(format_args!("mmu_update/machphys"), size, || issuer.array(size, |_| told))?;
    }
    Ok(())
}

/// An L2 entry takes a table in, which validates it unless it is pinned, and gives it up; the size is how
/// many entries of the table are present.
fn attaching(issuer: &mut Issuer, meter: &mut Meter<'_>, frames: &Frames) -> Result<(), Error> {
    let (mut table, mut upper) = (take_page().ok_or(Error::NoPage)?, take_page().ok_or(Error::NoPage)?);
    upper.protect()?;
    issuer.one(&mmuext(MmuextOp::Pin { level: Level::L2, table: upper.frame() }))?;
    let (slot, pte) = (upper.slot(0), Pte::new(table.frame(), FLAGS | PteFlags::RW));
    for size in [0].into_iter().chain(SIZES) {
        for index in 0..size {
            table.write(index, frames.pte(Content::ReadOnly).bits())?;
        }
        table.protect()?;
        meter.row(format_args!("mmu_update/upper/attach-l1"), size, || {
            let cost = issuer.one(&update(slot, pte))?;
            issuer.one(&update(slot, Pte::EMPTY))?;
            Ok(cost)
        })?;
        meter.row(format_args!("mmu_update/upper/detach-l1"), size, || {
            issuer.one(&update(slot, pte))?;
            issuer.one(&update(slot, Pte::EMPTY))
        })?;
        table.unprotect()?;
    }
    table.protect()?;
    issuer.one(&mmuext(MmuextOp::Pin { level: Level::L1, table: table.frame() }))?;
    meter.row(format_args!("mmu_update/upper/attach-pinned-l1"), 1, || {
        issuer.one(&update(slot, Pte::EMPTY))?;
        issuer.one(&update(slot, pte))
    })?;
    meter.row(format_args!("mmu_update/upper/detach-pinned-l1"), 1, || {
        issuer.one(&update(slot, pte))?;
        issuer.one(&update(slot, Pte::EMPTY))
    })
}
