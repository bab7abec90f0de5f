//! `vcpu_op`: other vCPUs, and timers.
//!
//! A vCPU that is up may make hypercalls; nothing runs it. Timers are taken and never fire, since
//! there is nobody to be told.

use hypercall::{Errno, VcpuId};

use super::{Args, Caller, Step};
use crate::MockXen;
use crate::memory::ArgumentSource;
use crate::not_modelled::NotModelled;

const INITIALISE: u32 = 0;
const UP: u32 = 1;
const DOWN: u32 = 2;
const IS_UP: u32 = 3;
const SET_PERIODIC_TIMER: u32 = 6;
const STOP_PERIODIC_TIMER: u32 = 7;
const SET_SINGLESHOT_TIMER: u32 = 8;
const STOP_SINGLESHOT_TIMER: u32 = 9;
/// Commands from here on are unknown.
const COMMANDS: u32 = 14;

/// The shortest and the longest period, in nanoseconds.
const PERIODS: std::ops::RangeInclusive<u64> = 1_000_000..=u64::MAX >> 2;

impl MockXen {
    /// Runs one pass.
    ///
    /// `-ENOENT` for a vCPU the guest does not have, `-ENOSYS` for an unknown command, `-EINVAL` for
    /// a vCPU that is not initialised, another's timer and a period out of range, `-EFAULT` for
    /// arguments that cannot be read; what [`MockXen::initialise`] says.
    pub(super) fn vcpu_op<S: ArgumentSource>(&self, caller: &mut Caller<'_>, args: Args, source: &S) -> Step {
        let [command, number, argument, ..] = args;
        let (command, vcpu) = (command as u32, VcpuId::new(number as u32));
        if vcpu.number() >= self.vcpu_count() {
            return Errno::NOENT.into();
        }
        match command {
            INITIALISE => self.initialise(caller, vcpu, args, source),
            UP => self.bring_up(vcpu).into(),
            DOWN => self.take_down(vcpu),
            IS_UP => Step::Return(self.vcpu_state(vcpu).lock().up.into()),
            SET_PERIODIC_TIMER => periodic_timer(argument, source).into(),
            STOP_PERIODIC_TIMER => Step::Return(0),
            SET_SINGLESHOT_TIMER | STOP_SINGLESHOT_TIMER if vcpu != caller.vcpu => Errno::INVAL.into(),
            SET_SINGLESHOT_TIMER if !source.may_start_at(argument) || source.read::<2>(argument).is_none() => {
                Errno::FAULT.into()
            }
            SET_SINGLESHOT_TIMER | STOP_SINGLESHOT_TIMER => Step::Return(0),
            known if known < COMMANDS => NotModelled::Hypercall.errno().into(),
            _ => Errno::NOSYS.into(),
        }
    }

    fn bring_up(&self, vcpu: VcpuId) -> Result<(), Errno> {
        let mut state = self.vcpu_state(vcpu).lock();
        if !state.initialised {
            return Err(Errno::INVAL);
        }
        state.up = true;
        Ok(())
    }

    /// The last vCPU going down stops the machine, which is not modelled.
    fn take_down(&self, vcpu: VcpuId) -> Step {
        let others = (0..self.vcpu_count()).map(VcpuId::new).filter(|other| *other != vcpu);
        if others.into_iter().any(|other| self.vcpu_state(other).lock().up) {
            self.vcpu_state(vcpu).lock().up = false;
            return Step::Return(0);
        }
        NotModelled::Hypercall.errno().into()
    }
}

fn periodic_timer<S: ArgumentSource>(argument: u64, source: &S) -> Result<(), Errno> {
    let start = source.may_start_at(argument);
    let [period] = source.read(argument).filter(|_| start).ok_or(Errno::FAULT)?;
    if PERIODS.contains(&period) { Ok(()) } else { Err(Errno::INVAL) }
}
