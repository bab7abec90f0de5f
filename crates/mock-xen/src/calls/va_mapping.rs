//! `update_va_mapping`: the L1 entry by which the live tables map an address.

use hypercall::{DomId, Errno, Level, Operation, Pte, VcpuId, VirtAddr};

use super::Args;
use super::decode::va_flush;
use crate::MockXen;
use crate::frames::FrameOwner;
use crate::memory::{ArgumentSource, is_guest_address};
use crate::validate::AccessedDirty;

impl MockXen {
    /// Runs the call; `domain` is the frame's owner in the form that names one.
    ///
    /// The flush comes after the update, and so does the look at its vCPU bitmap: where that cannot
    /// be read, the answer is `-EFAULT` and the entry has changed. A witness is not told such a
    /// call, for which there is no [`Operation`].
    pub(super) fn update_va_mapping<S: ArgumentSource>(
        &self,
        vcpu: VcpuId,
        [va, pte, flags, ..]: Args,
        domain: Option<DomId>,
        source: &S,
    ) -> Result<(), Errno> {
        let pte = Pte::from_bits(pte);
        let owner = domain.map_or(Ok(FrameOwner::Domain), FrameOwner::named);
        let written = owner.and_then(|owner| self.write_mapping(vcpu, va, pte, owner));
        let flush = va_flush(source, flags, self.vcpu_count());
        let va = VirtAddr::unchecked(va);
        let operation = || {
            flush.map(|flush| match domain {
                None => Operation::UpdateVaMapping { va, pte, flush },
                Some(domain) => Operation::UpdateVaMappingOtherdomain { va, pte, flush, domain },
            })
        };
        self.tell(vcpu, operation, Some(written));
        written?;
        if flush.is_none() { Err(Errno::FAULT) } else { Ok(()) }
    }

    /// The tables below a base pointer in use are in use at their levels, so what the walk ends at
    /// is an L1 table.
    ///
    /// # Errors
    /// `-EINVAL` where the address is not the guest's or no L1 table translates it; what the entry
    /// is refused with.
    fn write_mapping(&self, vcpu: VcpuId, va: u64, pte: Pte, owner: FrameOwner) -> Result<(), Errno> {
        let tables = self.frames.tables.read();
        let base = self.vcpu_state(vcpu).lock().base;
        let walked = self.frames.walk(base, va, Level::L1).filter(|_| is_guest_address(va)).ok_or(Errno::INVAL)?;
        let entry = (walked.table, walked.index);
        self.frames.update_l1(&tables, entry, pte, AccessedDirty::Replace, owner).map(drop)
    }
}
