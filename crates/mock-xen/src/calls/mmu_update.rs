//! `mmu_update`: entries of page tables, and words of the machine-to-physical table.

use hypercall::abi::{
    MMU_MACHPHYS_UPDATE, MMU_NORMAL_PT_UPDATE, MMU_PT_UPDATE_NO_TRANSLATE, MMU_PT_UPDATE_PRESERVE_AD,
};
use hypercall::{Errno, Mfn, MmuUpdate, Operation, PteSlot, Subject};

use super::Caller;
use super::array::ArrayCall;
use super::owner::NotStarted;
use crate::MockXen;
use crate::domain::FrameOwner;
use crate::memory::ArgumentSource;
use crate::planted::Fault;
use crate::validate::{AccessedDirty, Applied};

/// The call.
pub(super) struct Updates;

/// The low three bits of an update's first word, and what the rest of it names.
struct Target {
    command: u32,
    frame: Mfn,
    index: usize,
}

impl Target {
    const fn of(word: u64) -> Self {
        Self { command: (word & 7) as u32, frame: Mfn::new(word >> 12), index: (word >> 3 & 0x1ff) as usize }
    }
}

impl ArrayCall for Updates {
    /// The two words.
    type Item = [u64; 2];
    const SIZE: u64 = 16;

    fn owner(xen: &MockXen, word: u32) -> Result<FrameOwner, NotStarted> {
        xen.owner_of_updates(word)
    }

    fn fetch<S: ArgumentSource>(_xen: &MockXen, source: &S, address: u64) -> Option<Self::Item> {
        source.read(address)
    }

    fn operation(&[slot, value]: &Self::Item, owner: u32) -> Option<Operation> {
        let update = MmuUpdate { slot: PteSlot::from_bits(slot), value };
        Some(Operation::Update { update, subject: Subject::from_bits(owner) })
    }

    fn apply(xen: &MockXen, caller: &mut Caller<'_>, &[slot, value]: &Self::Item, owner: FrameOwner) -> Applied {
        let Target { command, frame, index } = Target::of(slot);
        let merge = match command {
            MMU_MACHPHYS_UPDATE => return xen.set_machine_word(frame, value, owner).into(),
            MMU_NORMAL_PT_UPDATE | MMU_PT_UPDATE_NO_TRANSLATE => AccessedDirty::Replace,
            MMU_PT_UPDATE_PRESERVE_AD => AccessedDirty::Preserve,
            _ => return Err(xen.refusal(Fault::UnknownCommandInvalid, Errno::INVAL, Errno::NOSYS)).into(),
        };
        if let Err(errno) = xen.machine.domain.may_map(owner) {
            return Err(errno).into();
        }
        let applied = xen.machine.write_slot(caller.running, (frame, index), value, merge, owner);
        if let Some(replaced) = applied.replaced {
            xen.tell_replaced(caller.vcpu, PteSlot::of(frame, index), replaced);
        }
        applied
    }
}

impl MockXen {
    fn set_machine_word(&self, frame: Mfn, value: u64, owner: FrameOwner) -> Result<(), Errno> {
        self.machine.domain.may_map(owner)?;
        if owner == FrameOwner::Io && self.planted(Fault::IoMachineWordRefused) {
            return Err(Errno::INVAL);
        }
        if owner == FrameOwner::Domain && self.planted(Fault::MachineWordLost) {
            return self.machine.frames.owned(frame, owner).map(drop);
        }
        self.machine.frames.set_m2p(frame, value, owner)
    }
}
