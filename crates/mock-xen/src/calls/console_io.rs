//! `console_io`: what is written is taken and goes nowhere, and nobody ever types.

use hypercall::Errno;

use super::{Args, Caller, Step};
use crate::MockXen;
use crate::memory::ArgumentSource;
use crate::schedule::PreemptPoint;

const WRITE: u32 = 0;
const READ: u32 = 1;
/// Bytes that Xen takes at once.
const PIECE: u32 = 127;

impl MockXen {
    /// Runs one pass. Xen looks for events between two pieces of output.
    ///
    /// `-EPERM` for an unprivileged domain, `-ENOSYS` for an unknown command, `-E2BIG` for a read of
    /// more than an answer can count, `-EFAULT` where the text cannot be read.
    pub(super) fn console_io<S: ArgumentSource>(&self, caller: &mut Caller<'_>, args: Args, source: &S) -> Step {
        let [command, count, buffer, ..] = args;
        let count = count as u32;
        if !self.machine.domain.is_privileged() {
            return Errno::PERM.into();
        }
        match command as u32 {
            WRITE => Self::console_write(caller, (buffer, count), args, source),
            READ if count > i32::MAX as u32 => Errno::TOO_BIG.into(),
            READ => Step::Return(0),
            _ => Errno::NOSYS.into(),
        }
    }

    fn console_write<S: ArgumentSource>(
        caller: &mut Caller<'_>,
        (mut buffer, mut left): (u64, u32),
        [.., d, e]: Args,
        source: &S,
    ) -> Step {
        let mut first = true;
        while left > 0 {
            if !first && caller.running.preempted(PreemptPoint::Console) {
                return Step::Again([WRITE.into(), left.into(), buffer, d, e]);
            }
            let piece = left.min(PIECE);
            if !source.may_start_at(buffer) || !source.can_read(buffer, piece.into()) {
                return Errno::FAULT.into();
            }
            (buffer, left, first) = (buffer.wrapping_add(piece.into()), left - piece, false);
        }
        Step::Return(0)
    }
}
