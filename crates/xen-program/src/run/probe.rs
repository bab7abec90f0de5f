//! Probes: what Xen's answers tell of counts it does not show.
//!
//! A frame can be mapped writable exactly as long as nothing needs it to be something else, and
//! pinned at a level exactly as long as it is, or can become, a table of that level. A probe in the
//! middle of a program leaves everything as it was. At the end it goes further: pins are taken off,
//! and what is then free to become a table is tried at every level, which edits its entries.

use hypercall::abi::{MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L4_TABLE, MMUEXT_UNPIN_TABLE};
use hypercall::{Mfn, Pte, PteSlot};

use super::Runner;
use crate::arena::{LEAF, PROBE};
use crate::frame::{Frame, Table};
use crate::machine::Machine;
use crate::record::{END, PAGE_PROBE, PROBED, REFUSED, Record, Refusal};
use crate::wire::Sink;

/// A refusal to map a frame writable because of what it is in use as.
const BUSY: i64 = hypercall::Errno::BUSY.as_return();

impl<M: Machine> Runner<'_, M> {
    /// A probe within a program.
    pub(super) fn probe<S: Sink>(&mut self, frame: Frame, sink: &mut S) {
        let Some(mfn) = self.world.mfn(frame) else {
            sink.bytes(&[REFUSED, Refusal::NoSuchFrame as u8]);
            return;
        };
        sink.byte(PROBED);
        let writable = self.probe_writable(mfn);
        sink.signed(writable);
        if writable == BUSY {
            self.probe_levels(mfn, sink);
        }
    }

    /// The probes behind the last step, of each page the program names.
    pub(super) fn probe_all<S: Sink>(&mut self, sink: &mut S) {
        for page in self.named.pages() {
            let Some(mfn) = self.world.mfn(page.into()) else { continue };
            sink.bytes(&[PAGE_PROBE, page.number() as u8]);
            let writable = self.probe_writable(mfn);
            sink.signed(writable);
            if writable == BUSY {
                let unpinned = self.extended(MMUEXT_UNPIN_TABLE, mfn.number());
                sink.signed(unpinned);
                self.probe_levels(mfn, sink);
            }
        }
        sink.byte(END);
    }

    /// Whether the frame can be mapped writable.
    fn probe_writable(&mut self, mfn: Mfn) -> i64 {
        let Some(table) = self.world.mfn(Table::L1.into()) else { return 0 };
        let slot = PteSlot::of(table, PROBE).bits();
        let answer = self.update(slot, Pte::new(mfn, LEAF).bits());
        if answer == 0 {
            self.update(slot, 0);
        }
        answer
    }

    /// Whether the frame can be pinned, level by level; each pin is taken off again.
    fn probe_levels<S: Sink>(&mut self, mfn: Mfn, sink: &mut S) {
        for command in MMUEXT_PIN_L1_TABLE..=MMUEXT_PIN_L4_TABLE {
            let answer = self.extended(command, mfn.number());
            sink.signed(answer);
            if answer == 0 {
                self.extended(MMUEXT_UNPIN_TABLE, mfn.number());
            }
        }
    }
}
