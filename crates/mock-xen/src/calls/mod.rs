//! Hypercalls: from a number and argument words to Xen's answer.
//!
//! A hypercall runs in passes. Each ends with an answer or with new arguments under which Xen
//! enters the call once more; `MockXen::hypercall` loops until there is an answer and leaves the
//! last arguments for the caller to see.

mod array;
mod base_pointer;
mod decode;
mod descriptors;
mod mmu_update;
mod mmuext;
mod multicall;
mod owner;
mod processor;
mod va_mapping;

use hypercall::{DomId, Errno, RawCall, VcpuId, abi};

use crate::MockXen;
use crate::memory::ArgumentSource;
use crate::not_modelled::NotModelled;

/// The argument registers.
type Args = [u64; 5];

/// What `xen_version` answers to command 0: 4.17.
const XEN_VERSION: i64 = 4 << 16 | 17;
/// Hypercall numbers from here on are unknown to Xen.
const NUMBERS: u32 = 64;
/// Numbers below that are unknown to Xen too.
const HOLES: [u32; 2] = [11, 38];

/// Who calls, and from where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) vcpu: VcpuId,
    pub(crate) in_multicall: bool,
}

/// How a pass of a hypercall ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// With an answer.
    Return(i64),
    /// To be entered again with these arguments.
    Again(Args),
}

impl From<Result<(), Errno>> for Step {
    fn from(result: Result<(), Errno>) -> Self {
        Self::Return(result.map_or_else(Errno::as_return, |()| 0))
    }
}

impl MockXen {
    /// Runs `call` to its end over the arguments in `source`, leaving the last pass's arguments in
    /// `call`.
    pub(crate) fn run<S: ArgumentSource>(&self, vcpu: VcpuId, call: &mut RawCall, source: &mut S) -> i64 {
        loop {
            match self.dispatch(Caller { vcpu, in_multicall: false }, *call, source) {
                Step::Return(value) => return value,
                Step::Again(args) => call.args = args,
            }
        }
    }

    /// Runs one pass, and writes down what it found not to be modelled.
    fn dispatch<S: ArgumentSource>(&self, caller: Caller, call: RawCall, source: &mut S) -> Step {
        let step = self.pass(caller, call, source);
        if let Step::Return(value) = step
            && let Err(errno) = Errno::from_return(value)
            && let Some(what) = NotModelled::from_errno(errno)
        {
            self.note_not_modelled(what, call, caller.vcpu);
        }
        step
    }

    fn pass<S: ArgumentSource>(&self, caller: Caller, call: RawCall, source: &mut S) -> Step {
        let Caller { vcpu, .. } = caller;
        let args = call.args;
        match call.number {
            abi::HYPERCALL_MMU_UPDATE => array::run::<mmu_update::Updates, S>(self, vcpu, args, source),
            abi::HYPERCALL_MMUEXT_OP => array::run::<mmuext::Extended, S>(self, vcpu, args, source),
            abi::HYPERCALL_MULTICALL => self.multicall(caller, args, source),
            abi::HYPERCALL_UPDATE_VA_MAPPING => self.update_va_mapping(vcpu, args, None, source).into(),
            abi::HYPERCALL_UPDATE_VA_MAPPING_OTHERDOMAIN => {
                self.update_va_mapping(vcpu, args, Some(DomId::new(args[3] as u16)), source).into()
            }
            abi::HYPERCALL_SET_GDT => self.set_gdt(vcpu, args, source).into(),
            abi::HYPERCALL_UPDATE_DESCRIPTOR => self.update_descriptor(vcpu, args).into(),
            abi::HYPERCALL_STACK_SWITCH => self.stack_switch(vcpu, args).into(),
            abi::HYPERCALL_FPU_TASKSWITCH => self.fpu_taskswitch(vcpu, args).into(),
            abi::HYPERCALL_SET_SEGMENT_BASE => self.set_segment_base(vcpu, args).into(),
            abi::HYPERCALL_XEN_VERSION if args[0] as u32 == 0 => Step::Return(XEN_VERSION),
            number if number >= NUMBERS || HOLES.contains(&number) => Err(Errno::NOSYS).into(),
            _ => Err(NotModelled::Hypercall.errno()).into(),
        }
    }
}
