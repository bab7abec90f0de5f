//! Hypercalls that an event interrupts wherever Xen looks for one.
//!
//! Between two operations of a call Xen looks whether an upcall is due, and makes it only when it
//! leaves. So an event that becomes pending, and upcalls that are opened, right before the `syscall` do
//! nothing until Xen's first look: then Xen puts rip back to the instruction, rewrites the argument
//! registers to what is left of the call, and makes the upcall. The handler may go on behind where the
//! call was stopped, or from where the event is made pending: then the next look is an interruption too.
//!
//! An interrupt of the processor between these instructions makes the upcall too early, and from the
//! second time on that can be anywhere between them, because the handler's return opens upcalls. Then it
//! goes back as well and counts nothing. At the `syscall` itself rcx tells the two apart: zeroed before,
//! it holds the return address once `syscall` has been executed.

use core::arch::naked_asm;
use core::mem::offset_of;

use fastrand::Rng;
use hypercall::{RawCall, VirtAddr, abi};

use crate::{frame::Frame, layout::VcpuInfo, mask, memory::probe, percpu::vcpu_info};

/// Which of Xen's looks find an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looks {
    /// The first.
    First,
    /// Every one.
    All,
    /// The first, and as many behind it as follow from the numbers: three on average.
    Some(Rng),
}

impl Looks {
    /// Whether the look behind one that has found an event finds one as well.
    fn next(&mut self) -> bool {
        match self {
            Self::First => false,
            Self::All => true,
            Self::Some(random) => random.u8(..4) != 0,
        }
    }
}

/// What the event handler found at the first interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interruption {
    /// The argument registers.
    pub args: [u64; 5],
    /// The eight words of the entry at which a multicall goes on; `None` for other calls, and where it
    /// cannot be read.
    pub entry: Option<[u64; 8]>,
}

/// What a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted {
    /// What Xen returned (rax).
    pub value: i64,
    /// The argument registers as the last pass left them.
    pub args: [u64; 5],
    /// How often the call was stopped at its own instruction.
    pub count: u64,
    /// The first of these.
    pub first: Option<Interruption>,
}

/// A call under way. The stub keeps its address in rbp, where the upcall handler finds it.
#[repr(C)]
struct Call {
    number: u64,
    args: [u64; 5],
    info: *const VcpuInfo,
    looks: Looks,
    /// Whether the next look is to find an event.
    armed: bool,
    count: u64,
    first: Option<Interruption>,
}

const _: () = assert!(offset_of!(VcpuInfo, pending) == 0 && offset_of!(VcpuInfo, mask) == 1);

unsafe extern "C" {
    /// In [`issue`]: where the event is made pending.
    fn xen_guest_interrupted_arm();
    /// In [`issue`]: the `syscall`.
    fn xen_guest_interrupted_syscall();
}

/// Issues a call and has it interrupted. Other events that are due arrive on the way.
///
/// # Panics
/// Where upcalls are not masked.
///
/// # Safety
/// Claims 2 and 3 of [`hypercall::xen::hypercall`].
#[must_use]
pub unsafe fn interrupted(call: RawCall, looks: Looks) -> Interrupted {
    assert!(mask::are_masked(), "the call itself opens upcalls, at the right moment");
    let RawCall { number, args } = call;
    let mut call = Call { number: number.into(), args, info: vcpu_info(), looks, armed: true, count: 0, first: None };
    let place = &raw mut call;
    place.expose_provenance();
    // SAFETY: 1. `place` is a call nobody else looks at before the stub returns, except the handler. 2. The
    // caller vouches for the hypercall.
    let value = unsafe { issue(place) };
    Interrupted { value, args: call.args, count: call.count, first: call.first }
}

/// Makes an event pending, opens upcalls, calls, masks them again.
#[unsafe(naked)]
unsafe extern "C" fn issue(call: *mut Call) -> i64 {
    naked_asm!(
        "push rbx",
        "push rbp",
        "mov rbp, rdi",
        "mov rbx, [rbp + {info}]",
        "mov rax, [rbp + {number}]",
        "mov rdi, [rbp + {args}]",
        "mov rsi, [rbp + {args} + 8]",
        "mov rdx, [rbp + {args} + 16]",
        "mov r10, [rbp + {args} + 24]",
        "mov r8, [rbp + {args} + 32]",
        ".globl xen_guest_interrupted_arm",
        "xen_guest_interrupted_arm:",
        "xor ecx, ecx",
        "mov byte ptr [rbx + {pending}], 1",
        "mov byte ptr [rbx + {mask}], 0",
        ".globl xen_guest_interrupted_syscall",
        "xen_guest_interrupted_syscall:",
        "syscall",
        "mov byte ptr [rbx + {mask}], 1",
        "mov [rbp + {args}], rdi",
        "mov [rbp + {args} + 8], rsi",
        "mov [rbp + {args} + 16], rdx",
        "mov [rbp + {args} + 24], r10",
        "mov [rbp + {args} + 32], r8",
        "pop rbp",
        "pop rbx",
        "ret",
        info = const offset_of!(Call, info),
        number = const offset_of!(Call, number),
        args = const offset_of!(Call, args),
        pending = const offset_of!(VcpuInfo, pending),
        mask = const offset_of!(VcpuInfo, mask),
    )
}

/// The upcall handler tells of every upcall, before it clears what is pending.
pub(crate) fn notice(frame: &mut Frame) {
    let (arm, syscall) = (address_of(xen_guest_interrupted_arm), address_of(xen_guest_interrupted_syscall));
    if frame.rip <= arm || frame.rip > syscall {
        return;
    }
    let call: *mut Call = core::ptr::with_exposed_provenance_mut(frame.rbp as usize);
    // SAFETY: at these instructions rbp leads to the call under way on this vCPU, whose maker waits for the
    // stub to return.
    let call = unsafe { &mut *call };
    if frame.rip == syscall && frame.rcx != 0 {
        call.stopped(frame);
        frame.rcx = 0;
    }
    if call.armed {
        frame.rip = arm;
    }
}

impl Call {
    /// Notes an interruption.
    fn stopped(&mut self, frame: &Frame) {
        if self.count == 0 {
            let args = [frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8];
            self.first = Some(Interruption { args, entry: self.entry(frame.rdi) });
        }
        self.count += 1;
        self.armed = self.armed && self.looks.next();
    }

    fn entry(&self, address: u64) -> Option<[u64; 8]> {
        if self.number != u64::from(abi::HYPERCALL_MULTICALL) {
            return None;
        }
        let mut entry = [0; 8];
        for (word, offset) in entry.iter_mut().zip((0..).step_by(8)) {
            *word = probe::load(VirtAddr::unchecked(address.wrapping_add(offset))).ok()?;
        }
        Some(entry)
    }
}

fn address_of(label: unsafe extern "C" fn()) -> u64 {
    (label as *const ()).addr() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_looks_are_several_and_follow_from_the_number() {
        let run = |number| {
            let mut looks = Looks::Some(Rng::with_seed(number));
            (0..1000).take_while(|_| looks.next()).count()
        };
        let runs: std::vec::Vec<_> = (0..1000).map(|number| run(number << 32)).collect();
        assert!(runs.contains(&0) && runs.iter().max() > Some(&5), "{runs:?}");
        assert!((2000..4000).contains(&runs.iter().sum::<usize>()), "{}", runs.iter().sum::<usize>());
        assert_eq!(run(77 << 32), run(77 << 32));
    }
}
