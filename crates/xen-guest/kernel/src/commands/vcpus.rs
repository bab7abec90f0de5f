//! The second vCPU.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use hypercall::{InterruptContext, TaskContext, VcpuId};
use xen_guest::{current_vcpu, events, smp, timer, upcalls};

use super::answer;
use crate::{error::Error, reply::Reply};

const SECOND: VcpuId = VcpuId::new(1);
const PINGS: u64 = 100;

/// Pings and, from the second vCPU, pongs that have arrived.
static ARRIVED: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
static WORKED_ON: AtomicU64 = AtomicU64::new(0);
static SLEPT: AtomicU64 = AtomicU64::new(0);

fn on_ping(_: &InterruptContext) {
    ARRIVED[current_vcpu().number() as usize].fetch_add(1, SeqCst);
}

fn work(_: &TaskContext, argument: usize) {
    WORKED_ON.store(u64::from(current_vcpu().number()) + argument as u64, SeqCst);
    let before = timer::now();
    timer::sleep_until(before + 1_000_000);
    SLEPT.store(timer::now() - before, SeqCst);
}

/// Starts it, gives it work, and sends events there and back.
pub(crate) fn vcpus(_: &TaskContext, _: &[u8], reply: &mut Reply) -> Result<(), Error> {
    let ping = events::bind_ipi(SECOND, on_ping)?;
    let pong = events::bind_ipi(current_vcpu(), on_ping)?;
    smp::start(SECOND)?;
    let again = smp::start(SECOND).is_err();
    smp::run(work, 40)?;
    let busy = smp::run(work, 0).is_err();
    smp::wait();
    for count in 1..=PINGS {
        ping.send();
        pong.send();
        while ARRIVED.iter().any(|arrived| arrived.load(SeqCst) < count) {
            smp::relax();
        }
    }
    answer!(
        reply,
        "online" = smp::online().iter().count(),
        "starts_once" = again,
        "worked_on" = WORKED_ON.load(SeqCst),
        "one_work_at_a_time" = busy,
        "slept_long_enough" = SLEPT.load(SeqCst) >= 1_000_000,
        "pings" = ARRIVED[1].load(SeqCst),
        "pongs" = ARRIVED[0].load(SeqCst),
        "upcalls" = upcalls(SECOND) > PINGS,
    );
    Ok(())
}
