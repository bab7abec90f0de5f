//! What an exploration finds.

use core::fmt;

use mock_xen::referee::{Rule, Violation};

/// Something that must not be.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Found {
    /// The referee found a rule broken.
    Violation(Violation),
    /// The design stopped on an assertion of its own, as Linux does with `BUG_ON`.
    Assertion {
        /// The rule it could not keep.
        rule: Rule,
        /// What it found.
        what: &'static str,
    },
    /// The counts do not add up (R17).
    Counts {
        /// Which, and by how much.
        what: &'static str,
    },
    /// An operation outside any region cost more than one step (R16).
    Costly {
        /// Steps it took.
        steps: u32,
    },
    /// Nobody can go on, and not everybody has come to the end.
    Deadlock,
    /// At the end an operation has not arrived, a refusal has not been told, or a region is still open.
    Unsettled {
        /// Operations that have not arrived.
        pending: usize,
        /// Refusals of which nobody was told.
        untold: usize,
        /// Tasks that are inside a region or pause.
        open: usize,
    },
    /// More choices on one way than the bound allows.
    TooLong {
        /// The bound.
        bound: usize,
    },
}

impl Found {
    /// The rule that is broken; `None` where a run came to no end.
    #[must_use]
    pub const fn rule(&self) -> Option<Rule> {
        match self {
            Self::Violation(violation) => Some(violation.rule),
            Self::Assertion { rule, .. } => Some(*rule),
            Self::Counts { .. } => Some(Rule::R17),
            Self::Costly { .. } => Some(Rule::R16),
            Self::Unsettled { .. } => Some(Rule::R2),
            Self::Deadlock | Self::TooLong { .. } => None,
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(violation) => violation.fmt(f),
            Self::Assertion { rule, what } => write!(f, "{rule} ({}): assertion: {what}", rule.title()),
            Self::Counts { what } => write!(f, "{} ({}): {what}", Rule::R17, Rule::R17.title()),
            Self::Costly { steps } => {
                write!(f, "{} ({}): {steps} steps for one operation", Rule::R16, Rule::R16.title())
            }
            Self::Deadlock => f.write_str("deadlock: nobody can go on, and not everybody has come to the end"),
            Self::Unsettled { pending, untold, open } => {
                write!(f, "{} ({}): ", Rule::R2, Rule::R2.title())?;
                write!(f, "at the end {pending} operations are pending, {untold} refusals untold, {open} tasks open")
            }
            Self::TooLong { bound } => write!(f, "more than {bound} choices on one way; raise the bound"),
        }
    }
}
