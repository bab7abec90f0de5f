//! Ways of doing lazy regions on these architectures: this library's, and those that were given up.

use hypercall::{InterruptContext, TaskContext};
use mock_xen::referee::Rule;
use pv_mmu::arch::{Deferral, Lazy, Machine as _, Preemption};
use pv_mmu::{Context, Profile, TaskState};

use crate::{cpu::Cpu, world::Arch};

/// A design.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Design {
    /// This library.
    PvMmu,
    /// A mode of the vCPU, which a switch does not look at: sparc64 until 2025, powerpc64 until 2023 but for its switch
    /// code.
    VcpuMode,
    /// The same with preemption off in a region; an inner leave ends it.
    VcpuModePinned,
    /// A flag of the task, which handlers take for theirs and an inner leave clears: arm64 at first.
    TaskFlag,
    /// This library, broken on purpose: what each judge is there for.
    Planted(Plant),
}

/// How it is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A leave hands nothing over.
    KeepsAtLeave,
    /// A pause hands nothing over.
    KeepsAtPause,
    /// A flush does nothing.
    KeepsAtFlush,
    /// Nobody is told of a refusal.
    TellsNobody,
    /// Preemption is never enabled again.
    NeverEnables,
    /// A step on what waits begins another.
    Nests,
}

impl Design {
    /// All that were meant to be right.
    pub const ALL: [Self; 4] = [Self::PvMmu, Self::VcpuMode, Self::VcpuModePinned, Self::TaskFlag];

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PvMmu => "pv-mmu",
            Self::VcpuMode => "vcpu-mode",
            Self::VcpuModePinned => "vcpu-mode-pinned",
            Self::TaskFlag => "task-flag",
            Self::Planted(_) => "planted",
        }
    }

    /// Whether it is this library, broken or not.
    pub(crate) const fn is_library(self) -> bool {
        matches!(self, Self::PvMmu | Self::Planted(_))
    }
}

const TASK: &TaskContext = &TaskContext::in_user_space();
const INTERRUPT: &InterruptContext = &InterruptContext::in_user_space();

fn lazy<'r, A: Arch>(cpu: &'r Cpu<'_, A>, task: &'r mut TaskState) -> Lazy<'r, Cpu<'r, A>> {
    Lazy::new(cpu, task, Context::Task(TASK))
}

impl Design {
    pub(crate) fn enter<A: Arch>(self, cpu: Cpu<'_, A>, task: &mut TaskState) {
        match self {
            Self::PvMmu | Self::Planted(_) => {
                if let Err(error) = lazy(&cpu, task).enter() {
                    cpu.world.note(Rule::R4, format!("a region was not entered: {error}"));
                }
            }
            Self::VcpuModePinned => {
                cpu.preempt_disable();
                cpu.vcpu().active.set(true);
            }
            Self::VcpuMode => {
                cpu.point("mode on");
                cpu.vcpu().active.set(true);
            }
            Self::TaskFlag => cpu.task().flag.set(true),
        }
    }

    pub(crate) fn leave<A: Arch>(self, cpu: Cpu<'_, A>, task: &mut TaskState) {
        match self {
            Self::Planted(Plant::KeepsAtLeave) => cpu.keeping(|| _ = lazy(&cpu, task).leave()),
            // What was refused has been told to the machine.
            Self::PvMmu | Self::Planted(_) => _ = lazy(&cpu, task).leave(),
            Self::VcpuMode | Self::VcpuModePinned => {
                self.flush(cpu, task);
                cpu.vcpu().active.set(false);
                if self == Self::VcpuModePinned {
                    cpu.preempt_enable();
                }
            }
            Self::TaskFlag => {
                cpu.task().flag.set(false);
                self.flush(cpu, task);
            }
        }
    }

    pub(crate) fn pause<A: Arch>(self, cpu: Cpu<'_, A>, task: &mut TaskState) {
        match self {
            Self::Planted(Plant::KeepsAtPause) => cpu.keeping(|| _ = lazy(&cpu, task).pause()),
            Self::PvMmu | Self::Planted(_) => _ = lazy(&cpu, task).pause(),
            _ => self.leave(cpu, task),
        }
    }

    pub(crate) fn resume<A: Arch>(self, cpu: Cpu<'_, A>, task: &mut TaskState) {
        match self {
            Self::PvMmu | Self::Planted(_) => _ = lazy(&cpu, task).resume(),
            _ => self.enter(cpu, task),
        }
    }

    pub(crate) fn flush<A: Arch>(self, cpu: Cpu<'_, A>, task: &mut TaskState) {
        let waiting = match self {
            Self::Planted(Plant::KeepsAtFlush) => return,
            Self::Planted(Plant::Nests) => return cpu.with_deferral(|_| cpu.with_deferral(|_| ())),
            Self::PvMmu | Self::Planted(_) => {
                _ = lazy(&cpu, task).flush();
                return;
            }
            Self::VcpuMode | Self::VcpuModePinned => &cpu.vcpu().waiting,
            Self::TaskFlag => &cpu.task().waiting,
        };
        cpu.point("flush");
        let mut taken = waiting.take();
        taken.flush(&cpu, &mut |refusal| cpu.refused(refusal));
    }

    pub(crate) fn after_write<A: Arch>(self, cpu: Cpu<'_, A>, task: &mut TaskState, owed: Option<A::Work>) {
        let Some(work) = owed else { return };
        match self {
            Self::PvMmu | Self::Planted(_) => _ = lazy(&cpu, task).after_write(work),
            _ => self.by_mode(cpu, work),
        }
    }

    pub(crate) fn after_write_in_interrupt<A: Arch>(self, cpu: Cpu<'_, A>, owed: Option<A::Work>) {
        let Some(work) = owed else { return };
        match self {
            Self::PvMmu | Self::Planted(_) => {
                // Whose task it is does not matter to a handler.
                let mut interrupted = TaskState::new();
                _ = Lazy::new(&cpu, &mut interrupted, Context::Interrupt(INTERRUPT)).after_write(work);
            }
            _ => self.by_mode(cpu, work),
        }
    }

    /// Later if the mode says so, whoever asks.
    fn by_mode<A: Arch>(self, cpu: Cpu<'_, A>, work: A::Work) {
        cpu.point("mode?");
        let (is_lazy, waiting) = match self {
            Self::TaskFlag => (cpu.task().flag.get(), &cpu.task().waiting),
            _ => (cpu.vcpu().active.get(), &cpu.vcpu().waiting),
        };
        if !is_lazy {
            return <A::Deferral as Deferral<Cpu<'_, A>>>::at_once(work, &cpu, &mut |refusal| cpu.refused(refusal));
        }
        let mut taken = waiting.take();
        taken.defer(work, &cpu, &mut |refusal| cpu.refused(refusal));
        waiting.replace(taken);
    }

    /// Whether the task may sleep where it is.
    pub(crate) fn may_sleep<A: Arch>(self, cpu: Cpu<'_, A>, task: &mut TaskState) -> bool {
        match self {
            Self::PvMmu | Self::Planted(_) => lazy(&cpu, task).may_sleep().is_ok(),
            Self::VcpuModePinned => cpu.task().preempt_off.get() == 0,
            Self::VcpuMode | Self::TaskFlag => true,
        }
    }

    pub(crate) fn state(scenario: &guest_model::Scenario) -> TaskState {
        TaskState::with_profile(match scenario.profile {
            guest_model::Profile::Strict => Profile::Strict,
            guest_model::Profile::Nested => Profile::Nested,
        })
    }

    /// Whether this design is one for architectures whose regions do this to preemption.
    #[must_use]
    pub fn is_for(self, preemption: Preemption) -> bool {
        match self {
            Self::PvMmu | Self::Planted(_) => true,
            Self::VcpuMode | Self::VcpuModePinned => preemption == Preemption::Disabled,
            Self::TaskFlag => preemption == Preemption::Allowed,
        }
    }
}
