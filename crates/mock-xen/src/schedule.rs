//! When Xen finds an event pending in the middle of a hypercall.
//!
//! Xen looks at certain points ([`PreemptPoint`]) whether the vCPU has something else to do, and if
//! so leaves the hypercall for a while: what is done stays done, the arguments are rewritten to
//! what is left, and the guest's `syscall` instruction is executed again after its event handler
//! has run. A [`Schedule`] says at each point whether that is so. The end of a call does not depend
//! on it: results, done counts, memory and counts are the same under every schedule. Only the
//! argument registers, the arguments of multicall entries, and what can be seen in between are not.

use std::collections::VecDeque;

use hypercall::{Level, RawCall};

/// Where Xen looks whether an event is pending (`hypercall_preempt_check`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PreemptPoint {
    /// In front of every operation of an array but the first of a pass.
    Operation,
    /// In front of every entry of a multicall but the first of a pass.
    Call,
    /// In front of every entry of a table of this level, 2 or 3, that is being validated, but the
    /// first of a pass; absent ones count.
    Validate(Level),
    /// Behind every entry but the last of a table of this level, 2 or 3, that is let go.
    Release(Level),
    /// Between two pieces of console output.
    Console,
}

/// Decides for one vCPU when an event is pending.
///
/// ```
/// use hypercall::VcpuId;
/// use mock_xen::{PreemptPoint, referee::Profile, testing::TestGuest};
///
/// // An event in front of every second operation of an array; nowhere else.
/// let (guest, mut looks) = (TestGuest::new(Profile::Strict), 0);
/// guest.xen().set_schedule(VcpuId::new(0), move |point| {
///     looks += 1;
///     point == PreemptPoint::Operation && looks % 2 == 0
/// });
/// ```
pub trait Schedule: Send {
    /// Whether one is pending at `point`.
    fn pending(&mut self, point: PreemptPoint) -> bool;

    /// The call was left and will be entered again as `call`: the guest's event handler has run.
    fn continued(&mut self, call: &RawCall) {
        let _nothing_changes = call;
    }
}

/// A closure that never hears of continuations.
impl<F: FnMut(PreemptPoint) -> bool + Send> Schedule for F {
    fn pending(&mut self, point: PreemptPoint) -> bool {
        self(point)
    }
}

/// An event is always pending: a call does the least it can between two looks. On real Xen a guest
/// does this by making an event pending again before it lets a call go on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Step;

impl Schedule for Step {
    fn pending(&mut self, _point: PreemptPoint) -> bool {
        true
    }
}

/// One event, pending until a call was left for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Once {
    handled: bool,
}

impl Schedule for Once {
    fn pending(&mut self, _point: PreemptPoint) -> bool {
        !self.handled
    }

    fn continued(&mut self, _call: &RawCall) {
        self.handled = true;
    }
}

/// An event now and then: one look in `one_in` finds one, which ones follows from a seed.
#[derive(Clone, Copy, Debug)]
pub struct Seeded {
    state: u64,
    one_in: u64,
}

impl Seeded {
    /// The schedule of this seed; `one_in` is at least 1.
    #[must_use]
    pub const fn new(seed: u64, one_in: u64) -> Self {
        Self { state: seed, one_in }
    }
}

impl Schedule for Seeded {
    /// By the generator SplitMix64, whose every seed is as good as any other.
    fn pending(&mut self, _point: PreemptPoint) -> bool {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31).is_multiple_of(self.one_in.max(1))
    }
}

/// What was decided elsewhere, look by look; never behind its end.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    looks: VecDeque<bool>,
}

impl Recorded {
    /// The schedule with these answers.
    #[must_use]
    pub fn new(looks: impl IntoIterator<Item = bool>) -> Self {
        Self { looks: looks.into_iter().collect() }
    }
}

impl Schedule for Recorded {
    fn pending(&mut self, _point: PreemptPoint) -> bool {
        self.looks.pop_front().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_its_schedule_and_its_rate() {
        let run = |seed| {
            let mut schedule = Seeded::new(seed, 4);
            (0..4000).map(|_| schedule.pending(PreemptPoint::Operation)).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        let pending = run(7).into_iter().filter(|pending| *pending).count();
        assert!((900..1100).contains(&pending), "{pending}");
    }
}
