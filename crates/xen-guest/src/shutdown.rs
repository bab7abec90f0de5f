//! Ways for the domain to end.

use core::fmt::Arguments;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};

use crate::{calls, console, mask::mask};

/// Why the domain ends (`SHUTDOWN_*` of `xen/include/public/sched.h`). It is domain 0, so the machine
/// ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    /// The machine halts.
    PowerOff = 0,
    /// The machine reboots.
    Reboot = 1,
    /// The machine reboots after Xen has said that the domain crashed.
    Crash = 3,
}

/// Ends the domain.
pub fn shutdown(reason: Reason) -> ! {
    calls::sched_shutdown(reason as u32)
}

/// Ends the domain as crashed, with a panic's message as last words; [`kernel!`](crate::kernel) calls it.
pub fn end_by_panic(info: &PanicInfo<'_>) -> ! {
    crash(format_args!("{info}"))
}

/// Ends the domain as crashed, with last words. What goes wrong on the way is not reported any more.
pub(crate) fn crash(words: Arguments<'_>) -> ! {
    static DYING: AtomicBool = AtomicBool::new(false);
    core::mem::forget(mask());
    if !DYING.swap(true, SeqCst) {
        console::last_words(words);
        console::last_words(format_args!("{}", xen_wire::LAST_LINE));
    }
    shutdown(Reason::Crash)
}
