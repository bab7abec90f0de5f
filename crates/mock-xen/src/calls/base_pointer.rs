//! The base pointers a vCPU runs on: each is a reference of both kinds on an L4 table.

use hypercall::{Errno, Level, Mfn, VcpuId};

use crate::MockXen;
use crate::frames::{FrameType, Tables};
use crate::validate::{Applied, xen_slots};

const L4: FrameType = FrameType::Table(Level::L4);

impl MockXen {
    /// Takes the references for the base pointer that a vCPU starts with.
    pub(crate) fn start_on(&self, base: Mfn) -> Applied {
        self.frames.with_tables(|tables| self.claim_base(tables, base))
    }

    fn claim_base(&self, tables: &mut Tables, table: Mfn) -> Result<(), Errno> {
        self.frames.claim(tables, table, L4)?;
        if let Some(frame) = self.frames.guest(table) {
            xen_slots::show_machine_to_physical(frame, &self.frames.layout);
        }
        Ok(())
    }

    /// Loads the kernel base pointer; loading the one that is loaded does nothing.
    ///
    /// `-EINVAL` where the frame is not the guest's or in use as something else, what its entries
    /// are refused with otherwise; the old one stays loaded then.
    pub(crate) fn load_base(&self, vcpu: VcpuId, table: Mfn) -> Applied {
        let state = self.vcpu_state(vcpu);
        self.frames.with_tables(|tables| {
            if state.lock().base == table {
                return Ok(());
            }
            self.claim_base(tables, table)?;
            let old = std::mem::replace(&mut state.lock().base, table);
            if let Some(old) = self.frames.guest(old) {
                self.frames.unclaim(tables, old);
            }
            Ok(())
        })
    }

    /// Loads the user base pointer, or none for frame 0; otherwise as [`MockXen::load_base`].
    pub(crate) fn load_user_base(&self, vcpu: VcpuId, table: Mfn) -> Applied {
        let state = self.vcpu_state(vcpu);
        let table = (table.number() != 0).then_some(table);
        self.frames.with_tables(|tables| {
            if state.lock().user_base == table {
                return Ok(());
            }
            if let Some(table) = table {
                self.frames.claim(tables, table, L4)?;
            }
            let old = std::mem::replace(&mut state.lock().user_base, table);
            if let Some(old) = old.and_then(|old| self.frames.guest(old)) {
                self.frames.unclaim(tables, old);
            }
            Ok(())
        })
    }
}
