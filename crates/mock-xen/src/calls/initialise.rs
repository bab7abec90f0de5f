//! `VCPUOP_initialise`: what a vCPU is to start with.
//!
//! A refused base pointer may leave a table to be put away. Nothing is continued for that: it waits
//! for the caller's next hypercall that does so (XSA-296 is about this path).

use std::ops::Range;

use hypercall::{Errno, Mfn, PAGE_SHIFT, PAGE_SIZE, VcpuId, VirtAddr};

use super::{Args, Caller, Step};
use crate::MockXen;
use crate::memory::{ArgumentSource, is_guest_address};
use crate::not_modelled::NotModelled;
use crate::validate::Stop;

/// 8-byte words of a `vcpu_guest_context`.
const WORDS: usize = 646;
/// Where its fields lie, in words.
const FLAGS: usize = 64;
const INSTRUCTION: usize = 81;
const STACK: usize = 84;
const TRAPS: Range<usize> = 90..602;
const LDT: usize = 602;
const LDT_ENTRIES: usize = 603;
const GDT_FRAMES: usize = 604;
const GDT_ENTRIES: usize = 620;
const KERNEL_SS: usize = 621;
const KERNEL_SP: usize = 622;
const USER_BASE: usize = 624;
const BASE: usize = 626;
const CALLBACKS: Range<usize> = 639..642;
const SEGMENT_BASES: Range<usize> = 643..646;

/// `VGCF_in_kernel`.
const IN_KERNEL: u64 = 1 << 2;
/// `VGCF_online`.
const ONLINE: u64 = 1 << 5;
/// Frames a global descriptor table can have.
const GDT_CAPACITY: u64 = 16;
const LDT_CAPACITY: u64 = 8192;

/// The words, as the guest has them.
struct Context<'a>(&'a [u64; WORDS]);

impl Context<'_> {
    /// # Errors
    /// `-EINVAL` for addresses that do not exist and descriptor tables that cannot be.
    fn check(&self) -> Result<(), Errno> {
        let Self(words) = self;
        let trap_addresses = words[TRAPS].iter().skip(1).step_by(2);
        let ldt = (words[LDT_ENTRIES] != 0).then_some(&words[LDT]);
        let addresses = [&words[INSTRUCTION], &words[STACK], &words[KERNEL_SP]].into_iter().chain(ldt);
        let all = addresses.chain(trap_addresses).chain(&words[CALLBACKS]).chain(&words[SEGMENT_BASES]);
        let canonical = all.into_iter().all(|address| VirtAddr::unchecked(*address).is_canonical());
        let ldt = words[LDT].is_multiple_of(PAGE_SIZE) && is_guest_address(words[LDT]);
        let sizes = words[LDT_ENTRIES] <= LDT_CAPACITY && words[GDT_ENTRIES].div_ceil(512) <= GDT_CAPACITY;
        if canonical && ldt && sizes { Ok(()) } else { Err(Errno::INVAL) }
    }

    const fn needs_user_base(&self) -> bool {
        self.0[FLAGS] & IN_KERNEL == 0
    }

    fn gdt(&self) -> (Vec<Mfn>, u32) {
        let entries = self.0[GDT_ENTRIES] as u32;
        let frames = self.0[GDT_FRAMES..].iter().take(entries.div_ceil(512) as usize);
        (frames.map(|frame| Mfn::new(*frame)).collect(), entries)
    }
}

impl MockXen {
    /// Runs one pass for `vcpu`. One that is to start in user mode or with a user base pointer is not
    /// modelled.
    ///
    /// `-EFAULT` where the context cannot be read, `-EEXIST` for a vCPU that is initialised, `-EINVAL`
    /// for a context that cannot be, what the base pointer's table is refused with otherwise.
    pub(super) fn initialise<S: ArgumentSource>(
        &self,
        caller: &mut Caller<'_>,
        vcpu: VcpuId,
        args: Args,
        source: &S,
    ) -> Step {
        let [command, number, argument, d, e] = args;
        let start = source.may_start_at(argument);
        let Some(words) = source.read::<WORDS>(argument).filter(|_| start) else { return Errno::FAULT.into() };
        if self.vcpu_state(vcpu).lock().initialised {
            return Errno::EXIST.into();
        }
        match self.start(caller, vcpu, &Context(&words)) {
            Ok(()) => Step::Return(0),
            Err(Stop::Refused(errno)) => errno.into(),
            Err(Stop::Preempted) => Step::Again([u64::from(command as u32), u64::from(number as u32), argument, d, e]),
        }
    }

    fn start(&self, caller: &mut Caller<'_>, vcpu: VcpuId, context: &Context<'_>) -> Result<(), Stop> {
        context.check()?;
        let Context(words) = context;
        if context.needs_user_base() && words[USER_BASE] == 0 {
            return Err(Errno::INVAL.into());
        }
        if context.needs_user_base() || words[USER_BASE] != 0 {
            return Err(NotModelled::UserContext.errno().into());
        }
        self.machine.put_old_table(caller.running)?;
        let (frames, entries) = context.gdt();
        self.load_gdt(caller.running, vcpu, (&frames, entries))?;
        let base = Mfn::new(words[BASE] >> PAGE_SHIFT);
        let mut work = self.machine.work(caller.running);
        if let Err(stop) = self.acquire_base(&mut work, base) {
            self.replace_gdt(&mut work, vcpu, (Vec::new(), 0));
            return Err(stop);
        }
        let mut state = self.vcpu_state(vcpu).lock();
        state.base = base;
        state.ldt = (words[LDT_ENTRIES] != 0).then(|| (VirtAddr::unchecked(words[LDT]), words[LDT_ENTRIES]));
        state.kernel_stack = (words[KERNEL_SS] | 3, VirtAddr::unchecked(words[KERNEL_SP]));
        let [fs, gs_kernel, gs_user] = [0, 1, 2].map(|base| words[SEGMENT_BASES.start + base]);
        state.segment_bases = [fs, gs_user, gs_kernel, 0];
        state.initialised = true;
        state.up = words[FLAGS] & ONLINE != 0;
        Ok(())
    }
}
