//! Frame types: how a frame becomes a table or a descriptor page, and stops being one.
//!
//! The first reference on a type validates the frame's contents ([`promote`]): every entry takes the
//! references it stands for, tables below are claimed in turn, and entries are edited in place to
//! the form in which Xen stores them. The last one given back lets all of that go again
//! ([`demote`]). Both need a [`TableWork`](crate::machine::TableWork); levels fall from call to call, and a linear entry leads
//! to a table without linear entries, so neither goes deeper than five.
//!
//! Both can be interrupted between two entries of an L3 or L2 ([`Stop::Preempted`]). What is half
//! done is kept in the frame's state and goes on with the next claim, or is undone by whoever holds
//! it. A table that a pass gives up is not put away by the operation that gave it up but left for
//! the passes that follow ([`crate::running::OldTable`]).

mod children;
mod claims;
pub(crate) mod demote;
pub(crate) mod descriptors;
mod flags;
mod pages;
pub(crate) mod promote;
mod upper;
pub(crate) mod xen_slots;

use hypercall::{Errno, Level, Mfn, Pte};

pub(crate) use claims::Hold;
pub(crate) use flags::AccessedDirty;
pub(crate) use pages::Replaced;

use crate::domain::FrameOwner;
use crate::frames::{Claim, Frame, FrameType, Unclaim};
use crate::machine::Machine;
use crate::planted::Fault;
use crate::running::Running;

/// An event is pending, and what was being done goes on in a later pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Preempted;

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Xen refuses it.
    Refused(Errno),
    /// It is to be asked for again, with the same arguments.
    Preempted,
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Refused(errno)
    }
}

impl From<Preempted> for Stop {
    fn from(_: Preempted) -> Self {
        Self::Preempted
    }
}

/// What became of one operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applied {
    pub(crate) result: Result<(), Stop>,
    /// Whether an entry of an upper table has changed, for which Xen flushes every TLB at the end of
    /// the pass.
    pub(crate) upper: bool,
    /// What an update of an L1 entry has replaced.
    pub(crate) replaced: Option<Replaced>,
}

impl Applied {
    /// Of an update of an L1 entry.
    fn of_l1(result: Result<Replaced, Errno>) -> Self {
        Self { replaced: result.ok(), ..result.map(drop).into() }
    }
}

impl From<Result<(), Stop>> for Applied {
    fn from(result: Result<(), Stop>) -> Self {
        Self { result, upper: false, replaced: None }
    }
}

impl From<Result<(), Errno>> for Applied {
    fn from(result: Result<(), Errno>) -> Self {
        result.map_err(Stop::from).into()
    }
}

impl Machine {
    /// Stores `value` as word `index` of the guest's frame `mfn`, with the checks its type asks for:
    /// all of them for a table in use, none for a frame that is or may become writable.
    ///
    /// `frames` is whose frame an L1 entry may map.
    ///
    /// Refused with `-EINVAL` where the frame is not the guest's, partial, or holds descriptors, and
    /// for an entry of level 2 to 4 about another domain's frames; with what the entry is refused
    /// with.
    pub(crate) fn write_slot(
        &self,
        running: &mut Running,
        (mfn, index): (Mfn, usize),
        value: u64,
        merge: AccessedDirty,
        frames: FrameOwner,
    ) -> Applied {
        let frame = match self.frames.owned(mfn, FrameOwner::Domain) {
            Ok(frame) => frame,
            Err(errno) => return Err(errno).into(),
        };
        let place = (frame, index);
        let asked = Pte::from_bits(value);
        let tables = self.tables();
        let in_use = frame.state.lock().table();
        match in_use {
            Some(Level::L1) => return Applied::of_l1(self.update_l1(&tables, place, asked, merge, frames)),
            Some(_) => drop(tables),
            None => return self.store_plain(place, value, merge).into(),
        }
        let mut work = self.work(running);
        let in_use = frame.state.lock().table();
        match in_use {
            Some(Level::L1) => Applied::of_l1(self.update_l1(&work.tables, place, asked, merge, frames)),
            Some(_) if frames != FrameOwner::Domain => Err(Errno::INVAL).into(),
            Some(level) => {
                let result = self.update_upper(&mut work, place, level, asked, merge);
                Applied { result, upper: result.is_ok(), replaced: None }
            }
            None => self.store_plain(place, value, merge).into(),
        }
    }

    /// The store Xen makes into a frame that is no table: the frame is claimed as writable while
    /// it lasts, and nothing is merged.
    ///
    /// # Errors
    /// `-EINVAL` where it is in use as something that must not be written.
    fn store_plain(&self, (frame, index): (&Frame, usize), value: u64, merge: AccessedDirty) -> Result<(), Errno> {
        let value = match merge {
            AccessedDirty::Preserve if self.planted.has(Fault::PlainPreserved) => {
                merge.merge(Pte::from_bits(frame.load(index)), Pte::from_bits(value)).bits()
            }
            _ => value,
        };
        self.while_writable(frame, || frame.store(index, value))
    }

    /// Does something to the guest's frame `frame` that only a writable frame allows.
    ///
    /// # Errors
    /// `-EINVAL` where it is in use as something that must not be written.
    pub(crate) fn while_writable(&self, frame: &Frame, act: impl FnOnce()) -> Result<(), Errno> {
        let (claim, stale) = frame.state.lock().claim(FrameType::Writable);
        if claim != Claim::Taken {
            return Err(Errno::INVAL);
        }
        if let Some(unused) = stale {
            self.tlbs.flush_stale(unused);
        }
        act();
        let _given = frame.state.lock().unclaim(false, self.tlbs.now());
        Ok(())
    }
}
