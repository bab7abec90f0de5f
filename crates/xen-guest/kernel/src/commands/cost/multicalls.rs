//! `multicall` of calls of one operation each, by the number of calls.
//!
//! A [`Batch`](hypercall::Batch) never makes such calls of operations that go into an array: what that
//! saves is what is measured here, so the entries are laid out by hand.

use hypercall::{
    DomId, Errno, Level, MmuUpdate, MmuextOp, MmuextWords, Operation, Pte, RawCall, SegmentBase, Subject, TaskContext,
    VaFlush, VirtAddr,
    abi::{self, multicall_entry},
    xen::hypercall,
};
use spin::Mutex;
use xen_guest::memory::{Page, tables, take_page};

use super::{
    SIZES,
    arrays::{Content, Frames, set},
    issuer::Issuer,
    meter::{Meter, ticks},
    registers::KERNEL_SS,
};
use crate::{error::Error, mmu};

/// Calls of the largest.
const CALLS: usize = 512;

struct Room {
    entries: [multicall_entry; CALLS],
    updates: [MmuUpdate; CALLS],
    operation: [u64; MmuextWords::WORDS],
}

static ROOM: Mutex<Room> = Mutex::new(Room {
    entries: [multicall_entry { op: 0, result: 0, args: [0; 6] }; CALLS],
    updates: [MmuUpdate { slot: hypercall::PteSlot::from_bits(0), value: 0 }; CALLS],
    operation: [0; MmuextWords::WORDS],
});

impl Room {
    /// Lays out `count` calls.
    fn lay_out(&mut self, count: usize, call: impl Fn(usize, &Self) -> RawCall) {
        for number in 0..count {
            let RawCall { number: op, args: [a, b, c, d, e] } = call(number, self);
            self.entries[number] = multicall_entry { op: op.into(), result: 0, args: [a, b, c, d, e, 0] };
        }
    }

    /// Issues the first `count`, and tells the ticks.
    fn issue(&mut self, count: usize) -> Result<u64, Error> {
        let args = [self.entries.as_mut_ptr().expose_provenance() as u64, count as u64, 0, 0, 0];
        // SAFETY: this is a kernel without a red zone; entries and what they point at are in `self`, and change
        // a table of a pool page, a mapping of one, or nothing.
        let cost =
            ticks(|| Errno::from_return(unsafe { hypercall(abi::HYPERCALL_MULTICALL.into(), args) }.0).map(drop))?;
        let refused = self.entries[..count].iter().find_map(|entry| Errno::from_return(entry.result as i64).err());
        refused.map_or(Ok(cost), |errno| Err(errno.into()))
    }

    fn update(&self, number: usize) -> RawCall {
        let update = (&raw const self.updates[number]).expose_provenance() as u64;
        RawCall { number: abi::HYPERCALL_MMU_UPDATE, args: [update, 1, 0, Subject::SELF.bits().into(), 0] }
    }

    fn mmuext(&self) -> RawCall {
        let operation = self.operation.as_ptr().expose_provenance() as u64;
        RawCall { number: abi::HYPERCALL_MMUEXT_OP, args: [operation, 1, 0, DomId::SELF.number().into(), 0] }
    }
}

pub(super) fn measure(context: &TaskContext, issuer: &mut Issuer, meter: &mut Meter<'_>) -> Result<(), Error> {
    let table = mmu::pinned_table(context)?;
    let frames = Frames::take()?;
    let mut room = ROOM.lock();
    let room = &mut *room;
    updates(issuer, meter, room, &table, &frames)?;
    let page = take_page().ok_or(Error::NoPage)?;
    mmuext(meter, room, &page)?;
    in_registers(meter, room, &page)
}

fn row(meter: &mut Meter<'_>, room: &mut Room, name: &str, call: impl Fn(&Room) -> RawCall) -> Result<(), Error> {
    for size in SIZES {
        meter.row(format_args!("multicall/{name}"), size, || {
            room.lay_out(size, |_, room| call(room));
            room.issue(size)
        })?;
    }
    Ok(())
}

fn mmuext(meter: &mut Meter<'_>, room: &mut Room, page: &Page) -> Result<(), Error> {
    let address = page.address();
    for (name, op) in [
        ("mmuext_op-tlb_flush_local", MmuextOp::TlbFlushLocal),
        ("mmuext_op-tlb_flush_all", MmuextOp::TlbFlushAll),
        ("mmuext_op-invlpg_local", MmuextOp::InvlpgLocal { address }),
        ("mmuext_op-invlpg_all", MmuextOp::InvlpgAll { address }),
        ("mmuext_op-clear_page", MmuextOp::ClearPage { frame: page.frame() }),
    ] {
        room.operation = op.encode(0).to_memory();
        row(meter, room, name, Room::mmuext)?;
    }
    Ok(())
}

fn in_registers(meter: &mut Meter<'_>, room: &mut Room, page: &Page) -> Result<(), Error> {
    let pte = tables::walk(page.address(), Level::L1)?.1;
    let descriptor = page.frame().base().map_err(|_| Errno::INVAL)?;
    let operations = [
        ("update_va_mapping-same", Operation::UpdateVaMapping { va: page.address(), pte, flush: VaFlush::None }),
        ("stack_switch", Operation::StackSwitch { ss: KERNEL_SS, sp: VirtAddr::unchecked(0) }),
        ("set_segment_base-fs", Operation::SetSegmentBase { which: SegmentBase::Fs, base: 0 }),
        ("fpu_taskswitch-clear", Operation::FpuTaskswitch { set: false }),
        ("update_descriptor", Operation::UpdateDescriptor { address: descriptor, descriptor: 0 }),
    ];
    for (name, operation) in operations {
        let call = operation.encode(0).ok_or(Errno::INVAL)?;
        row(meter, room, name, |_| call)?;
    }
    row(meter, room, "xen_version", |_| RawCall { number: abi::HYPERCALL_XEN_VERSION, args: [0; 5] })
}

fn updates(
    issuer: &mut Issuer,
    meter: &mut Meter<'_>,
    room: &mut Room,
    table: &Page,
    frames: &Frames,
) -> Result<(), Error> {
    for size in SIZES {
        for index in 0..size {
            room.updates[index] = MmuUpdate::new(table.slot(index), frames.pte(Content::ReadOnly));
        }
        meter.row(format_args!("multicall/mmu_update-map-ro"), size, || {
            set(issuer, table, size, Pte::EMPTY)?;
            room.lay_out(size, |number, room| room.update(number));
            room.issue(size)
        })?;
    }
    Ok(())
}
