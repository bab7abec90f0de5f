//! Linux 6.1's way, from a caller's wish down to the hypercalls.
//!
//! - `ptep_get_and_clear` and `ptep_set_wrprotect` are atomic instructions on entries that are mapped
//!   read-only. Xen traps and emulates each.
//! - In a lazy region `set_pte` goes into the vCPU's buffer ([`Buffer`]); outside it is a call of its own that does not
//!   look at the buffer. What a paravirtual call takes on the way is not simulated, to the peer's advantage.
//! - TLB flushes, pins, base pointers and remappings go through the buffer too, which leaves at once outside regions.
//! - A page becomes a table (`xen_alloc_pte`) by a multicall of its remapping and its pinning before anything
//!   is set in it, and a page again (`xen_release_pte`) by one of its unpinning and its remapping once it is
//!   empty. An address space that ends as a whole is unpinned first; `Retire` is not that but munmap.
//! - A switch leaves the region first; what it loads leaves as a multicall at its end.

use hypercall::{Batch, Hypervisor, MmuUpdate, MmuextOp, Operation, Pte, PteFlags, Subject, VaFlush};
use pv_mmu::Platform as _;

use super::peer::Peer;
use crate::{Error, Ground, ground::At, measure::remap};

/// Entries of the buffer.
const ENTRIES: usize = 32;
/// Bytes of arguments, one more than can be used.
const BYTES: usize = 512;
/// Enough words for the arguments in the layout of [`Batch`].
const WORDS: usize = 5 * ENTRIES;

/// The hypercall of an entry, as far as appending tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Update,
    Mmuext,
    Registers,
}

/// One vCPU's buffer: Linux's own counts decide when it leaves, a [`Batch`] carries the operations.
///
/// 32 entries and 512 bytes of arguments, of which the comparison leaves 511 usable. An operation
/// is appended to the array of the very last entry where that is of the same hypercall and the caller is one of those
/// that try. Callbacks, of which 32 fit, never run out before the entries do and are left out.
#[derive(Debug, Default)]
pub struct Buffer {
    entries: usize,
    bytes: usize,
    last: Option<Kind>,
    batch: Batch<ENTRIES, ENTRIES, WORDS>,
}

impl Buffer {
    /// Queues an operation, whose caller tries to append it to the last entry if it `extends`; a set of vCPUs takes `mask`
    /// bytes. Hands over before what there is no room beside.
    ///
    /// Linux warns of refusals and goes on: they are to be seen at the hypervisor.
    pub fn queue<H: Hypervisor>(&mut self, operation: &Operation, mask: usize, extends: bool, hypervisor: &mut H) {
        if let Operation::Update { update, subject: Subject::SELF } = operation {
            return self.update(*update, hypervisor);
        }
        let (bytes, kind) = arguments(operation, mask);
        self.make_room(bytes, kind, extends, hypervisor);
        let pushed = self.batch.push(operation);
        debug_assert!(pushed.is_ok(), "the batch has room for whatever Linux's buffer has");
    }

    /// Queues an update of the kernel's own tables.
    #[inline]
    pub fn update<H: Hypervisor>(&mut self, update: MmuUpdate, hypervisor: &mut H) {
        self.make_room(16, Kind::Update, true, hypervisor);
        let pushed = self.batch.push_update(update, Subject::SELF);
        debug_assert!(pushed.is_ok(), "the batch has room for whatever Linux's buffer has");
    }

    #[inline]
    fn make_room<H: Hypervisor>(&mut self, bytes: usize, kind: Kind, extends: bool, hypervisor: &mut H) {
        if !(extends && self.last == Some(kind) && self.bytes + bytes < BYTES) {
            self.open_entry(bytes, kind, hypervisor);
        }
        self.bytes += bytes;
    }

    fn open_entry<H: Hypervisor>(&mut self, bytes: usize, kind: Kind, hypervisor: &mut H) {
        self.bytes = self.bytes.next_multiple_of(8);
        if self.entries == ENTRIES || self.bytes + bytes >= BYTES {
            self.flush(hypervisor);
        }
        self.entries += 1;
        self.last = Some(kind);
    }

    /// How many operations wait.
    #[must_use]
    pub fn queued(&self) -> usize {
        (0..self.batch.len()).filter_map(|call| self.batch.entry(call)).map(|entry| usize::from(entry.len)).sum()
    }

    /// Hands everything over: one entry as a call of its own, several as a multicall.
    pub fn flush<H: Hypervisor>(&mut self, hypervisor: &mut H) {
        if self.batch.len() > 1 {
            let _ = hypervisor.multicall(&mut self.batch.prepare());
        } else if let Some(mut call) = self.batch.prepare_call(0, 0) {
            hypervisor.call(&mut call);
        }
        self.batch.clear();
        (self.entries, self.bytes, self.last) = (0, 0, None);
    }
}

/// Bytes of arguments an operation takes, where a set of vCPUs takes `mask`, and the hypercall it goes through.
const fn arguments(operation: &Operation, mask: usize) -> (usize, Kind) {
    match operation {
        Operation::Update { .. } => (16, Kind::Update),
        Operation::Mmuext { op: MmuextOp::TlbFlushMulti { .. } | MmuextOp::InvlpgMulti { .. }, .. } => {
            (24 + mask, Kind::Mmuext)
        }
        Operation::Mmuext { .. } => (24, Kind::Mmuext),
        _ => (0, Kind::Registers),
    }
}

/// Whether the caller tries to append to the last entry: walks over tables do, and whoever loads base pointers.
const fn extends(operation: &Operation) -> bool {
    use MmuextOp::{NewBaseptr, NewUserBaseptr, Pin, Unpin};
    let Operation::Mmuext { op, .. } = operation else { return false };
    matches!(op, Pin { .. } | Unpin { .. } | NewBaseptr { .. } | NewUserBaseptr { .. })
}

/// A kernel with that buffer.
pub(crate) struct Linux(Buffer);

impl<G: Ground> Peer<G> for Linux {
    fn new() -> Self {
        Self(Buffer::default())
    }

    #[inline]
    fn update(&mut self, ground: &G, update: MmuUpdate) -> Result<(), Error> {
        ground.hypervisor(|hypervisor| self.0.update(update, hypervisor));
        Ok(())
    }

    fn update_now(&mut self, ground: &G, update: MmuUpdate) -> Result<(), Error> {
        Ok(ground.hypervisor(|hypervisor| hypervisor.mmu_update(&[update], Subject::SELF)).result?)
    }

    fn empty(&mut self, ground: &G, at: At) -> Result<Pte, Error> {
        ground.exchange(at, Pte::EMPTY)
    }

    fn write_protect(&mut self, ground: &G, at: At) -> Result<(), Error> {
        ground.clear_writable(at)
    }

    fn other(&mut self, ground: &G, operation: &Operation) -> Result<(), Error> {
        ground.hypervisor(|hypervisor| self.0.queue(operation, 8, extends(operation), hypervisor));
        Ok(())
    }

    /// With interrupts off, whether there is anything or not.
    fn flush(&mut self, ground: &G) -> Result<(), Error> {
        ground.platform().with_vcpu(|_, hypervisor| self.0.flush(hypervisor));
        Ok(())
    }

    fn switch_begins(&mut self, ground: &G) -> Result<(), Error> {
        self.flush(ground)
    }

    /// Linux flushes no TLB for a page it remaps.
    fn remap(ground: &G, table: usize, right: PteFlags) -> Operation {
        match remap(ground, table, right) {
            Operation::UpdateVaMapping { va, pte, .. } => Operation::UpdateVaMapping { va, pte, flush: VaFlush::None },
            other => other,
        }
    }
}
