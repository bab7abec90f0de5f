//! References: taken with the checks they ask for, and given back with what they let go.
//!
//! A reference on a type always comes with a general one on the frame. Who loses a race against an
//! event keeps what it has and is asked again; see each function for which of the two references
//! that is.

use hypercall::{Errno, Level, Mfn};

use super::{Preempted, Stop, Unclaim, descriptors};
use crate::domain::FrameOwner;
use crate::frames::{Claim, Frame, FrameType};
use crate::machine::{Machine, TableWork};
use crate::planted::Fault;
use crate::running::{OldTable, Running};

/// Who takes references on a table, and so who keeps the general one while the table is partial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// An operation, which asks again from the start: nobody.
    Operation,
    /// An entry of a table that is being validated; `held` says that it has that reference already
    /// (`PTF_partial_set`).
    Entry {
        /// See above.
        held: bool,
    },
}

/// Tables that one may let go below it: three by levels, and a linear one each.
const DEEPEST: usize = 8;

impl Machine {
    /// Takes a reference on a type of a frame on which the caller holds a general one.
    ///
    /// # Errors
    /// `-EINVAL` where the frame is in use as something else; what its contents are refused with.
    /// The frame has no type then, or is partial and the running hypercall's to put away. Interrupted,
    /// it is partial.
    pub(crate) fn claim(&self, work: &mut TableWork<'_>, frame: &Frame, kind: FrameType) -> Result<(), Stop> {
        let (claim, stale) = frame.state.lock().claim(kind);
        if let Some(unused) = stale {
            self.tlbs.flush_stale(unused);
        }
        let resumed = match claim {
            Claim::Taken => return Ok(()),
            Claim::InUse => return Err(Errno::INVAL.into()),
            Claim::Validate => false,
            Claim::Resume => true,
        };
        let contents = self.validate(work, frame, kind);
        let mut state = frame.state.lock();
        match contents {
            Ok(()) => state.validated = true,
            Err(Stop::Refused(_)) if !work.running.puts_away(frame.mfn) => state.forget_type(),
            Err(_) => state.interrupt(),
        }
        if resumed {
            state.general_count -= 1;
        }
        contents
    }

    fn validate(&self, work: &mut TableWork<'_>, frame: &Frame, kind: FrameType) -> Result<(), Stop> {
        match kind {
            FrameType::Table(Level::L1) => Ok(self.validate_l1(frame)?),
            FrameType::Table(level) => self.promote(work, frame, level),
            FrameType::Descriptors => Ok(descriptors::validate(frame, self.planted)?),
            FrameType::None | FrameType::Writable => Ok(()),
        }
    }

    /// Takes both references on the guest's frame `mfn` as `kind`, a table or descriptors.
    ///
    /// # Errors
    /// `-EINVAL` where it is not the guest's; as [`Machine::claim`]. The general reference is kept
    /// by whoever the frame is partial for: the hypercall that puts it away, or the entry.
    pub(crate) fn acquire(
        &self,
        work: &mut TableWork<'_>,
        mfn: Mfn,
        kind: FrameType,
        hold: Hold,
    ) -> Result<&Frame, Stop> {
        let frame = self.frames.owned(mfn, FrameOwner::Domain)?;
        let held = hold == Hold::Entry { held: true };
        if !held {
            frame.hold();
        }
        let claimed = self.claim(work, frame, kind);
        let kept = match claimed {
            Ok(()) => return Ok(frame),
            Err(Stop::Preempted) => hold != Hold::Operation,
            Err(Stop::Refused(_)) => self.stays_held(work.running, frame, held),
        };
        if !kept {
            frame.unhold();
        }
        claimed.map(|()| frame)
    }

    /// Whether an entry that held a reference on `frame` still does after the frame was refused. It
    /// does while the frame is partial: as the table to be put away, or as one of another level on
    /// its way out.
    ///
    /// Xen 4.17 keeps such a reference in one more case and never gives it back: where a first
    /// entry's table was interrupted and then refused because of its own first entry. No guest
    /// can tell, and it would make counts depend on the schedule, so it is given back here.
    pub(super) fn stays_held(&self, running: &Running, frame: &Frame, held: bool) -> bool {
        running.puts_away(frame.mfn) || held && frame.state.lock().partial
    }

    /// Gives back a type reference; `parent` is the table whose entry it is for, `partial` says that
    /// it is the one of a partial frame, which may have been resumed since.
    ///
    /// # Errors
    /// Interrupted, the frame is partial.
    pub(crate) fn unclaim(
        &self,
        work: &mut TableWork<'_>,
        frame: &Frame,
        parent: Option<&Frame>,
        partial: bool,
    ) -> Result<(), Preempted> {
        let (unclaim, kind) = {
            let mut state = frame.state.lock();
            (state.unclaim(partial, self.tlbs.now()), state.kind)
        };
        match (unclaim, kind) {
            (Unclaim::NotPartial, _) => Ok(()),
            (Unclaim::LetGo { partial }, FrameType::Table(level)) => {
                let gone = self.let_go(work, frame, level, partial);
                self.forget_linear(frame, parent.filter(|_| !partial));
                gone
            }
            _ => {
                self.forget_linear(frame, parent);
                Ok(())
            }
        }
    }

    /// Lets a table's contents go, of which the last reference is being given back.
    ///
    /// # Panics
    /// If tables lead in a circle, which only a wrong rule lets happen: Xen's stack would overflow.
    fn let_go(
        &self,
        work: &mut TableWork<'_>,
        frame: &Frame,
        level: Level,
        was_partial: bool,
    ) -> Result<(), Preempted> {
        let gone = match level {
            Level::L1 => {
                self.release_l1(frame);
                Ok(())
            }
            level => {
                work.depth += 1;
                assert!(work.depth <= DEEPEST, "the tables below {} lead in a circle: a count is wrong", frame.mfn);
                let gone = self.demote(work, frame, level);
                work.depth -= 1;
                gone
            }
        };
        let mut state = frame.state.lock();
        match gone {
            Ok(()) => state.give(self.tlbs.now()),
            Err(Preempted) => state.interrupt(),
        }
        if was_partial {
            state.general_count -= 1;
        }
        gone
    }

    /// Gives both references back. Interrupted, the frame is the running hypercall's to put away.
    ///
    /// # Errors
    /// Says that it was interrupted.
    pub(crate) fn put(&self, work: &mut TableWork<'_>, frame: &Frame) -> Result<(), Preempted> {
        let given = self.unclaim(work, frame, None, false);
        match given {
            Ok(()) => frame.unhold(),
            Err(Preempted) => work.running.old_table = Some(OldTable::partial(frame.mfn)),
        }
        given
    }

    /// Gives both references back on frames of a kind that holds nothing.
    pub(crate) fn put_all(&self, work: &mut TableWork<'_>, mfns: &[Mfn]) {
        for frame in mfns.iter().filter_map(|mfn| self.frames.guest(*mfn)) {
            let _holds_nothing = self.put(work, frame);
        }
    }

    /// Puts away what an earlier pass has left.
    ///
    /// # Errors
    /// Interrupted, the rest is left again.
    pub(crate) fn put_old_table(&self, running: &mut Running) -> Result<(), Preempted> {
        let Some(old) = running.old_table.take() else { return Ok(()) };
        let mut work = self.work(running);
        let Some(frame) = self.frames.guest(old.frame) else { return Ok(()) };
        let put = self.unclaim(&mut work, frame, None, old.partial);
        match put {
            Ok(()) => frame.unhold(),
            Err(Preempted) => work.running.old_table = Some(OldTable::partial(old.frame)),
        }
        put
    }

    /// An entry of `parent` that led to `target` is gone: if it was linear, neither table counts it any
    /// more.
    pub(super) fn forget_linear(&self, target: &Frame, parent: Option<&Frame>) {
        let kind = target.state.lock().kind;
        if let Some(parent) = parent
            && parent.state.lock().kind == kind
            && !self.planted.has(Fault::LinearCountKept)
        {
            target.state.lock().linear += 1;
            parent.state.lock().linear -= 1;
        }
    }
}
