//! A task's regions, by the referee's own count.
//!
//! The count follows the contract and not the library's answers; an answer that differs from what
//! the contract asks for is the violation. Where the library has opened a region that it had to
//! refuse, the count follows it, so that one fault is reported once.

use std::hash::{Hash, Hasher};

use hypercall::VcpuId;

use super::{Context, Finding, Moment, Profile, RegionCall, Rule};

/// Depth at which a region can be entered no more (R4).
pub(super) const DEEPEST: u32 = 255;

/// What is known of one task.
#[derive(Clone, Debug, Default)]
pub(super) struct Task {
    pub(super) depth: u32,
    pauses: u32,
    /// Regions opened and not left within the present pause.
    in_pause: u32,
    /// Regions opened within a pause that has ended, not left there, and not reported.
    dangling: u32,
    /// Whether the library has ended its regions as leaked, and no other has been entered since.
    was_leaked: bool,
    /// Where it acted last.
    pub(super) vcpu: Option<VcpuId>,
    /// When the leave or flush under way began.
    sync_began: Option<Moment>,
}

/// A wrong answer of the library.
pub(super) type Wrong = Option<(Rule, Finding)>;

/// The violation of an answer, if it is one; `expected` is `None` where either answer will do.
fn judge(call: RegionCall, depth: u32, rule: Rule, expected: Option<bool>, accepted: bool) -> Wrong {
    if expected.is_none_or(|expected| expected == accepted) {
        return None;
    }
    let finding = if accepted { Finding::Accepted { call, depth } } else { Finding::Declined { call, depth } };
    Some((rule, finding))
}

/// Only a task may open, close or suspend a region: the rule that says so in other contexts.
const fn forbidden_in(context: Context) -> Option<Rule> {
    match context {
        Context::Task => None,
        Context::Interrupt => Some(Rule::R6),
        Context::Switch => Some(Rule::R4),
    }
}

impl Task {
    pub(super) const fn is_paused(&self) -> bool {
        self.pauses > 0
    }

    pub(super) const fn is_lazy(&self) -> bool {
        self.depth > 0 && !self.is_paused()
    }

    /// Whether something has been opened and not closed.
    pub(super) const fn is_open(&self) -> bool {
        self.depth > 0 || self.pauses > 0 || self.in_pause > 0 || self.dangling > 0
    }

    /// When the leave or flush under way began.
    pub(super) const fn sync_began(&self) -> Option<Moment> {
        self.sync_began
    }

    /// Feeds everything but when a leave or flush began.
    pub(super) fn digest(&self, hasher: &mut impl Hasher) {
        (self.depth, self.pauses, self.in_pause, self.dangling, self.was_leaked, self.vcpu).hash(hasher);
    }

    pub(super) fn sync_begins(&mut self, context: Context, now: Moment) {
        if context == Context::Task {
            self.sync_began = Some(now);
        }
    }

    /// When what ends `now` began. A handler's flush is over before the task it interrupted asks for
    /// more, so nothing is lost by taking its end for its beginning.
    pub(super) fn sync_ends(&mut self, context: Context, now: Moment) -> Moment {
        let began = if context == Context::Task { self.sync_began.take() } else { None };
        began.unwrap_or(now)
    }

    pub(super) fn enter(&mut self, profile: Profile, context: Context, accepted: bool) -> Wrong {
        let depth = self.depth;
        if let Some(rule) = forbidden_in(context) {
            return judge(RegionCall::Enter, depth, rule, Some(false), accepted);
        }
        if self.is_paused() {
            self.in_pause += u32::from(accepted);
            return None;
        }
        let expected = match profile {
            Profile::Strict => depth == 0,
            Profile::Nested => depth < DEEPEST,
        };
        self.depth += u32::from(accepted);
        self.was_leaked = false;
        judge(RegionCall::Enter, depth, Rule::R4, Some(expected), accepted)
    }

    pub(super) fn left(&mut self, context: Context, accepted: bool) -> Wrong {
        let depth = self.depth;
        if let Some(rule) = forbidden_in(context) {
            return judge(RegionCall::Leave, depth, rule, Some(false), accepted);
        }
        if self.is_paused() {
            self.in_pause = self.in_pause.saturating_sub(u32::from(accepted));
            return None;
        }
        if depth == 0 && core::mem::take(&mut self.was_leaked) {
            return Some((Rule::R2, Finding::FalseLeakReport));
        }
        let rule = if depth == 0 && self.dangling > 0 { Rule::R5 } else { Rule::R4 };
        self.depth = depth.saturating_sub(u32::from(accepted));
        if depth == 0 {
            self.dangling = self.dangling.saturating_sub(1);
        }
        judge(RegionCall::Leave, depth, rule, Some(depth > 0), accepted)
    }

    pub(super) fn paused(&mut self, context: Context, accepted: bool) -> Wrong {
        if let Some(rule) = forbidden_in(context) {
            return judge(RegionCall::Pause, self.depth, rule, Some(false), accepted);
        }
        // How deep pauses may nest is the library's choice above 255.
        let expected = if self.pauses < DEEPEST { Some(true) } else { None };
        self.pauses += u32::from(accepted);
        judge(RegionCall::Pause, self.depth, Rule::R5, expected, accepted)
    }

    /// A pause that ends with regions open in it ends all the same; the library may say so at once
    /// or refuse the leave that comes too late.
    pub(super) fn resumed(&mut self, context: Context, accepted: bool) -> Wrong {
        if let Some(rule) = forbidden_in(context) {
            return judge(RegionCall::Resume, self.depth, rule, Some(false), accepted);
        }
        let open = if self.pauses == 1 { core::mem::take(&mut self.in_pause) } else { 0 };
        let expected = if open > 0 { None } else { Some(self.pauses > 0) };
        if accepted {
            self.dangling += open;
        }
        self.pauses = self.pauses.saturating_sub(1);
        judge(RegionCall::Resume, self.depth, Rule::R5, expected, accepted)
    }

    /// The library has ended every region and pause as leaked. A region that is left afterwards was not
    /// leaked.
    pub(super) fn leaked(&mut self) -> Wrong {
        let was_open = self.is_open();
        self.was_leaked = was_open;
        self.end();
        if was_open { None } else { Some((Rule::R2, Finding::FalseLeakReport)) }
    }

    /// Ends every region and pause, and answers with the depth there was.
    pub(super) const fn end(&mut self) -> u32 {
        let depth = if self.depth == 0 { self.in_pause } else { self.depth };
        (self.depth, self.pauses, self.in_pause, self.dangling) = (0, 0, 0, 0);
        depth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: Context = Context::Task;

    #[test]
    fn strict_regions_do_not_nest() {
        let mut task = Task::default();
        assert!(task.enter(Profile::Strict, TASK, true).is_none());
        assert!(task.enter(Profile::Strict, TASK, false).is_none());
        assert!(matches!(
            task.enter(Profile::Strict, TASK, true),
            Some((Rule::R4, Finding::Accepted { depth: 1, .. }))
        ));
    }

    #[test]
    fn nested_regions_end_at_255() {
        let mut task = Task::default();
        assert!((0..255).all(|_| task.enter(Profile::Nested, TASK, true).is_none()));
        assert!(task.enter(Profile::Nested, TASK, false).is_none());
        assert!(matches!(task.enter(Profile::Nested, TASK, true), Some((Rule::R4, _))));
    }

    #[test]
    fn leave_without_enter_must_be_refused() {
        let mut task = Task::default();
        assert!(task.left(TASK, false).is_none());
        assert!(matches!(task.left(TASK, true), Some((Rule::R4, _))));
    }

    #[test]
    fn a_region_that_outlives_its_pause_must_be_noticed() {
        let scenario = |resume, leave| {
            let mut task = Task::default();
            task.paused(TASK, true);
            task.enter(Profile::Strict, TASK, true);
            (task.resumed(TASK, resume), task.left(TASK, leave))
        };
        assert!(matches!(scenario(true, true), (None, Some((Rule::R5, _)))));
        assert!(matches!(scenario(true, false), (None, None)));
        assert!(matches!(scenario(false, false), (None, None)));
        assert!(matches!(scenario(false, true), (None, Some((Rule::R4, _)))));
    }

    #[test]
    fn an_interrupt_opens_nothing() {
        let mut task = Task::default();
        assert!(matches!(task.enter(Profile::Nested, Context::Interrupt, true), Some((Rule::R6, _))));
        assert!(matches!(task.paused(Context::Interrupt, true), Some((Rule::R6, _))));
        assert!(task.paused(Context::Interrupt, false).is_none() && !task.is_paused());
    }
}
