//! What real Xen would do and this mock does not.
//!
//! Such a call is never answered with a guess: it returns minus a number above every one of
//! `errno.h` (4001 and up, which [`hypercall::Errno::from_return`] takes for a refusal), and the mock writes
//! down a [`NotModelledEvent`], which a test or a tool reads with `MockXen::not_modelled`.

use std::fmt;

use hypercall::{Errno, RawCall, VcpuId};

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u16)]
pub enum NotModelled {
    /// A hypercall, or a command of one, that Xen has and the mock has not. Among them are `iret`,
    /// which needs the guest's stack pointer, and what would stop the machine.
    Hypercall = 4001,
    /// Arguments in a frame that is no memory: on the machine they would be a device's.
    DeviceMemory = 4002,
    /// A vCPU that is to start in user mode, or with a user base pointer.
    UserContext = 4003,
}

impl NotModelled {
    const ALL: [Self; 3] = [Self::Hypercall, Self::DeviceMemory, Self::UserContext];

    /// The refusal by which it is answered; no Xen uses its number.
    #[must_use]
    pub const fn errno(self) -> Errno {
        Errno::new(self as u16).expect("every number here is above 0")
    }

    /// What a refusal stands for, if it is one of these.
    #[must_use]
    pub fn from_errno(errno: Errno) -> Option<Self> {
        Self::ALL.into_iter().find(|what| what.errno() == errno)
    }
}

impl fmt::Display for NotModelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hypercall => "a hypercall outside the page-table subset",
            Self::DeviceMemory => "the memory of a device",
            Self::UserContext => "a vCPU in user mode",
        })
    }
}

/// A call that met something not modelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotModelledEvent {
    /// What.
    pub what: NotModelled,
    /// The call with its arguments; inside a multicall, the entry's.
    pub call: RawCall,
    /// Who called.
    pub vcpu: VcpuId,
}

impl fmt::Display for NotModelledEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, call, vcpu } = self;
        write!(
            f,
            "{vcpu}: hypercall {} with {:#x?} needs {what}, which the mock does not model",
            call.number, call.args
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_numbers_are_refusals_that_no_xen_gives() {
        for what in NotModelled::ALL {
            assert_eq!(NotModelled::from_errno(what.errno()), Some(what));
            assert_eq!(Errno::from_return(what.errno().as_return()), Err(what.errno()));
            assert_eq!(what.errno().name(), None);
        }
        assert_eq!(NotModelled::from_errno(Errno::INVAL), None);
    }
}
