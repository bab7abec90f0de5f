//! `sched_op`, as far as a vCPU that goes on running needs it.

use hypercall::Errno;

use super::{Args, Caller};
use crate::MockXen;
use crate::not_modelled::NotModelled;

const YIELD: u32 = 0;
/// Commands from here on are unknown. Those below wait for events, stop the machine, or need what a
/// hypervisor has beside this guest.
const COMMANDS: u32 = 8;

impl MockXen {
    /// Runs the call. A vCPU that yields lets Xen schedule before it goes on, which interrupts a
    /// multicall behind the entry.
    ///
    /// # Errors
    /// `-ENOSYS` for an unknown command; the other commands are not modelled.
    pub(super) fn sched_op(caller: &mut Caller<'_>, [command, ..]: Args) -> Result<(), Errno> {
        match command as u32 {
            YIELD => {
                caller.running.raise_softirq();
                Ok(())
            }
            known if known < COMMANDS => Err(NotModelled::Hypercall.errno()),
            _ => Err(Errno::NOSYS),
        }
    }
}
