//! Frame types: how a frame becomes a table or a descriptor page, and stops being one.
//!
//! A frame is claimed for a type. The first claim validates its contents: every entry takes the
//! references it stands for, tables below are claimed in turn, and entries are edited in place to
//! the form in which Xen stores them. The last claim given back lets all of that go again. Both
//! need `&mut Tables`; levels fall from call to call, so neither goes deeper than four.
//!
//! Xen spreads long validations over several passes of the hypercall and puts old tables away
//! after the operation that gave them up; with no event in between, only the extra pass can be
//! seen (`Tables::leave_old_table`), so here both happen at once.

pub(crate) mod descriptors;
mod flags;
mod pages;
mod upper;
pub(crate) mod xen_slots;

use std::sync::atomic::Ordering;

use hypercall::{Errno, Level, Mfn, Pte};

pub(crate) use flags::AccessedDirty;
pub(crate) use upper::guest_entries;

use crate::frames::{Claim, Frame, FrameOwner, FrameType, Frames, Tables};

/// What became of one operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applied {
    /// Xen's answer.
    pub(crate) result: Result<(), Errno>,
    /// Whether a table is left to be put away, for which Xen continues the hypercall.
    pub(crate) old_table: bool,
}

impl From<Result<(), Errno>> for Applied {
    fn from(result: Result<(), Errno>) -> Self {
        Self { result, old_table: false }
    }
}

impl Frames {
    /// Claims the guest's frame `mfn` for `kind`, a table or descriptors.
    ///
    /// # Errors
    /// `-EINVAL` where it is not the guest's or in use as something else; what its contents are
    /// refused with, after which it has no type.
    pub(crate) fn claim(&self, tables: &mut Tables, mfn: Mfn, kind: FrameType) -> Result<(), Errno> {
        let frame = self.owned(mfn, FrameOwner::Domain)?;
        let claim = frame.state.lock().claim(kind);
        match claim {
            Claim::Taken => return Ok(()),
            Claim::InUse => return Err(Errno::INVAL),
            Claim::ToValidate => {}
        }
        let contents = match kind {
            FrameType::Table(Level::L1) => self.validate_l1(frame),
            FrameType::Table(level) => self.validate_upper(tables, frame, level),
            FrameType::Descriptors => descriptors::validate(frame),
            FrameType::None | FrameType::Writable => Ok(()),
        };
        let mut state = frame.state.lock();
        match contents {
            Ok(()) => state.validated = true,
            Err(_) => state.abandon(),
        }
        contents
    }

    /// Gives a claim back.
    pub(crate) fn unclaim(&self, tables: &mut Tables, frame: &Frame) {
        let (last, kind) = {
            let mut state = frame.state.lock();
            (state.unclaim(), state.kind)
        };
        match kind {
            FrameType::Table(Level::L1) if last => self.release_l1(frame),
            FrameType::Table(level) if last => self.release_upper(tables, frame, level),
            _ => {}
        }
    }

    /// Gives back one claim on each of `mfns`.
    pub(crate) fn unclaim_all(&self, tables: &mut Tables, mfns: &[Mfn]) {
        mfns.iter().filter_map(|mfn| self.guest(*mfn)).for_each(|frame| self.unclaim(tables, frame));
    }

    /// Does something that may change which frames are tables.
    pub(crate) fn with_tables(&self, operation: impl FnOnce(&mut Tables) -> Result<(), Errno>) -> Applied {
        let mut tables = self.tables.write();
        let result = operation(&mut tables);
        Applied { result, old_table: tables.take_old_table() }
    }

    /// Stores `value` as word `index` of the guest's frame `mfn`, with the checks its type asks for:
    /// all of them for a table in use, none for a frame that is or may become writable.
    ///
    /// `frames` is whose frame an L1 entry may map.
    ///
    /// # Errors
    /// `-EINVAL` where the frame is not the guest's or holds descriptors, and for an entry of level
    /// 2 to 4 about another domain's frames; what the entry is refused with.
    pub(crate) fn write_slot(
        &self,
        (mfn, index): (Mfn, usize),
        value: u64,
        merge: AccessedDirty,
        frames: FrameOwner,
    ) -> Applied {
        let frame = match self.owned(mfn, FrameOwner::Domain) {
            Ok(frame) => frame,
            Err(errno) => return Err(errno).into(),
        };
        let asked = Pte::from_bits(value);
        let shared = self.tables.read();
        let in_use = frame.state.lock().table();
        match in_use {
            Some(Level::L1) => {
                return self.update_l1(&shared, (frame, index), asked, merge, frames).map(drop).into();
            }
            Some(_) => drop(shared),
            None => return frame.store_plain(index, value).into(),
        }
        self.with_tables(|tables| {
            let in_use = frame.state.lock().table();
            match in_use {
                Some(Level::L1) => self.update_l1(tables, (frame, index), asked, merge, frames).map(drop),
                Some(_) if frames != FrameOwner::Domain => Err(Errno::INVAL),
                Some(level) => self.update_upper(tables, (frame, index), level, asked, merge),
                None => frame.store_plain(index, value),
            }
        })
    }
}

impl Frame {
    /// Every entry with its index.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (usize, Pte)> {
        (0..hypercall::ENTRIES_PER_TABLE).map(|index| (index, Pte::from_bits(self.load(index))))
    }

    /// The store Xen makes into a frame that is no table: the frame is claimed as writable while
    /// it lasts.
    ///
    /// # Errors
    /// `-EINVAL` where it is in use as something that must not be written.
    pub(crate) fn store_plain(&self, index: usize, value: u64) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if state.claim(FrameType::Writable) != Claim::Taken {
            return Err(Errno::INVAL);
        }
        self.word(index).store(value, Ordering::SeqCst);
        state.unclaim();
        Ok(())
    }
}
