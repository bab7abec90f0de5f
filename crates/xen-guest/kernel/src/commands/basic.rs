//! Commands that show that the way there and back works.

use hypercall::TaskContext;
use xen_guest::{smp, start_info, timer};

use super::answer;
use crate::{error::Error, reply::Reply};

/// Says what the kernel runs on.
pub(crate) fn hello(_: &TaskContext, payload: &[u8], reply: &mut Reply) -> Result<(), Error> {
    let version = xen_guest::xen_version();
    xen_guest::log!("hello, {} bytes of payload", payload.len());
    answer!(
        reply,
        "xen" = format_args!("{}.{}", version >> 16, version & 0xffff),
        "frames" = start_info::frames(),
        "vcpus" = smp::online().iter().count(),
        "arguments" = start_info::command_line().escape_ascii(),
        "empty_hypercall" = cost_of_a_call(),
        "empty_hypercall_again" = cost_of_a_call(),
        "microseconds" = timer::now() / 1000,
    );
    Ok(())
}

/// Ticks of the time-stamp counter for the cheapest of several hypercalls that do nothing.
fn cost_of_a_call() -> u64 {
    let costs = [(); 9].map(|()| {
        let before = timer::tsc();
        core::hint::black_box(xen_guest::xen_version());
        timer::tsc() - before
    });
    costs.into_iter().fold(u64::MAX, u64::min)
}

/// Gives the payload back.
pub(crate) fn echo(_: &TaskContext, payload: &[u8], reply: &mut Reply) -> Result<(), Error> {
    reply.bytes(payload);
    Ok(())
}
