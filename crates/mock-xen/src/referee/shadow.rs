//! The depth that a library would have which counts regions by vCPU and not by task.
//!
//! It is what tells a leaked depth (R7) from another wrong answer: one that fits the vCPU's count and
//! not the task's was given for a predecessor's depth. The count survives any number of switches, as
//! it would in such a library, and is dropped as soon as an answer contradicts it.

use super::{
    Profile, Rule,
    task::{DEEPEST, Wrong},
};

/// The count of one vCPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Shadow {
    depth: u32,
}

/// A task's own depth before and after a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    pub(super) before: u32,
    pub(super) after: u32,
}

impl Shadow {
    /// Whether a library that leaks depth would be lazy here.
    pub(super) const fn is_lazy(self) -> bool {
        self.depth > 0
    }

    /// The violation of an answer to enter, under the rule that it breaks.
    pub(super) fn enter(&mut self, profile: Profile, own: Own, accepted: bool, wrong: Wrong) -> Wrong {
        let would = match profile {
            Profile::Strict => self.depth == 0,
            Profile::Nested => self.depth < DEEPEST,
        };
        self.follow(would == accepted, self.depth + u32::from(accepted), own, wrong)
    }

    /// The violation of an answer to leave, under the rule that it breaks.
    pub(super) fn left(&mut self, own: Own, accepted: bool, wrong: Wrong) -> Wrong {
        let next = self.depth.saturating_sub(u32::from(accepted));
        self.follow(self.is_lazy() == accepted, next, own, wrong)
    }

    fn follow(&mut self, fits: bool, next: u32, own: Own, wrong: Wrong) -> Wrong {
        let is_leaked = fits && self.depth != own.before;
        self.depth = if fits { next } else { own.after };
        wrong.map(|(rule, finding)| (if is_leaked && rule == Rule::R4 { Rule::R7 } else { rule }, finding))
    }

    /// Something was not deferred that such a library would have deferred.
    pub(super) const fn deny(&mut self) {
        self.depth = 0;
    }

    /// Regions of this depth were ended without a leave.
    pub(super) const fn end(&mut self, depth: u32) {
        self.depth = self.depth.saturating_sub(depth);
    }
}
