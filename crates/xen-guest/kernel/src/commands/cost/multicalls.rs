//! `multicall` of calls of one operation each, by the number of calls.
//!
//! A [`Batch`](hypercall::Batch) never makes such calls of operations that go into an array: what that
//! saves is what is measured here, so the entries are laid out by hand.

use hypercall::{
    DomId, Errno, MmuUpdate, MmuextOp, Operation, Pte, RawCall, Subject, TaskContext, VaFlush, VirtAddr,
    abi::{self, multicall_entry},
    xen::hypercall,
};
use spin::Mutex;
use xen_guest::memory::{Page, take_page};

use super::{
    SIZES,
    arrays::{Content, Frames, set},
    issuer::Issuer,
    meter::{Meter, ticks},
};
use crate::{error::Error, mmu};

/// Calls of the largest.
const CALLS: usize = 512;

struct Room {
    entries: [multicall_entry; CALLS],
    updates: [MmuUpdate; CALLS],
    flush: [u64; 3],
}

static ROOM: Mutex<Room> = Mutex::new(Room {
    entries: [multicall_entry { op: 0, result: 0, args: [0; 6] }; CALLS],
    updates: [MmuUpdate { slot: hypercall::PteSlot::from_bits(0), value: 0 }; CALLS],
    flush: [0; 3],
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

    fn flush(&self) -> RawCall {
        let flush = self.flush.as_ptr().expose_provenance() as u64;
        RawCall { number: abi::HYPERCALL_MMUEXT_OP, args: [flush, 1, 0, DomId::SELF.number().into(), 0] }
    }
}

pub(super) fn measure(context: &TaskContext, issuer: &mut Issuer, meter: &mut Meter<'_>) -> Result<(), Error> {
    let table = mmu::pinned_table(context)?;
    let frames = Frames::take()?;
    let mut room = ROOM.lock();
    let room = &mut *room;
    updates(issuer, meter, room, &table, &frames)?;
    let page = take_page().ok_or(Error::NoPage)?;
    let flush = MmuextOp::InvlpgLocal { address: page.address() };
    room.flush = flush.encode(0).to_memory();
    let pte = xen_guest::memory::tables::walk(page.address(), hypercall::Level::L1)?.1;
    let same = Operation::UpdateVaMapping { va: page.address(), pte, flush: VaFlush::None };
    let stack = Operation::StackSwitch { ss: 0xe02b, sp: VirtAddr::unchecked(0) };
    let version = RawCall { number: abi::HYPERCALL_XEN_VERSION, args: [0; 5] };
    let [same, stack] = [same, stack].map(|operation| operation.encode(0).unwrap_or(version));
    for size in SIZES {
        let mut row = |name: &str, call: &dyn Fn(&Room) -> RawCall| {
            meter.row(format_args!("multicall/{name}"), size, || {
                room.lay_out(size, |_, room| call(room));
                room.issue(size)
            })
        };
        row("mmuext_op-invlpg_local", &Room::flush)?;
        row("update_va_mapping-same", &|_| same)?;
        row("stack_switch", &|_| stack)?;
        row("xen_version", &|_| version)?;
    }
    Ok(())
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
