//! What a run found, as the process tells it.

use std::process::ExitCode;

/// Whether anything was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Clean,
    /// A rule was broken, an operation refused, memory is not what real Xen held, or an end state differs.
    Found,
}

impl Verdict {
    /// Clean or not.
    pub(crate) fn of(clean: bool) -> Self {
        if clean { Self::Clean } else { Self::Found }
    }

    /// The exit status of bad use and unreadable input.
    pub(crate) const UNUSABLE: u8 = 2;
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Clean => Self::SUCCESS,
            Verdict::Found => Self::from(1),
        }
    }
}
