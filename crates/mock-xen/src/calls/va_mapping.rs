//! `update_va_mapping`: the L1 entry by which the live tables map an address.

use hypercall::{DomId, Errno, Operation, Pte, PteSlot, VaFlush, VcpuId, VirtAddr};

use super::Args;
use super::decode::va_flush;
use crate::MockXen;
use crate::domain::FrameOwner;
use crate::memory::ArgumentSource;
use crate::planted::Fault;
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
        let early = self.planted(Fault::BitmapReadFirst) && va_flush(source, flags, self.vcpu_count()).is_none();
        let written = match domain.map_or(Ok(FrameOwner::Domain), |domain| self.named(domain)) {
            Ok(_) if early => Err(Errno::FAULT),
            Ok(owner) => self.write_mapping(vcpu, va, pte, owner),
            Err(errno) => Err(errno),
        };
        let looked_at = written.is_ok() || self.has_witness();
        let flush = if looked_at { va_flush(source, flags, self.vcpu_count()) } else { None };
        let va = VirtAddr::unchecked(va);
        let operation = || {
            flush.map(|flush| match domain {
                None => Operation::UpdateVaMapping { va, pte, flush },
                Some(domain) => Operation::UpdateVaMappingOtherdomain { va, pte, flush, domain },
            })
        };
        self.tell(vcpu, operation, Some(written));
        written?;
        match flush {
            Some(VaFlush::Tlb(scope)) => self.machine.tlbs.flush(vcpu, scope),
            Some(VaFlush::Invlpg(scope)) => self.machine.tlbs.invalidate(vcpu, scope, va),
            Some(VaFlush::None) => {}
            None if self.planted(Fault::BitmapFaultIgnored) => {}
            None => return Err(Errno::FAULT),
        }
        Ok(())
    }

    /// # Errors
    /// `-EPERM` where an unprivileged domain names `DOMID_XEN`, `-EINVAL` where the address is not the
    /// guest's or no L1 table in use translates it; what the entry is refused with.
    fn write_mapping(&self, vcpu: VcpuId, va: u64, pte: Pte, owner: FrameOwner) -> Result<(), Errno> {
        self.machine.domain.may_map(owner)?;
        let missing = self.refusal(Fault::VaWithoutTableFault, Errno::FAULT, Errno::INVAL);
        let tables = self.machine.tables();
        let base = self.vcpu_state(vcpu).lock().base;
        let slot = self.machine.live_l1(&tables, base, va).ok_or(missing)?;
        let replaced = self.machine.update_l1(&tables, slot, pte, AccessedDirty::Replace, owner)?;
        drop(tables);
        self.tell_replaced(vcpu, PteSlot::of(slot.0.mfn, slot.1), replaced);
        Ok(())
    }
}
