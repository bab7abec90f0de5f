//! Pins, and operations on whole frames.

use hypercall::{Errno, Level, Mfn};

use crate::MockXen;
use crate::domain::FrameOwner;
use crate::frames::{Frame, FrameType};
use crate::machine::TableWork;
use crate::planted::Fault;
use crate::running::{OldTable, Running};
use crate::validate::Stop;

impl MockXen {
    /// Pins a frame of `owner` as a table of `level`: one reference of each kind, once per frame.
    ///
    /// # Errors
    /// `-EINVAL` where the frame is not `owner`'s, in use as something else, or pinned already; what
    /// its entries are refused with; interrupted.
    pub(crate) fn pin(&self, running: &mut Running, table: Mfn, level: Level, owner: FrameOwner) -> Result<(), Stop> {
        let frame = self.machine.frames.owned(table, owner)?;
        let mut work = self.machine.work(running);
        frame.hold();
        if let Err(stop) = self.machine.claim(&mut work, frame, FrameType::Table(level)) {
            if !work.running.puts_away(table) {
                frame.unhold();
            }
            return Err(stop);
        }
        let pinned = std::mem::replace(&mut frame.state.lock().pinned, true);
        if pinned && !self.planted(Fault::PinTwiceAccepted) {
            self.drop_second_pin(&mut work, frame, level);
            return Err(Errno::INVAL.into());
        }
        self.miscount(Fault::PinUncounted, frame);
        Ok(())
    }

    /// Gives back what a pin took of a frame that had one: an L1's at once, any other's in a pass that
    /// follows.
    fn drop_second_pin(&self, work: &mut TableWork<'_>, frame: &Frame, level: Level) {
        if level == Level::L1 {
            let _held_by_the_first_pin = self.machine.put(work, frame);
        } else {
            work.running.old_table = Some(OldTable::given_up(frame.mfn));
        }
    }

    /// Takes a pin away, of whatever level. Where letting the table go is interrupted, that is left to
    /// the passes that follow.
    ///
    /// # Errors
    /// `-EINVAL` where the frame is not `owner`'s or has no pin.
    pub(super) fn unpin(&self, running: &mut Running, table: Mfn, owner: FrameOwner) -> Result<(), Stop> {
        let frame = self.machine.frames.owned(table, owner)?;
        let mut work = self.machine.work(running);
        let pinned = std::mem::replace(&mut frame.state.lock().pinned, false);
        if !pinned {
            return if self.planted(Fault::UnpinUnpinnedAccepted) { Ok(()) } else { Err(Errno::INVAL.into()) };
        }
        if !self.planted(Fault::UnpinKept) {
            let _left_if_interrupted = self.machine.put(&mut work, frame);
        }
        Ok(())
    }

    /// Copies the frame `source`, or zeros where there is none, into a frame that is or may become
    /// writable.
    ///
    /// # Errors
    /// `-EINVAL` where one of the frames is not `owner`'s or the destination is in use as something
    /// that must not be written.
    pub(super) fn fill_page(&self, destination: Mfn, source: Option<Mfn>, owner: FrameOwner) -> Result<(), Errno> {
        let source = source.map(|source| self.machine.frames.owned(source, owner)).transpose()?;
        let frame = self.machine.frames.owned(destination, owner)?;
        let _tables = self.machine.tables();
        if self.refuses_fill(frame, source) {
            return Err(Errno::INVAL);
        }
        let contents = source.map(Frame::contents).unwrap_or_else(|| Box::new([0; hypercall::ENTRIES_PER_TABLE]));
        self.machine.while_writable(frame, || {
            contents.iter().enumerate().for_each(|(index, word)| frame.store(index, *word));
        })
    }

    /// What planted faults refuse.
    fn refuses_fill(&self, frame: &Frame, source: Option<&Frame>) -> bool {
        let table = |frame: &Frame| frame.state.lock().table().is_some();
        match source {
            Some(source) => self.planted(Fault::CopyFromTableRefused) && table(source),
            None => self.planted(Fault::ClearReadOnlyRefused) && frame.state.lock().type_count == 0,
        }
    }
}
