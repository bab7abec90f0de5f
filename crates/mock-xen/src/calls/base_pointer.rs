//! The base pointers a vCPU runs on: each is a reference of both kinds on an L4 table.
//!
//! The old one is given back after the new one is in force. Where that is interrupted, the operation
//! is asked for again and finds itself done.

use hypercall::{FlushScope, Level, Mfn, VcpuId};

use crate::MockXen;
use crate::domain::Assist;
use crate::frames::{Frame, FrameType};
use crate::machine::TableWork;
use crate::planted::Fault;
use crate::running::Running;
use crate::validate::{Hold, Stop, xen_slots};

const L4: FrameType = FrameType::Table(Level::L4);

impl MockXen {
    /// Takes the references for a base pointer that a vCPU starts with.
    pub(crate) fn start_on(&self, running: &mut Running, base: Mfn) -> Result<(), Stop> {
        let mut work = self.machine.work(running);
        self.acquire_base(&mut work, base)
    }

    /// Takes the references for a kernel base pointer and makes the table fit for it.
    pub(super) fn acquire_base(&self, work: &mut TableWork<'_>, table: Mfn) -> Result<(), Stop> {
        let frame = self.machine.acquire(work, table, L4, Hold::Operation)?;
        if !self.machine.domain.has(Assist::StrictMachineToPhysical) {
            xen_slots::show_machine_to_physical(frame, &self.machine.frames.layout);
        }
        self.miscount(Fault::BaseUncounted, frame);
        Ok(())
    }

    /// Loads the kernel base pointer, which flushes the vCPU's TLB; loading the one that is loaded does
    /// only that.
    ///
    /// # Errors
    /// `-EINVAL` where the frame is not the guest's or in use as something else, what its entries
    /// are refused with otherwise; the old one stays loaded then. Interrupted.
    pub(super) fn load_base(&self, running: &mut Running, vcpu: VcpuId, table: Mfn) -> Result<(), Stop> {
        let state = self.vcpu_state(vcpu);
        let mut work = self.machine.work(running);
        if state.lock().base == table {
            self.machine.tlbs.flush(vcpu, FlushScope::Local);
            return Ok(());
        }
        self.acquire_base(&mut work, table)?;
        let old = std::mem::replace(&mut state.lock().base, table);
        self.machine.tlbs.flush(vcpu, FlushScope::Local);
        self.put_base(&mut work, Some(old).filter(|_| !self.planted(Fault::OldBaseKept)))
    }

    /// Loads the user base pointer, or none for frame 0; otherwise as [`MockXen::load_base`], without
    /// a flush: the vCPU runs in kernel mode.
    ///
    /// # Errors
    /// As [`MockXen::load_base`].
    pub(crate) fn load_user_base(&self, running: &mut Running, vcpu: VcpuId, table: Mfn) -> Result<(), Stop> {
        let state = self.vcpu_state(vcpu);
        let table = (table.number() != 0).then_some(table);
        let mut work = self.machine.work(running);
        if state.lock().user_base == table {
            return Ok(());
        }
        if let Some(table) = table {
            let frame = self.machine.acquire(&mut work, table, L4, Hold::Operation)?;
            if self.machine.domain.has(Assist::StrictMachineToPhysical) {
                xen_slots::hide_machine_to_physical(frame);
            }
            self.miscount(Fault::UserBaseUncounted, frame);
        }
        let old = std::mem::replace(&mut state.lock().user_base, table);
        self.put_base(&mut work, old)
    }

    fn put_base(&self, work: &mut TableWork<'_>, old: Option<Mfn>) -> Result<(), Stop> {
        match old.and_then(|old| self.machine.frames.guest(old)) {
            Some(frame) => Ok(self.machine.put(work, frame)?),
            None => Ok(()),
        }
    }

    /// What a planted fault does to the type count of a frame on which a reference has been taken.
    pub(super) fn miscount(&self, fault: Fault, frame: &Frame) {
        if self.planted(fault) {
            let mut state = frame.state.lock();
            state.type_count = state.type_count.saturating_sub(1);
        }
    }
}
