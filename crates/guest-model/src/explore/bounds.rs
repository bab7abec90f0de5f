//! How far an exploration looks.

use super::Choice;

/// How often each thing may happen on one way. Within these bounds everything is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Preemptions of a task that could go on.
    pub preemptions: u8,
    /// Interrupts.
    pub interrupts: u8,
    /// Moves of a task to another vCPU that begin while it could go on.
    pub migrations: u8,
    /// Changes of the hypervisor from a vCPU that could go on to another: how finely the vCPUs interleave.
    pub hypervisor: u8,
    /// All of these together.
    pub deviations: u8,
    /// Choices on one way: a way that is longer is a finding, because the model has no loops.
    pub choices: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { preemptions: 2, interrupts: 1, migrations: 1, hypervisor: 2, deviations: 3, choices: 2000 }
    }
}

impl Bounds {
    /// Whatever can happen may, but no way is endless.
    pub(super) const UNBOUNDED: Self = Self {
        preemptions: u8::MAX,
        interrupts: u8::MAX,
        migrations: u8::MAX,
        hypervisor: u8::MAX,
        deviations: u8::MAX,
        choices: 100_000,
    };

    /// Whether `choice`, made where its vCPU could go on, is within what is left.
    pub(super) const fn allow(&self, choice: Choice) -> bool {
        let left = match choice {
            Choice::Interrupt(_) => self.interrupts,
            Choice::Preempt(_) => self.preemptions,
            Choice::Migrate(_) => self.migrations,
            Choice::Hypervisor(_) => self.hypervisor,
            _ => return true,
        };
        left > 0 && self.deviations > 0
    }

    /// What is left after `choice`.
    pub(super) const fn after(self, choice: Choice) -> Self {
        let mut left = self;
        let place = match choice {
            Choice::Interrupt(_) => &mut left.interrupts,
            Choice::Preempt(_) => &mut left.preemptions,
            Choice::Migrate(_) => &mut left.migrations,
            Choice::Hypervisor(_) => &mut left.hypervisor,
            _ => return left,
        };
        *place -= 1;
        left.deviations -= 1;
        left
    }
}
