//! The clock, and the rows of the answer.

use core::fmt::{Arguments, Write as _};

use xen_guest::timer::tsc;

use crate::{error::Error, reply::Reply};

/// Times each row is measured. Xen's own timer comes in between now and then, never so often.
const REPETITIONS: usize = 5;

/// Ticks that `step` takes, with the reading of the counter.
pub(super) fn ticks<E: Into<Error>>(step: impl FnOnce() -> Result<(), E>) -> Result<u64, Error> {
    let before = tsc();
    let done = step();
    let after = tsc();
    done.map_err(Into::into)?;
    Ok(after - before)
}

/// Writes rows.
pub(super) struct Meter<'r> {
    reply: &'r mut Reply,
    /// What nothing takes.
    empty: u64,
}

impl<'r> Meter<'r> {
    pub(super) fn new(reply: &'r mut Reply) -> Self {
        let empty = lowest(|| ticks(|| Ok::<(), Error>(()))).unwrap_or(0);
        Self { reply, empty }
    }

    /// Writes the row of `size` operations, of which `once` measures one repetition by [`ticks`].
    pub(super) fn row(
        &mut self,
        name: Arguments<'_>,
        size: usize,
        once: impl FnMut() -> Result<u64, Error>,
    ) -> Result<(), Error> {
        let cost = lowest(once)? - self.empty;
        let _ = writeln!(self.reply, "{name} {size} {cost}");
        Ok(())
    }
}

fn lowest(mut once: impl FnMut() -> Result<u64, Error>) -> Result<u64, Error> {
    (0..REPETITIONS).try_fold(u64::MAX, |lowest, _| Ok(lowest.min(once()?)))
}
