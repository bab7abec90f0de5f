//! Bringing the arena back to what it was.
//!
//! In an order in which nothing is left that holds a page: base pointers and descriptor tables,
//! pins, entries of the arena's tables from the root down, the home of each page, and last contents
//! and machine-to-physical words.

use hypercall::abi::{
    HYPERCALL_MMU_UPDATE, HYPERCALL_MMUEXT_OP, HYPERCALL_SET_GDT, MMU_MACHPHYS_UPDATE, MMUEXT_CLEAR_PAGE,
    MMUEXT_NEW_BASEPTR, MMUEXT_NEW_USER_BASEPTR, MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L4_TABLE, MMUEXT_SET_LDT,
    MMUEXT_UNPIN_TABLE,
};
use hypercall::{DomId, ENTRIES_PER_TABLE, PteFlags, PteSlot, RawCall};

use super::Runner;
use super::world::FrameSet;
use crate::arena::{FIRST_PAGE, argument_address, reserved};
use crate::frame::{Frame, PageId, Special, Table};
use crate::machine::{Arm, Machine};
use crate::record::{CLEAN, DIFFERENT, HELD, Record};
use crate::wire::{Digest, Sink};

impl<M: Machine> Runner<'_, M> {
    /// Brings the arena back, and writes down whether that was possible.
    pub(super) fn clean<S: Sink>(&mut self, sink: &mut S) -> bool {
        self.reset_processor();
        self.unpin();
        for table in [Table::Root, Table::L3, Table::L2, Table::L1] {
            self.restore_table(table);
        }
        for page in self.named.pages() {
            let answer = self.restore_page(page);
            if answer != 0 {
                sink.bytes(&[HELD, page.number() as u8]);
                sink.signed(answer);
                return false;
            }
        }
        self.stale = true;
        self.flush();
        self.restore_m2p();
        self.verify(sink)
    }

    fn reset_processor(&mut self) {
        let root = self.number(Table::Root.into());
        let operations =
            [MMUEXT_NEW_BASEPTR.into(), root, 0, MMUEXT_NEW_USER_BASEPTR.into(), 0, 0, MMUEXT_SET_LDT.into(), 0, 0];
        self.own(HYPERCALL_MMUEXT_OP, &operations, 3);
        let args = [argument_address(0), 0, 0, 0, 0];
        self.machine.hypercall(RawCall { number: HYPERCALL_SET_GDT, args }, Arm::Off);
        self.loaded = FrameSet(0);
    }

    /// Takes pins off all pages and tables, and pins the root again. Most were never pinned: Xen
    /// refuses those.
    fn unpin(&mut self) {
        let tables = [Table::L1, Table::L2, Table::L3].map(Frame::from);
        for frame in self.named.pages().map(Frame::from).chain(tables) {
            self.extended(MMUEXT_UNPIN_TABLE, self.number(frame));
        }
        self.extended(MMUEXT_PIN_L4_TABLE, self.number(Table::Root.into()));
    }

    /// Puts back every entry of a table of the arena that has changed. What a page's home maps may be
    /// another page: it is emptied first, and the page is restored with those the program names.
    fn restore_table(&mut self, table: Table) {
        let frame = Frame::from(table);
        self.world.observe(self.machine, only(frame), &mut Digest::new());
        for index in 0..ENTRIES_PER_TABLE {
            let first = self.world.at_first(frame, index);
            let xens = table == Table::Root && (256..272).contains(&index);
            if self.world.load(frame, index) == first || reserved(table, index) || xens {
                continue;
            }
            let home = if table == Table::L1 { index.checked_sub(FIRST_PAGE).and_then(PageId::new) } else { None };
            let entry = home.map_or(first, |page| {
                self.named.add(page.into());
                0
            });
            self.update(self.slot(frame, index), entry);
        }
    }

    /// Maps a page at home again, empties it, and shows that nothing else holds it: without a
    /// writable mapping it can be pinned. Answers with the first refusal.
    fn restore_page(&mut self, page: PageId) -> i64 {
        let (table, index) = (Frame::from(Table::L1), FIRST_PAGE + page.number());
        let (slot, home, mfn) = (self.slot(table, index), self.world.at_first(table, index), self.number(page.into()));
        let read_only = home & !PteFlags::RW.bits();
        let mut answer = self.update(slot, home);
        for (command, entry) in
            [(MMUEXT_CLEAR_PAGE, read_only), (MMUEXT_PIN_L1_TABLE, read_only), (MMUEXT_UNPIN_TABLE, home)]
        {
            if answer == 0 {
                answer = self.extended(command, mfn);
            }
            if answer == 0 {
                answer = self.update(slot, entry);
            }
        }
        answer
    }

    fn restore_m2p(&mut self) {
        while let Some((frame, first)) = self.world.changed_m2p() {
            let domain = if frame == Special::Vga.into() { DomId::IO } else { DomId::SELF };
            for (index, word) in [self.slot(frame, 0) | u64::from(MMU_MACHPHYS_UPDATE), first].into_iter().enumerate() {
                self.machine.put_argument(index, word);
            }
            let args = [argument_address(0), 1, 0, domain.number().into(), 0];
            self.machine.hypercall(RawCall { number: HYPERCALL_MMU_UPDATE, args }, Arm::Off);
            self.world.forget_m2p(frame);
        }
    }

    fn verify<S: Sink>(&mut self, sink: &mut S) -> bool {
        self.world.observe(self.machine, FrameSet::ALL, &mut Digest::new());
        match self.world.first_difference() {
            None => {
                sink.byte(CLEAN);
                true
            }
            Some((frame, index, word)) => {
                sink.bytes(&[DIFFERENT, frame.code()]);
                sink.number(index as u64);
                sink.word(word);
                false
            }
        }
    }

    fn number(&self, frame: Frame) -> u64 {
        self.world.mfn(frame).map_or(0, hypercall::Mfn::number)
    }

    fn slot(&self, frame: Frame, index: usize) -> u64 {
        self.world.mfn(frame).map_or(0, |mfn| PteSlot::of(mfn, index).bits())
    }
}

fn only(frame: Frame) -> FrameSet {
    let mut set = FrameSet(0);
    set.add(frame);
    set
}
