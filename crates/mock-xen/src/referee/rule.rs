//! The contract's rules, by number.

use core::fmt;

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $title:literal,)*) => {
        /// A rule of the contract of lazy regions.
        ///
        /// The referee reports R2 to R8 and R10 to R15, and R1 for an operation that waits although
        /// nothing allows it to. R9 has no violation of its own: it says that the others hold for an
        /// interruption between any two steps. R16 is about cost, R17 about the library's own counts, R18
        /// about switching observers; none of them shows in what is asked and what arrives, so they
        /// are not the referee's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $($(#[$doc])* $name,)*
        }

        impl Rule {
            /// The rule in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $title,)*
                }
            }
        }
    };
}

rules! {
    /// Operations of a region may wait until the next sync point; no other may.
    R1 = "deferral is allowed inside a region only",
    /// When leave returns, everything asked in the region is effective or reported.
    R2 = "leave flushes",
    /// One vCPU's operations become effective in the order asked.
    R3 = "order",
    /// How enter and leave pair up under the profile.
    R4 = "nesting",
    /// Pause flushes and makes operations immediate.
    R5 = "pause",
    /// Never lazy in interrupt context.
    R6 = "interrupts",
    /// Nothing waits on a vCPU when another task runs there; depth is the task's own.
    R7 = "preemption",
    /// A task that moves leaves nothing on the old vCPU.
    R8 = "migration",
    /// No window between two internal steps.
    R9 = "no internal window",
    /// What is not deferred never overtakes what is queued.
    R10 = "no overtaking",
    /// The accessor sees queued values; nobody reads past it.
    R11 = "reads",
    /// TLB flushes keep their side of every write.
    R12 = "TLB",
    /// Every operation is applied exactly once.
    R13 = "exactly once",
    /// Every failure is named, every operation behind it accounted for.
    R14 = "failure",
    /// Operations issued with upcalls masked are bounded in number.
    R15 = "bounded latency",
    /// Cheap outside a region.
    R16 = "cheap when off",
    /// The library's counts add up.
    R17 = "accounting",
    /// Observers change nothing.
    R18 = "inert observers",
}

impl Rule {
    /// 1 to 18.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "R{}", self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_shows_its_number() {
        assert_eq!((Rule::R1.to_string(), Rule::R18.to_string()), ("R1".into(), "R18".into()));
        assert_eq!(Rule::R12.title(), "TLB");
    }
}
