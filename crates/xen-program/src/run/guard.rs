//! What a program must not do, because the executor would not survive it.
//!
//! A program may be anything a generator comes up with. Before a call is issued its arguments are
//! read as Xen will read them, and the call is refused where it would change an entry the executor
//! runs through, load a base pointer under which it does not run, put the executor's own memory to
//! another use, or enter a hypercall that ends or stops the machine. The interpreter refuses the
//! same calls on every machine.
//!
//! It is a guard against accidents: a call that rewrites its own arguments on the way can get past
//! it.

use hypercall::abi::{
    HYPERCALL_FPU_TASKSWITCH, HYPERCALL_MMU_UPDATE, HYPERCALL_MMUEXT_OP, HYPERCALL_MULTICALL, HYPERCALL_SET_GDT,
    HYPERCALL_SET_SEGMENT_BASE, HYPERCALL_STACK_SWITCH, HYPERCALL_UPDATE_DESCRIPTOR, HYPERCALL_UPDATE_VA_MAPPING,
    HYPERCALL_UPDATE_VA_MAPPING_OTHERDOMAIN, HYPERCALL_XEN_VERSION, MMU_MACHPHYS_UPDATE, MMUEXT_CLEAR_PAGE,
    MMUEXT_COPY_PAGE, MMUEXT_NEW_BASEPTR, MMUEXT_NEW_USER_BASEPTR, MMUEXT_PIN_L1_TABLE, MMUEXT_UNPIN_TABLE,
};
use hypercall::{ENTRIES_PER_TABLE, Mfn, PAGE_SHIFT, PteFlags};

use super::values::Written;
use super::world::{FrameSet, Reached, World};
use crate::arena::{self, argument_at, reserved};
use crate::frame::{Frame, Special, Table};
use crate::numbers::{CONSOLE_IO, CONTINUED, SCHED_OP, VCPU_OP, VM_ASSIST, is_unknown};
use crate::record::Refusal;

/// Most operations of one array that are looked at; no program has as many.
const OPERATIONS: u64 = 4096;
/// Most frames of a descriptor table.
const GDT_FRAMES: u64 = 16;
/// Frame numbers at which the machines the project tests on have memory.
const MEMORY: core::ops::Range<u64> = 0x100..0x10_0000;

/// Looks at one call.
pub(crate) struct Guard<'a> {
    world: &'a World,
    written: &'a Written,
    /// The table the vCPU runs on.
    base: Frame,
    /// Pages that were loaded as base pointers by this program.
    loaded: FrameSet,
    /// Pages the call loads, and pages it names in another way.
    loads: FrameSet,
    names: FrameSet,
}

const SHARED_INFO: Frame = Frame::Special(Special::SharedInfo);

type Verdict = Result<(), Refusal>;

impl<'a> Guard<'a> {
    pub(crate) const fn new(world: &'a World, written: &'a Written, base: Frame, loaded: FrameSet) -> Self {
        Self { world, written, base, loaded, loads: FrameSet(0), names: FrameSet(0) }
    }

    /// Whether the call may be issued; answers with the pages loaded as base pointers afterwards.
    pub(crate) fn check(mut self, number: u32, args: [u64; 5]) -> Result<FrameSet, Refusal> {
        self.call(number, args, false)?;
        if self.loads.0 & self.names.0 != 0 {
            return Err(Refusal::BasePointer);
        }
        Ok(FrameSet(self.loaded.0 | self.loads.0))
    }

    /// The word a pointer of the call leads to; `None` where Xen will find nothing.
    fn word(&self, address: u64) -> Result<Option<u64>, Refusal> {
        if let Some(index) = argument_at(address) {
            return Ok(Some(self.written.word(index)));
        }
        if is_xens(address) {
            return Ok(None);
        }
        match self.world.reach(self.base, address) {
            Reached::Nothing => Ok(None),
            Reached::Word(frame, index) => Ok(Some(self.world.load(frame, index))),
            Reached::Elsewhere => Err(Refusal::Elsewhere),
        }
    }

    fn words<const N: usize>(&self, address: u64) -> Result<Option<[u64; N]>, Refusal> {
        let mut words = [0; N];
        for (word, offset) in words.iter_mut().zip((0..).step_by(8)) {
            let Some(found) = self.word(address.wrapping_add(offset))? else { return Ok(None) };
            *word = found;
        }
        Ok(Some(words))
    }

    fn call(&mut self, number: u32, args: [u64; 5], inside: bool) -> Verdict {
        let [first, second, ..] = args;
        match number {
            HYPERCALL_MMU_UPDATE => self.array(args, Self::update),
            HYPERCALL_MMUEXT_OP => self.array(args, Self::extended),
            HYPERCALL_MULTICALL if inside => Ok(()),
            HYPERCALL_MULTICALL => self.multicall(first, second),
            HYPERCALL_UPDATE_VA_MAPPING | HYPERCALL_UPDATE_VA_MAPPING_OTHERDOMAIN => self.mapping(first),
            HYPERCALL_SET_GDT => self.descriptors(first, second),
            HYPERCALL_UPDATE_DESCRIPTOR => self.filled(first >> PAGE_SHIFT),
            HYPERCALL_STACK_SWITCH => Ok(()),
            HYPERCALL_FPU_TASKSWITCH => allow(first as u32 == 0),
            HYPERCALL_SET_SEGMENT_BASE => allow(is_harmless_base(first as u32, second)),
            HYPERCALL_XEN_VERSION => allow(first as u32 == 0),
            CONSOLE_IO | SCHED_OP | VCPU_OP | VM_ASSIST => self.command(number, args),
            _ => allow(is_unknown(number)),
        }
    }

    /// Calls that only a few commands of are harmless.
    fn command(&self, number: u32, [command, second, third, ..]: [u64; 5]) -> Verdict {
        let harmless = match (number, command as u32) {
            (CONSOLE_IO, 0) => self.word(third)?.is_none(),
            (CONSOLE_IO, 1) => second > i32::MAX as u64,
            (CONSOLE_IO, _) => true,
            (SCHED_OP, command) => command == 0 || command > 7,
            (VM_ASSIST, command) => command > 1 || second as u32 > 32,
            // Initialise, up, is up, periodic and single-shot timers: refused or without effect as long as
            // no program brings a second vCPU up.
            (_, command) => matches!(command, 0 | 1 | 3 | 6 | 8) || command >= 64,
        };
        allow(harmless)
    }

    /// Every operation of `N` words of an array, up to where it cannot be read.
    fn array<const N: usize>(&mut self, args: [u64; 5], look: fn(&mut Self, [u64; N]) -> Verdict) -> Verdict {
        let [array, count, ..] = args;
        let count = u64::from(count as u32 & !CONTINUED).min(OPERATIONS);
        for index in 0..count {
            let Some(words) = self.words(array.wrapping_add(8 * N as u64 * index))? else { break };
            look(self, words)?;
        }
        Ok(())
    }

    fn update(&mut self, [slot, _]: [u64; 2]) -> Verdict {
        let index = (slot >> 3) as usize % ENTRIES_PER_TABLE;
        let Some(frame) = self.frame(Mfn::new(slot >> PAGE_SHIFT))? else { return Ok(()) };
        if slot & 7 == u64::from(MMU_MACHPHYS_UPDATE) {
            return Ok(());
        }
        self.names.add(frame);
        let needed = match frame {
            SHARED_INFO => true,
            Frame::Table(table) => reserved(table, index),
            _ => self.loaded.contains(frame) && reserved(Table::Root, index),
        };
        if needed { Err(Refusal::Reserved) } else { Ok(()) }
    }

    fn extended(&mut self, [command, first, second]: [u64; 3]) -> Verdict {
        match command as u32 {
            MMUEXT_NEW_BASEPTR => self.base_pointer(Mfn::new(first)),
            MMUEXT_COPY_PAGE => self.filled(first).and(self.filled(second)),
            MMUEXT_CLEAR_PAGE => self.filled(first),
            MMUEXT_PIN_L1_TABLE..=MMUEXT_UNPIN_TABLE | MMUEXT_NEW_USER_BASEPTR => self.name(first),
            _ => Ok(()),
        }
    }

    fn name(&mut self, mfn: u64) -> Verdict {
        if let Some(frame) = self.frame(Mfn::new(mfn))? {
            self.names.add(frame);
        }
        Ok(())
    }

    /// A page is cleared, copied to or from, or given a descriptor. The one that Xen shares with the guest never holds the
    /// same twice, and the executor's events depend on it.
    fn filled(&mut self, mfn: u64) -> Verdict {
        self.name(mfn)?;
        if self.world.named(Mfn::new(mfn)) == Some(SHARED_INFO) { Err(Refusal::Reserved) } else { Ok(()) }
    }

    /// A page may be loaded if it has all the root's entries that the executor needs.
    fn base_pointer(&mut self, mfn: Mfn) -> Verdict {
        let Some(frame @ Frame::Page(_)) = self.frame(mfn)? else { return Ok(()) };
        let used = PteFlags::ACCESSED_DIRTY.bits();
        let same = |index| (self.world.load(frame, index) ^ self.world.load(Table::Root.into(), index)) & !used == 0;
        if !(0..ENTRIES_PER_TABLE).filter(|index| reserved(Table::Root, *index)).all(same) {
            return Err(Refusal::BasePointer);
        }
        self.loads.add(frame);
        Ok(())
    }

    fn multicall(&mut self, list: u64, count: u64) -> Verdict {
        for index in 0..u64::from(count as u32).min(OPERATIONS) {
            let Some(entry) = self.words::<8>(list.wrapping_add(64 * index))? else { break };
            let [number, _, a, b, c, d, e, _] = entry;
            self.call(u32::try_from(number).unwrap_or(u32::MAX), [a, b, c, d, e], true)?;
        }
        Ok(())
    }

    fn mapping(&self, address: u64) -> Verdict {
        if is_xens(address) {
            return Ok(());
        }
        let index = (address >> 39 & 0x1ff) as usize;
        let inside = address.wrapping_sub(arena::BASE) >> PAGE_SHIFT;
        let needed = match index {
            arena::ROOT_INDEX => inside < ENTRIES_PER_TABLE as u64 && reserved(Table::L1, inside as usize),
            _ => reserved(Table::Root, index),
        };
        if needed { Err(Refusal::Reserved) } else { Ok(()) }
    }

    fn descriptors(&self, list: u64, entries: u64) -> Verdict {
        let frames = u64::from((entries as u32).div_ceil(512)).min(GDT_FRAMES);
        for index in 0..frames {
            let Some(mfn) = self.word(list.wrapping_add(8 * index))? else { break };
            self.frame(Mfn::new(mfn))?;
        }
        Ok(())
    }

    /// The name of a frame that a call names; `None` for one that is no memory.
    fn frame(&self, mfn: Mfn) -> Result<Option<Frame>, Refusal> {
        let named = self.world.named(mfn);
        if named.is_none() && MEMORY.contains(&mfn.number()) { Err(Refusal::Foreign) } else { Ok(named) }
    }
}

const fn allow(harmless: bool) -> Verdict {
    if harmless { Ok(()) } else { Err(Refusal::Forbidden) }
}

/// Whether a guest's pointer to this address is refused before anything is read.
const fn is_xens(address: u64) -> bool {
    address >= 1 << 47 && address < 0xffff_8800_0000_0000
}

/// The fs base and the user's gs base are nobody's in a kernel without user mode; the kernel's own
/// may only be one that is refused.
const fn is_harmless_base(which: u32, base: u64) -> bool {
    match which {
        2 => (base as i64) << 16 >> 16 != base as i64,
        3 => false,
        _ => true,
    }
}
