//! Refusals, in Xen's numbers.

use core::fmt;
use core::num::NonZeroU16;

/// Why a hypercall was refused: the positive number of `xen/include/public/errno.h`.
///
/// ```
/// use hypercall::Errno;
///
/// assert_eq!(Errno::from_return(-16), Err(Errno::BUSY));
/// assert_eq!((Errno::BUSY.as_return(), Errno::BUSY.to_string()), (-16, "-EBUSY".into()));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(NonZeroU16);

macro_rules! errnos {
    ($($(#[$doc:meta])* $name:ident = $value:literal $text:literal;)*) => {
        impl Errno {
            $($(#[$doc])* pub const $name: Self = Self(NonZeroU16::new($value).unwrap());)*

            /// The name in `errno.h`, where it has one here.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0.get() {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    /// Not permitted: a foreign subject, or an I/O frame the domain may not map.
    PERM = 1 "EPERM";
    /// No such entity, such as a vCPU that does not exist.
    NOENT = 2 "ENOENT";
    /// No such domain, or one's own number where `DomId::SELF` is meant.
    SRCH = 3 "ESRCH";
    /// Interrupted; internal to Xen, never a final answer.
    INTR = 4 "EINTR";
    /// Argument list too long.
    TOO_BIG = 7 "E2BIG";
    /// Out of memory.
    NOMEM = 12 "ENOMEM";
    /// Not allowed: a cache attribute on a special page.
    ACCES = 13 "EACCES";
    /// Memory the call points at cannot be read or written.
    FAULT = 14 "EFAULT";
    /// The frame is in use in a way that forbids this one, or belongs to somebody else.
    BUSY = 16 "EBUSY";
    /// Exists already.
    EXIST = 17 "EEXIST";
    /// Invalid argument.
    INVAL = 22 "EINVAL";
    /// No such hypercall or command.
    NOSYS = 38 "ENOSYS";
    /// To be restarted; internal to Xen, never a final answer.
    RESTART = 85 "ERESTART";
    /// Not supported by this hypervisor.
    OPNOTSUPP = 95 "EOPNOTSUPP";
}

impl Errno {
    /// The refusal with this positive number; `None` for 0.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Splits a hypercall's return value: negative numbers down to -4095 are refusals, as Xen's
    /// callers read them, everything else is an answer.
    ///
    /// # Errors
    /// The refusal that `value` encodes.
    pub const fn from_return(value: i64) -> Result<i64, Self> {
        if value >= 0 || value < -4095 {
            return Ok(value);
        }
        match Self::new(value.unsigned_abs() as u16) {
            Some(errno) => Err(errno),
            None => Ok(value),
        }
    }

    /// The positive number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0.get()
    }

    /// The value a hypercall returns for this refusal.
    #[must_use]
    pub const fn as_return(self) -> i64 {
        -(self.0.get() as i64)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "-{name}"),
            None => write!(f, "-{}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_return_value_is_split_and_put_together_again() {
        assert_eq!(Errno::from_return(0), Ok(0));
        assert_eq!(Errno::from_return(-22), Err(Errno::INVAL));
        assert_eq!(Errno::from_return(Errno::BUSY.as_return()), Err(Errno::BUSY));
        assert_eq!(Errno::from_return(-4096), Ok(-4096));
        assert_eq!(std::format!("{}", Errno::INVAL), "-EINVAL");
    }
}
