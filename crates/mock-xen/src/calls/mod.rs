//! Hypercalls: from a number and argument words to Xen's answer.
//!
//! A hypercall runs in passes. Each ends with an answer or with new arguments under which Xen
//! enters the call once more, with whatever the guest's event handler does in between;
//! `MockXen::hypercall` loops until there is an answer and leaves the last arguments for the caller
//! to see.

mod array;
mod base_pointer;
mod console_io;
mod decode;
mod descriptors;
mod information;
mod initialise;
mod mmu_update;
mod mmuext;
mod multicall;
mod owner;
mod pins;
mod processor;
mod sched_op;
mod va_mapping;
mod vcpu_op;

use hypercall::{DomId, Errno, RawCall, VcpuId, abi};

use crate::MockXen;
use crate::memory::ArgumentSource;
use crate::mock::Left;
use crate::not_modelled::NotModelled;
use crate::planted::Fault;
use crate::running::Running;

/// The argument registers.
type Args = [u64; 5];

const HYPERCALL_CONSOLE_IO: u32 = 18;
const HYPERCALL_VM_ASSIST: u32 = 21;
const HYPERCALL_VCPU_OP: u32 = 24;
const HYPERCALL_SCHED_OP: u32 = 29;

/// Hypercall numbers from here on are unknown to Xen.
const NUMBERS: u32 = 64;

/// Whether Xen, as built by Debian, answers a number with `-ENOSYS`: never given out, gone, or left
/// out of the build.
const fn is_unknown(number: u32) -> bool {
    matches!(number, 11 | 27 | 38 | 39 | 43..=47 | 50..) || number >= NUMBERS
}

/// Who calls, and from where.
#[derive(Debug)]
pub(crate) struct Caller<'a> {
    pub(crate) vcpu: VcpuId,
    pub(crate) in_multicall: bool,
    pub(crate) running: &'a mut Running,
}

/// How a pass of a hypercall ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// With an answer.
    Return(i64),
    /// To be entered again with these arguments.
    Again(Args),
}

impl From<Errno> for Step {
    fn from(errno: Errno) -> Self {
        Self::Return(errno.as_return())
    }
}

impl From<Result<(), Errno>> for Step {
    fn from(result: Result<(), Errno>) -> Self {
        Self::Return(result.map_or_else(Errno::as_return, |()| 0))
    }
}

impl MockXen {
    /// Runs `call` to its end over the arguments in `source`, leaving the last pass's arguments in
    /// `call`.
    pub(crate) fn run<S: ArgumentSource>(
        &self,
        vcpu: VcpuId,
        running: &mut Running,
        call: &mut RawCall,
        source: &mut S,
    ) -> i64 {
        loop {
            if let Left::Answered(value) = self.run_once(vcpu, running, call, source) {
                return value;
            }
        }
    }

    /// Runs one pass of `call`.
    pub(crate) fn run_once<S: ArgumentSource>(
        &self,
        vcpu: VcpuId,
        running: &mut Running,
        call: &mut RawCall,
        source: &mut S,
    ) -> Left {
        let mut caller = Caller { vcpu, in_multicall: false, running };
        match self.dispatch(&mut caller, *call, source) {
            Step::Return(value) => {
                running.leave(None);
                Left::Answered(value)
            }
            Step::Again(args) => {
                call.args = args;
                running.leave(Some(call));
                Left::Interrupted
            }
        }
    }

    /// Runs one pass, and writes down what it found not to be modelled.
    fn dispatch<S: ArgumentSource>(&self, caller: &mut Caller<'_>, call: RawCall, source: &mut S) -> Step {
        let mut step = self.pass(caller, call, source);
        if let Some(what) = source.not_modelled() {
            step = what.errno().into();
        }
        if let Step::Return(value) = step
            && let Err(errno) = Errno::from_return(value)
            && let Some(what) = NotModelled::from_errno(errno)
        {
            self.note_not_modelled(what, call, caller.vcpu);
        }
        step
    }

    fn pass<S: ArgumentSource>(&self, caller: &mut Caller<'_>, call: RawCall, source: &mut S) -> Step {
        let (vcpu, args) = (caller.vcpu, call.args);
        match call.number {
            abi::HYPERCALL_MMU_UPDATE => array::run::<mmu_update::Updates, S>(self, caller, args, source),
            abi::HYPERCALL_MMUEXT_OP => array::run::<mmuext::Extended, S>(self, caller, args, source),
            abi::HYPERCALL_MULTICALL => self.multicall(caller, args, source),
            abi::HYPERCALL_UPDATE_VA_MAPPING => self.update_va_mapping(vcpu, args, None, source).into(),
            abi::HYPERCALL_UPDATE_VA_MAPPING_OTHERDOMAIN => {
                self.update_va_mapping(vcpu, args, Some(DomId::new(args[3] as u16)), source).into()
            }
            abi::HYPERCALL_SET_GDT => self.set_gdt(caller, args, source).into(),
            abi::HYPERCALL_UPDATE_DESCRIPTOR => self.update_descriptor(caller, args).into(),
            abi::HYPERCALL_STACK_SWITCH => self.stack_switch(vcpu, args).into(),
            abi::HYPERCALL_FPU_TASKSWITCH => self.fpu_taskswitch(vcpu, args).into(),
            abi::HYPERCALL_SET_SEGMENT_BASE => self.set_segment_base(vcpu, args).into(),
            abi::HYPERCALL_XEN_VERSION => Self::xen_version(args),
            HYPERCALL_VM_ASSIST => self.vm_assist(args).into(),
            HYPERCALL_CONSOLE_IO => self.console_io(caller, args, source),
            HYPERCALL_VCPU_OP => self.vcpu_op(caller, args, source),
            HYPERCALL_SCHED_OP => Self::sched_op(caller, args).into(),
            number if is_unknown(number) => {
                self.refusal(Fault::UnknownHypercallInvalid, Errno::INVAL, Errno::NOSYS).into()
            }
            _ => NotModelled::Hypercall.errno().into(),
        }
    }
}
