//! Event channels: ports and their handlers.
//!
//! The pending bits of all vCPUs' ports lie in one word, so a vCPU looks only at those bound to itself.
//! A handler runs on the vCPU its port is bound to, with upcalls masked, on the stack of whatever it
//! interrupted. It holds an [`InterruptContext`] and returns; it does not wait for a task.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use hypercall::{Errno, InterruptContext, VcpuId};
use spin::Once;

use crate::{
    calls,
    percpu::{MAX_VCPUS, SHARED, current_vcpu, vcpu_info},
};

/// What is called when an event arrives.
pub type Handler = fn(&InterruptContext);

/// Ports the runtime has room for: one word of the pending bitmap.
const PORTS: u32 = 64;

/// The ports bound to each vCPU.
static BOUND: [AtomicU64; MAX_VCPUS] = [const { AtomicU64::new(0) }; MAX_VCPUS];
static HANDLERS: [Once<Handler>; PORTS as usize] = [const { Once::new() }; PORTS as usize];

/// A port by which a vCPU can be interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port(u32);

impl Port {
    /// Interrupts the vCPU the port is bound to. Events that have not been handled yet count once.
    pub fn send(self) {
        let sent = calls::send(self.0);
        debug_assert!(sent.is_ok(), "a bound port takes events");
    }
}

/// Binds a port by which `vcpu` is interrupted to run `handler`.
///
/// # Errors
/// Xen's refusal; [`Errno::NOMEM`] where the runtime has no room for the port.
pub fn bind_ipi(vcpu: VcpuId, handler: Handler) -> Result<Port, Errno> {
    listen(vcpu, calls::bind_ipi(vcpu)?, handler)
}

/// Binds `vcpu`'s timer to `handler`.
pub(crate) fn bind_timer(vcpu: VcpuId, handler: Handler) -> Result<Port, Errno> {
    listen(vcpu, calls::bind_timer(vcpu)?, handler)
}

fn listen(vcpu: VcpuId, port: u32, handler: Handler) -> Result<Port, Errno> {
    let bound = BOUND.get(vcpu.number() as usize).ok_or(Errno::NOMEM)?;
    let place = HANDLERS.get(port as usize).ok_or(Errno::NOMEM)?;
    place.call_once(|| handler);
    bound.fetch_or(1 << port, SeqCst);
    Ok(Port(port))
}

/// Runs the handlers of all events that have arrived on this vCPU.
pub(crate) fn dispatch(context: &InterruptContext) {
    let (info, bound) = (vcpu_info(), BOUND[current_vcpu().number() as usize].load(SeqCst));
    // Cleared before the bits are looked at: what arrives later sets it again.
    while info.pending.swap(0, SeqCst) != 0 {
        if info.selector.swap(0, SeqCst) & 1 == 0 {
            continue;
        }
        let mut due = SHARED.pending[0].load(SeqCst) & !SHARED.mask[0].load(SeqCst) & bound;
        while due != 0 {
            let port = due.trailing_zeros();
            due &= due - 1;
            SHARED.pending[0].fetch_and(!(1 << port), SeqCst);
            if let Some(handler) = HANDLERS[port as usize].get() {
                handler(context);
            }
        }
    }
}
