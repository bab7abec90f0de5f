//! What becomes of removals that a PAPR hypervisor does not do at once, or not at all (R14).

use std::cell::RefCell;

use pv_mmu::arch::Deferral;
use pv_mmu::arch::powerpc64::{Batch, Group, Pseries, Ptex, Refusal, Removal, Space, Way};

const DONE: u64 = 0x80 << 56;
const NOT_FOUND: u64 = 0x88 << 56;
const PARAMETER: u64 = 0x90 << 56;
const BUSY: u64 = 0xa0 << 56;
const LONG_BUSY: i64 = 9900;

/// Answers as it is told, call by call: r3, and the responses; then everything is done.
struct Told {
    way: Way,
    answers: RefCell<Vec<(i64, Vec<u64>)>>,
    calls: RefCell<Vec<(u64, Vec<u64>)>>,
}

impl Pseries for Told {
    fn call(&self, number: u64, registers: &mut [u64; 9]) -> i64 {
        self.calls.borrow_mut().push((number, registers.to_vec()));
        let mut answers = self.answers.borrow_mut();
        let (status, words) = if answers.is_empty() { (0, vec![DONE; 9]) } else { answers.remove(0) };
        let step = if number == 0x124 { 2 } else { 1 };
        registers.iter_mut().step_by(step).zip(words).for_each(|(register, word)| *register = word);
        status
    }

    fn way(&self, _: Group) -> Way {
        self.way
    }
}

const GROUP: Group = Group { space: Space(1), page_shift: 12, segment_shift: 28 };

fn removal(page: u64) -> Removal {
    Removal { group: GROUP, page, place: Ptex(0x100 + page), tag: 0x80 }
}

/// Hands over pages 0 to `pages`; answers with the calls made and what was refused.
fn hand_over(way: Way, pages: u64, answers: &[(i64, &[u64])]) -> (Vec<(u64, Vec<u64>)>, Vec<Refusal>) {
    let answers = answers.iter().map(|(status, words)| (*status, words.to_vec())).collect();
    let hardware = Told { way, answers: RefCell::new(answers), calls: RefCell::default() };
    let (mut batch, mut refused) = (Batch::<16>::new(), Vec::new());
    (0..pages).for_each(|page| batch.defer(removal(page), &hardware, &mut |refusal| refused.push(refusal)));
    batch.flush(&hardware, &mut |refusal| refused.push(refusal));
    (hardware.calls.take(), refused)
}

fn numbers(calls: &[(u64, Vec<u64>)]) -> Vec<u64> {
    calls.iter().map(|(number, _)| *number).collect()
}

#[test]
fn what_is_busy_is_asked_for_again_and_nothing_else() {
    let first = [DONE, BUSY, NOT_FOUND, BUSY, DONE, DONE, DONE, DONE];
    let (calls, refused) = hand_over(Way::Block, 8, &[(5, &first)]);
    assert_eq!((numbers(&calls), refused.len()), (vec![0x328, 0x328], 0));
    let request = |page: u64| (0x41 << 56) | (0x100 + page);
    assert_eq!(calls[1].1[..4], [0x80, request(1), request(3), 0xc0 << 56]);
}

#[test]
fn what_is_refused_in_a_block_is_tried_alone_and_told_once() {
    let first = [DONE, PARAMETER, DONE, PARAMETER, DONE, DONE, DONE, DONE];
    let (calls, refused) = hand_over(Way::Block, 8, &[(5, &first), (-4, &[]), (0, &[])]);
    assert_eq!(numbers(&calls), [0x328, 4, 4]);
    assert_eq!(refused, [Refusal { removal: removal(1), status: -4 }]);
}

#[test]
fn a_block_removal_that_is_gone_leaves_each_to_itself() {
    let (calls, refused) = hand_over(Way::Block, 8, &[(-2, &[])]);
    assert_eq!((numbers(&calls), refused.len()), ([&[0x328][..], &[4; 8]].concat(), 0));
}

#[test]
fn a_bulk_removal_ends_at_its_mark_and_an_error_is_told_once() {
    let (calls, refused) =
        hand_over(Way::Bulk, 6, &[(0, &[DONE, DONE, 0x90 << 56, DONE]), (-4, &[0xa0 << 56]), (-4, &[]), (0, &[])]);
    assert_eq!(numbers(&calls), [0x124, 0x124, 4, 4]);
    assert_eq!(calls[1].1[4], 0xc0 << 56, "two of four, and the end");
    assert_eq!(refused, [Refusal { removal: removal(4), status: -4 }]);
}

#[test]
fn later_is_asked_again_and_not_for_ever() {
    let (calls, refused) = hand_over(Way::Single, 1, &[(LONG_BUSY, &[]), (LONG_BUSY, &[]), (0, &[])]);
    assert_eq!((calls.len(), refused.len()), (3, 0));
    let always: Vec<(i64, &[u64])> = vec![(LONG_BUSY, &[]); 2000];
    let (calls, refused) = hand_over(Way::Single, 1, &always);
    assert_eq!((calls.len(), refused), (1000, vec![Refusal { removal: removal(0), status: LONG_BUSY }]));
}

#[test]
fn another_group_has_what_waits_handed_over_first() {
    let hardware = Told { way: Way::Bulk, answers: RefCell::default(), calls: RefCell::default() };
    let mut batch = Batch::<16>::new();
    let mut defer = |group: Group| batch.defer(Removal { group, ..removal(0) }, &hardware, &mut |_| unreachable!());
    let other =
        [Group { space: Space(2), ..GROUP }, Group { page_shift: 16, ..GROUP }, Group { segment_shift: 40, ..GROUP }];
    defer(GROUP);
    for (before, group) in other.into_iter().enumerate() {
        defer(group);
        assert_eq!(hardware.calls.borrow().len(), before + 1, "{group:?}");
    }
}
