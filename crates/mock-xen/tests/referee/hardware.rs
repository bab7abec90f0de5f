//! What processors note in entries, and what they reach by what they have cached.

use hypercall::{Mfn, Pte, PteFlags, PteSlot, VcpuId, VirtAddr};
use mock_xen::referee::{Finding, Profile, Referee, Rule};

const VCPU: VcpuId = VcpuId::new(1);
const USED: PteFlags = PteFlags::ACCESSED;
const WRITTEN: PteFlags = PteFlags::ACCESSED_DIRTY;

const fn slot(index: usize) -> PteSlot {
    PteSlot::of(Mfn::new(7), index)
}

fn pte(flags: PteFlags) -> Pte {
    Pte::new(Mfn::new(9), PteFlags::PRESENT | flags)
}

fn broken(tell: impl FnOnce(&Referee)) -> Vec<(Rule, Finding)> {
    let referee = Referee::new(Profile::Strict);
    tell(&referee);
    referee.verdict().violations.iter().map(|violation| (violation.rule, violation.finding)).collect()
}

#[test]
fn a_note_that_is_overwritten_unseen_is_lost() {
    let lost = |notes: PteFlags| (Rule::R11, Finding::NotesLost { entry: slot(1).address(), notes: notes.bits() });
    let found = broken(|referee| {
        referee.noted(slot(1), WRITTEN);
        referee.replaced(VCPU, slot(1), pte(WRITTEN), Pte::EMPTY);
        referee.replaced(VCPU, slot(1), Pte::EMPTY, pte(USED));
    });
    assert_eq!(found, [lost(WRITTEN)], "and once");
    let found = broken(|referee| {
        referee.noted(slot(1), WRITTEN);
        referee.seen(slot(1), pte(USED));
        referee.replaced(VCPU, slot(1), pte(WRITTEN), pte(PteFlags::NONE));
    });
    assert_eq!(found, [lost(PteFlags::DIRTY)], "what was seen may be taken");
    let residue = Pte::from_bits(WRITTEN.bits());
    let found = broken(|referee| {
        referee.noted(slot(1), WRITTEN);
        referee.replaced(VCPU, slot(1), pte(WRITTEN), residue);
        referee.replaced(VCPU, slot(1), residue, pte(PteFlags::NONE));
    });
    assert_eq!(found, [lost(WRITTEN)], "what is left of it in an emptied entry has to be gathered too");
}

#[test]
fn notes_that_stay_or_are_seen_are_not_lost() {
    let found = broken(|referee| {
        referee.noted(slot(1), WRITTEN);
        referee.replaced(VCPU, slot(1), pte(WRITTEN), pte(WRITTEN));
        referee.replaced(VCPU, slot(2), pte(WRITTEN), Pte::EMPTY);
        referee.seen(slot(1), pte(WRITTEN));
        referee.replaced(VCPU, slot(1), pte(WRITTEN), Pte::EMPTY);
        referee.noted(slot(3), WRITTEN);
        referee.seen_table(slot(3).table());
        referee.replaced(VCPU, slot(3), pte(WRITTEN), Pte::EMPTY);
    });
    assert_eq!(found, []);
}

#[test]
fn a_page_given_away_is_not_reached_by_what_is_cached() {
    let (address, frame) = (VirtAddr::unchecked(0x5000), Mfn::new(9));
    let found = broken(|referee| {
        referee.used_stale(VCPU, address, frame, true);
        referee.released(frame);
        referee.used_stale(VCPU, address, Mfn::new(8), true);
        referee.used_stale(VCPU, address, frame, false);
        referee.taken(frame);
        referee.used_stale(VCPU, address, frame, true);
    });
    assert_eq!(found, [(Rule::R12, Finding::StaleUse { address, frame, is_store: false })]);
    assert!(found[0].1.to_string().contains("given away and loaded from"), "{}", found[0].1);
}
