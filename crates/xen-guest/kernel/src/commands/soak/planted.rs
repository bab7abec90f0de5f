//! What each kind of wrong looks like, told to a ledger of its own, which has to find it.

use core::sync::atomic::Ordering::SeqCst;

use hypercall::{DomId, Mfn, MmuUpdate, MmuextOp, Operation, Pte, Record, Subject, VirtAddr};

use super::ledger::{Ledger, Wrong};

/// The entry that is written, and its owner.
const ENTRY: usize = 0;
const OWNER: usize = 0;

impl Ledger {
    fn hears_of(&self, operation: Operation) {
        self.hears(&Record::Operation { operation, result: Some(Ok(())) });
    }

    fn hears_of_write(&self, pte: Pte) {
        let update = MmuUpdate::new(self.slot(ENTRY), pte);
        self.hears_of(Operation::Update { update, subject: Subject::SELF });
    }

    fn hears_of_flush(&self, address: VirtAddr) {
        self.hears_of(Operation::Mmuext { op: MmuextOp::InvlpgLocal { address }, domain: DomId::SELF });
    }

    /// Does `wrong`, beside writes that are right.
    fn plant(&self, wrong: Wrong) {
        let (first, second) = (self.ask(ENTRY), self.ask(ENTRY));
        match wrong {
            Wrong::Lost => self.is_effective(ENTRY, first),
            Wrong::Duplicated => [first, second, second].into_iter().for_each(|pte| self.hears_of_write(pte)),
            Wrong::Reordered => [second, first].into_iter().for_each(|pte| self.hears_of_write(pte)),
            Wrong::Invented => self.hears_of_write(self.value(3)),
            Wrong::Overtaken => self.ask_flush(OWNER).into_iter().for_each(|address| self.hears_of_flush(address)),
            Wrong::FlushLost => {
                let _owed = self.ask_flush(OWNER);
                self.flush_is_effective(OWNER);
            }
            Wrong::Misread => self.is_read(ENTRY, first),
            Wrong::Differs => {
                [first, second].into_iter().for_each(|pte| self.hears_of_write(pte));
                self.is_effective(ENTRY, first);
            }
        }
    }

    /// A thousand writes as they ought to be, present ones among them, some of them merged.
    fn go_right(&self) {
        for number in 1..=1000 {
            let pte = self.ask(ENTRY);
            self.is_read(ENTRY, pte);
            if number % 3 != 0 {
                let flush = self.ask_flush(OWNER);
                self.hears_of_write(pte);
                flush.into_iter().for_each(|address| self.hears_of_flush(address));
                self.is_effective(ENTRY, pte);
                self.flush_is_effective(OWNER);
            }
        }
    }
}

fn ledger() -> Ledger {
    let ledger = Ledger::new();
    ledger.begin(Mfn::new(0x101), Mfn::new(0x102));
    ledger
}

/// What a ledger finds where it is as it ought to be, and where `wrong` is done.
pub(super) fn found(wrong: Wrong) -> (u64, u64) {
    let (right, planted) = (ledger(), ledger());
    right.go_right();
    planted.plant(wrong);
    (right.findings(wrong).count.load(SeqCst), planted.findings(wrong).count.load(SeqCst))
}
