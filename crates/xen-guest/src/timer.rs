//! System time and each vCPU's one timer.
//!
//! There is one deadline; whoever arms the timer later takes it. Preemption of tasks does so.

use core::arch::x86_64::_rdtsc;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use hypercall::{Errno, InterruptContext, VcpuId};

use crate::{
    calls, events,
    layout::VcpuTime,
    mask::{are_masked, mask},
    percpu::{MAX_VCPUS, current_vcpu, vcpu_info},
};

static TICKS: [AtomicU64; MAX_VCPUS] = [const { AtomicU64::new(0) }; MAX_VCPUS];

/// Stops the ticker a vCPU starts with and binds its timer. Any vCPU may do it for another that is not
/// up yet, except for the ticker.
pub(crate) fn bind(vcpu: VcpuId) -> Result<(), Errno> {
    events::bind_timer(vcpu, on_timer).map(drop)
}

/// Stops the calling vCPU's ticker.
pub(crate) fn stop_ticker() -> Result<(), Errno> {
    calls::stop_periodic_timer(current_vcpu())
}

/// System time in ns since Xen started.
#[must_use]
pub fn now() -> u64 {
    let time = &vcpu_info().time;
    loop {
        let version = time.version.load(SeqCst);
        let now = extrapolate(time, tsc());
        if version & 1 == 0 && time.version.load(SeqCst) == version {
            return now;
        }
    }
}

fn extrapolate(time: &VcpuTime, tsc: u64) -> u64 {
    let passed = tsc.wrapping_sub(time.tsc.load(SeqCst));
    let shift = time.shift.load(SeqCst);
    let scaled = if shift < 0 { passed >> -shift } else { passed << shift };
    let multiplier = u128::from(time.multiplier.load(SeqCst));
    time.system.load(SeqCst).wrapping_add(((u128::from(scaled) * multiplier) >> 32) as u64)
}

/// The processor's time-stamp counter. A QEMU that counts instructions advances it by one for each.
#[must_use]
pub fn tsc() -> u64 {
    // SAFETY: every x86_64 processor has the instruction, and Xen does not forbid it.
    unsafe { _rdtsc() }
}

/// Times the timer of `vcpu` has fired; 0 for one there is no room for.
#[must_use]
pub fn ticks(vcpu: VcpuId) -> u64 {
    TICKS.get(vcpu.number() as usize).map_or(0, |ticks| ticks.load(SeqCst))
}

/// Arms the calling vCPU's timer for system time `deadline` (ns); an upcall follows at once if that
/// is past. An earlier deadline that has not come is forgotten.
pub fn arm(deadline: u64) {
    let armed = calls::set_timer(current_vcpu(), deadline);
    debug_assert!(armed.is_ok(), "a vCPU may set its own timer");
}

/// Takes back what [`arm`] has armed.
pub fn disarm() {
    let disarmed = calls::stop_timer(current_vcpu());
    debug_assert!(disarmed.is_ok(), "a vCPU may stop its own timer");
}

/// Sleeps until system time `deadline` (ns), the whole vCPU with it. Not while it is preempting tasks,
/// which takes the timer.
///
/// # Panics
/// With upcalls masked: a vCPU that blocks opens them.
pub fn sleep_until(deadline: u64) {
    assert!(!are_masked(), "a vCPU that sleeps opens upcalls");
    while now() < deadline {
        // Masked before the timer is armed, so that its upcall cannot come before the vCPU blocks.
        let masked = mask();
        arm(deadline);
        calls::sched_block();
        drop(masked);
    }
}

fn on_timer(_: &InterruptContext) {
    TICKS[current_vcpu().number() as usize].fetch_add(1, SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::SharedInfo;

    #[test]
    fn time_is_scaled_by_shift_and_fraction() {
        let shared = SharedInfo::zero();
        let time = &shared.vcpus[0].time;
        time.tsc.store(1_000, SeqCst);
        time.system.store(5_000, SeqCst);
        time.multiplier.store(1 << 31, SeqCst);
        assert_eq!(extrapolate(time, 1_100), 5_050);
        time.shift.store(2, SeqCst);
        assert_eq!(extrapolate(time, 1_100), 5_200);
        time.shift.store(-1, SeqCst);
        assert_eq!(extrapolate(time, 1_100), 5_025);
    }
}
