//! What can go wrong, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use xen_wire::{FrameError, Total};

/// The last lines of a console, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines(pub Vec<String>);

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// Why the lab has not everything it needs.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FindError {
    /// There is no QEMU.
    #[error("QEMU is missing: {reason}; run `apt-get install qemu-system-x86 seabios`, or name one in `XEN_LAB_QEMU`")]
    QemuMissing {
        /// What has been tried.
        reason: String,
    },
    /// There is no Xen.
    #[error(
        "Xen is missing: {reason}; put the package file of `{package}` version `{version}` into `{}`, or name a \
         hypervisor in `XEN_LAB_XEN`",
        directory.display()
    )]
    XenMissing {
        /// What has been tried.
        reason: String,
        /// The Debian package.
        package: &'static str,
        /// The version the project's facts were measured on.
        version: &'static str,
        /// Where a package file is looked for.
        directory: PathBuf,
    },
    /// The kernel does not build.
    #[error("the kernel in `{}` does not build:\n{output}", directory.display())]
    KernelBuild {
        /// The kernel's package.
        directory: PathBuf,
        /// What cargo said.
        output: String,
    },
    /// A file cannot be used.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done, with the path.
        doing: String,
        /// Why not.
        source: io::Error,
    },
}

/// Why a run has no answer. `received` is the part of the answer that had arrived intact.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The kernel did not say that it runs in time.
    #[error(
        "the kernel did not start within {limit:?}; on a busy or slow host raise the boot limit. The console's last \
         lines:{lines}"
    )]
    BootTimeout {
        /// The limit.
        limit: Duration,
        /// The console's last lines.
        lines: Lines,
    },
    /// The kernel did not answer in time.
    #[error(
        "the kernel did not finish within {limit:?} and sent {} bytes; either the command takes longer, then raise the \
         run limit, or it hangs. The console's last lines:{lines}",
        received.len()
    )]
    GuestHang {
        /// The limit.
        limit: Duration,
        /// What had arrived.
        received: Vec<u8>,
        /// The console's last lines.
        lines: Lines,
    },
    /// The kernel crashed, by its own account or by Xen's.
    #[error("the kernel crashed after {} bytes of its answer; it, or Xen, said why:{lines}", received.len())]
    GuestCrash {
        /// What had arrived.
        received: Vec<u8>,
        /// The console's last lines, the kernel's last words among them.
        lines: Lines,
    },
    /// Xen crashed.
    #[error("Xen crashed after {} bytes of the answer, which no guest may bring about; it said:{lines}", received.len())]
    HypervisorCrash {
        /// What had arrived.
        received: Vec<u8>,
        /// The console's last lines.
        lines: Lines,
    },
    /// The console ended before the answer did.
    #[error("the console ended after {} bytes of an unfinished answer; its last lines:{lines}", received.len())]
    Cut {
        /// What had arrived.
        received: Vec<u8>,
        /// The console's last lines.
        lines: Lines,
    },
    /// A piece of the answer is missing.
    #[error(
        "frame {found} of the answer came where frame {expected} was due; the console has lost output, run it again"
    )]
    Lost {
        /// The number due.
        expected: u32,
        /// The number that came.
        found: u32,
        /// What had arrived.
        received: Vec<u8>,
    },
    /// A piece of the answer is garbled.
    #[error("the console has garbled `{line}`: {error}; run it again")]
    BadChecksum {
        /// What is wrong with it.
        error: FrameError,
        /// The line.
        line: String,
        /// What had arrived.
        received: Vec<u8>,
    },
    /// All pieces are intact, but together they are not what the kernel sent.
    #[error("the answer has {} bytes with checksum {:#010x} and should be {said:?}; lab and kernel differ, rebuild them",
        found.len, found.checksum)]
    BadTotal {
        /// What the kernel says; `None` where that cannot be read.
        said: Option<Total>,
        /// What has arrived.
        found: Total,
    },
    /// The kernel runs and did not carry the command out.
    #[error("the kernel refused `{command}`: {reason}")]
    Refused {
        /// The command.
        command: String,
        /// The kernel's reason.
        reason: String,
    },
    /// QEMU ended by itself before the kernel ran.
    #[error("QEMU ended with {status}: {output}")]
    Qemu {
        /// Its exit status.
        status: String,
        /// What it said on its standard error.
        output: String,
    },
    /// A file or process cannot be used.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done, with the path.
        doing: String,
        /// Why not.
        source: io::Error,
    },
}

/// Says what was being done when an I/O operation failed.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, IoFailure>;
}

/// An I/O error and what was being done, on its way into either enum.
pub(crate) struct IoFailure {
    doing: String,
    source: io::Error,
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, IoFailure> {
        self.map_err(|source| IoFailure { doing: what(), source })
    }
}

impl From<IoFailure> for FindError {
    fn from(IoFailure { doing, source }: IoFailure) -> Self {
        Self::Io { doing, source }
    }
}

impl From<IoFailure> for RunError {
    fn from(IoFailure { doing, source }: IoFailure) -> Self {
        Self::Io { doing, source }
    }
}
