//! The guest, rebuilt on the mock hypervisor from what the first pass has learnt.
//!
//! Every frame the trace names has its machine frame and its place in the direct map, writable unless it was a table
//! when the trace began. Tables older than the trace are validated and empty. An L4 has the kernel's half, without which
//! no direct map could be reached through it. All of this is set up before the referee listens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hypercall::{
    DomId, ENTRIES_PER_TABLE, Errno, Level, Mfn, MmuextOp, Operation, Pfn, Pte, PteFlags, PteSlot, VaFlush, VcpuId,
    issue_operation,
};
use mock_xen::referee::Referee;
use mock_xen::{GuestBuilder, MockVcpu, MockXen, StoreError, Witness};

use super::error::ReplayError;
use super::frames::{Frames, Older};
use super::policy::Memory;
use super::program::{GuestEvent, MachineSlot};
use super::request::address_of;

/// First entry of an L4 that is the guest kernel's own; those before are user mode's and Xen's.
const KERNEL_HALF: usize = 272;

/// What tables hold, by frame.
pub(crate) type Tables = BTreeMap<Mfn, Box<[u64; ENTRIES_PER_TABLE]>>;

/// The rebuilt guest.
pub(crate) struct World {
    xen: MockXen,
    /// The L4 that is the model of every other.
    root: Mfn,
}

/// Lets the referee hear of arrivals once the guest is set up.
struct Gate {
    referee: Arc<Referee>,
    open: AtomicBool,
}

impl Witness for Gate {
    fn arrived(&self, vcpu: VcpuId, operation: &Operation, result: Option<Result<(), Errno>>) {
        if self.open.load(Ordering::Relaxed) {
            self.referee.arrived(vcpu, operation, result);
        }
    }
}

impl World {
    /// Rebuilds the guest; from then on `referee` hears what arrives.
    ///
    /// # Errors
    /// [`ReplayError::World`] where the mock refuses what the trace seems to show.
    pub(crate) fn build(frames: &Frames, referee: &Arc<Referee>) -> Result<Self, ReplayError> {
        let gate = Arc::new(Gate { referee: Arc::clone(referee), open: AtomicBool::new(false) });
        let mut builder = GuestBuilder::new(frames.vcpus().max(1));
        builder.direct_map_at(address_of(Pfn::new(0)));
        frames.memory().for_each(|(pfn, mfn)| _ = builder.ram(pfn, mfn));
        for (frame, older) in frames.older() {
            let mfn = frames.machine(*frame);
            match older {
                Older::Table(Level::L4) => {}
                Older::Table(level) => _ = builder.table(mfn, *level).pin(mfn),
                Older::ReadOnly => _ = builder.table(mfn, Level::L2),
            }
        }
        builder.witness(Arc::clone(&gate) as Arc<dyn Witness>);
        let xen = builder.build().map_err(|error| ReplayError::World(error.to_string()))?;
        let root = xen.processor(VcpuId::new(0)).base;
        let world = Self { xen, root };
        world.pin_older_roots(frames)?;
        gate.open.store(true, Ordering::Relaxed);
        Ok(world)
    }

    /// One vCPU's way to the mock.
    pub(crate) fn vcpu(&self, vcpu: VcpuId) -> MockVcpu<'_> {
        self.xen.vcpu(vcpu)
    }

    /// All vCPUs.
    pub(crate) fn vcpus(&self) -> impl Iterator<Item = VcpuId> + use<> {
        (0..self.xen.vcpu_count()).map(VcpuId::new)
    }

    /// Does what the guest does beside its batcher.
    ///
    /// # Errors
    /// The store that a guest could not make.
    pub(crate) fn apply(&self, event: &GuestEvent) -> Result<(), StoreError> {
        match *event {
            GuestEvent::Zero { frame } => self.zero(frame),
            GuestEvent::CopyKernelHalf { frame } => self.copy_kernel_half(frame),
            GuestEvent::Store { slot, value } => self.xen.write_plain(slot.table, slot.index, value),
            GuestEvent::Trapped { slot, value } => self.xen.trapped_write(pte_slot(slot), Pte::from_bits(value)),
        }
    }

    /// The entry at `slot`; 0 where there is no such frame.
    pub(crate) fn entry(&self, slot: MachineSlot) -> u64 {
        self.xen.read_entry(pte_slot(slot)).map_or(0, Pte::bits)
    }

    /// What every table in use holds.
    pub(crate) fn tables(&self) -> Tables {
        self.xen.snapshot()
    }

    /// What of the mock's reference counts does not add up.
    pub(crate) fn miscounts(&self) -> Option<String> {
        self.xen.audit().err().map(|failure| format!("{failure:?}"))
    }

    fn zero(&self, frame: Mfn) -> Result<(), StoreError> {
        let entries = self.xen.table_entries(frame).into_iter().flat_map(|entries| entries.into_iter().enumerate());
        let used = entries.filter(|(_, word)| *word != 0);
        used.map(|(index, _)| index).try_for_each(|index| self.xen.write_plain(frame, index, 0))
    }

    fn copy_kernel_half(&self, frame: Mfn) -> Result<(), StoreError> {
        let model = self.xen.table_entries(self.root).ok_or(StoreError::NotTheGuests(self.root))?;
        let half = model.iter().enumerate().skip(KERNEL_HALF).filter(|(_, word)| **word != 0);
        half.into_iter().try_for_each(|(index, word)| self.xen.write_plain(frame, index, *word))
    }

    fn pin_older_roots(&self, frames: &Frames) -> Result<(), ReplayError> {
        let roots = frames.older().iter().filter(|(_, older)| *older == Older::Table(Level::L4));
        for (frame, _) in roots {
            self.pin_root(*frame, frames.machine(*frame))?;
        }
        Ok(())
    }

    fn pin_root(&self, frame: Pfn, table: Mfn) -> Result<(), ReplayError> {
        self.copy_kernel_half(table).map_err(|error| ReplayError::World(error.to_string()))?;
        let flags = PteFlags::PRESENT | PteFlags::ACCESSED | PteFlags::DIRTY | PteFlags::NX;
        let read_only =
            Operation::UpdateVaMapping { va: address_of(frame), pte: Pte::new(table, flags), flush: VaFlush::None };
        let pin = Operation::Mmuext { op: MmuextOp::Pin { level: Level::L4, table }, domain: DomId::SELF };
        let mut vcpu = self.vcpu(VcpuId::new(0));
        [read_only, pin]
            .iter()
            .try_for_each(|operation| issue_operation(&mut vcpu, operation))
            .map_err(|errno| ReplayError::World(format!("{table} cannot be an L4: {errno}")))
    }
}

impl Memory for &World {
    fn read(&self, slot: PteSlot) -> Pte {
        self.xen.read_entry(slot).unwrap_or(Pte::EMPTY)
    }
}

/// The slot as the hypervisor names it.
pub(crate) const fn pte_slot(slot: MachineSlot) -> PteSlot {
    PteSlot::of(slot.table, slot.index)
}
