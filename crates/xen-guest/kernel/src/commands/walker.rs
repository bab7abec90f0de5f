//! The second vCPU stores to pages while the first zaps, protects and ages their entries: every dirty bit of the
//! hardware has to be accounted for.
//!
//! Entry n of a table maps one data page, and through it only word n is stored to. So after the entry has been
//! emptied and every TLB flushed, that word tells whether there was a store through it, and what the entry held has to tell
//! the same.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use hypercall::{ENTRIES_PER_TABLE, Level, Pte, PteFlags, TaskContext, VcpuId, VirtAddr};
use pv_mmu::{
    HeldBuffer, Mmu, Operations as _, ReadModifyWrite as _, Region, TaskState,
    table::{Draft, Live},
};
use xen_guest::memory::{Page, probe, tables, take_page};
use xen_guest::smp;

use super::answer;
use crate::{
    error::Error,
    mmu::{self, FLAGS, Platform},
    reply::Reply,
};

const SECOND: VcpuId = VcpuId::new(1);
const WRITABLE: PteFlags = FLAGS.union(PteFlags::RW);
const POINTER: PteFlags = PteFlags::PRESENT.union(PteFlags::RW).union(PteFlags::USER).union(PteFlags::ACCESSED_DIRTY);
/// The entry of the kernel's directory at which the table is attached: far behind what the domain's builder maps.
const FREE_ENTRY: u64 = 400;

/// Turns of an empty loop between two stores, at least.
const PAUSE: u64 = 2000;

static WINDOW: AtomicU64 = AtomicU64::new(0);
static STORES: AtomicU64 = AtomicU64::new(0);
static FAULTS: AtomicU64 = AtomicU64::new(0);
static STOP: AtomicBool = AtomicBool::new(false);

/// On the second vCPU: stores through every entry, again and again, in an order of its own, and so slowly that an
/// array of updates meets entries that have been stored through and others that have not, some of them just then.
fn store(_: &TaskContext, _: usize) {
    let window = WINDOW.load(SeqCst);
    let mut turn = 0_u64;
    while !STOP.load(SeqCst) {
        turn = turn.wrapping_mul(5).wrapping_add(3) % ENTRIES_PER_TABLE as u64;
        let word = VirtAddr::unchecked(window + (turn << 12) + 8 * turn);
        // SAFETY: the word lies in a data page of the pool, which is reached by probes only.
        let count = if unsafe { probe::store(word, 1) }.is_ok() { &STORES } else { &FAULTS };
        count.fetch_add(1, SeqCst);
        for pause in 0..PAUSE + turn {
            core::hint::black_box(pause);
        }
    }
}

/// How the entries are changed before they are emptied, and how they are emptied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As the library does it.
    Preserving,
    /// By normal updates: the fault that has to be found.
    Normal,
}

/// What was found.
#[derive(Default)]
struct Found {
    entries: u64,
    dirty: u64,
    /// Stored through, and not told as dirty.
    lost: u64,
    /// Told as dirty, and not stored through.
    false_dirty: u64,
}

struct Scene {
    table: Live<Page>,
    data: Page,
    buffer: HeldBuffer<ENTRIES_PER_TABLE>,
}

impl Scene {
    fn new(context: &TaskContext) -> Result<Self, Error> {
        let page = take_page().ok_or(Error::NoPage)?;
        let (at, _) = tables::walk(page.address(), Level::L2)?;
        let at = hypercall::PteSlot::of(at.table(), FREE_ENTRY as usize);
        if tables::read(at)? != Pte::EMPTY {
            return Err(Error::Payload);
        }
        WINDOW.store((page.address().value() & !0x3fff_ffff) + (FREE_ENTRY << 21), SeqCst);
        let mut task = TaskState::new();
        let mut outside = Mmu::new(mmu::platform()).outside(&mut task, context);
        let table = Draft::new(page, Level::L1).attach(&mut outside, at, POINTER).map_err(|error| error.failure)?;
        let data = take_page().ok_or(Error::NoPage)?;
        Ok(Self { table, data, buffer: HeldBuffer::new() })
    }

    /// Maps every entry, lets the other vCPU come `patience` stores far, and empties all.
    fn round(
        &mut self,
        region: &mut Region<'_, Platform>,
        (number, way): (u64, Way),
        found: &mut Found,
    ) -> Result<(), Error> {
        let (first, frame) = (self.table.slot(0), self.data.frame());
        region.set_ptes(first, ENTRIES_PER_TABLE, |_| Pte::new(frame, WRITABLE)).map_err(|_| Error::Payload)?;
        region.flush();
        let until = STORES.load(SeqCst) + number * 37 % 200;
        while STORES.load(SeqCst) < until {
            smp::relax();
        }
        let mut dirty = [false; ENTRIES_PER_TABLE];
        match way {
            Way::Normal => self.zap_by_normal_updates(region, &mut dirty),
            Way::Preserving => self.zap(region, number, &mut dirty)?,
        }
        for (index, dirty) in dirty.into_iter().enumerate() {
            let stored = self.data.read(index)? != 0;
            self.data.write(index, 0)?;
            found.entries += 1;
            found.dirty += u64::from(dirty);
            found.lost += u64::from(stored && !dirty);
            found.false_dirty += u64::from(dirty && !stored);
        }
        Ok(())
    }

    fn zap(
        &mut self,
        region: &mut Region<'_, Platform>,
        number: u64,
        dirty: &mut [bool; ENTRIES_PER_TABLE],
    ) -> Result<(), Error> {
        let first = self.table.slot(0);
        match number % 3 {
            1 => region.wrprotect_range(first, ENTRIES_PER_TABLE).map_err(|_| Error::Payload)?,
            2 => drop(region.test_and_clear_young_range(first, ENTRIES_PER_TABLE).map_err(|_| Error::Payload)?),
            _ => {}
        }
        let mut harvest = region.harvest(&mut self.buffer);
        harvest.get_and_clear_range(first, ENTRIES_PER_TABLE).map_err(|_| Error::Payload)?;
        harvest.flush_tlbs();
        harvest.finish().iter().for_each(|held| dirty[held.slot().index()] = held.was_dirty());
        Ok(())
    }

    fn zap_by_normal_updates(&self, region: &mut Region<'_, Platform>, dirty: &mut [bool; ENTRIES_PER_TABLE]) {
        for (index, dirty) in dirty.iter_mut().enumerate() {
            let slot = self.table.slot(index);
            *dirty = region.read_pte(slot).flags().contains(PteFlags::DIRTY);
            region.set_pte(slot, Pte::EMPTY);
        }
        region.mmuext(hypercall::MmuextOp::TlbFlushAll);
        region.flush();
    }
}

/// The payload: `rounds` or `normal rounds`.
fn parse(payload: &[u8]) -> Result<(Way, u64), Error> {
    match payload.strip_prefix(b"normal ") {
        Some(rounds) => Ok((Way::Normal, super::number(rounds)?)),
        None => Ok((Way::Preserving, super::number(payload)?)),
    }
}

/// So many rounds of 512 entries each.
pub(crate) fn walker(context: &TaskContext, payload: &[u8], reply: &mut Reply) -> Result<(), Error> {
    let (way, rounds) = parse(payload)?;
    let mut scene = Scene::new(context)?;
    smp::start(SECOND)?;
    smp::run(store, 0)?;
    let (mut task, mut found) = (TaskState::new(), Found::default());
    let mut region = Mmu::new(mmu::platform()).enter(&mut task, context);
    for number in 0..rounds {
        scene.round(&mut region, (number, way), &mut found)?;
    }
    region.leave()?;
    STOP.store(true, SeqCst);
    smp::wait();
    let mut outside = Mmu::new(mmu::platform()).outside(&mut task, context);
    let draft = scene.table.retire(&mut outside).map_err(|error| error.failure)?;
    answer!(
        reply,
        "entries" = found.entries,
        "dirty" = found.dirty,
        "lost" = found.lost,
        "false_dirty" = found.false_dirty,
        "stores" = STORES.load(SeqCst),
        "faults" = FAULTS.load(SeqCst),
        "left_in_the_table" = draft.entries().count(),
        "reports" = mmu::counts().reports,
    );
    Ok(())
}
