//! What the services answer and do, and that each planted fault is found by this.

use mock_sun4v::{Fault, NotModelled, Page, Status, Sun4v, Trap};

const VALID: u64 = 1 << 63;
const PAGE: Page = Page { context: 5, address: 0x4000 };
const OTHER: Page = Page { context: 5, address: 0x6000 };

fn trap(number: u64, function: u64, arguments: [u64; 5]) -> Trap {
    Trap { number, function, arguments }
}

/// What went otherwise than it has to.
fn wrong(new: impl Fn() -> Sun4v) -> Vec<&'static str> {
    let mut wrong = Vec::new();
    let mut expect = |what, is: bool| {
        if !is {
            wrong.push(what)
        }
    };
    answers(&new, &mut expect);
    effects(&new, &mut expect);
    wrong
}

fn answers(new: &impl Fn() -> Sun4v, expect: &mut impl FnMut(&'static str, bool)) {
    let demap = |arguments| new().trap(0, trap(0x80, 0x22, arguments));
    expect("nothing mapped is no error", demap([0, 0, 0x4000, 5, 3]) == Ok(Status::OK));
    expect("reserved before all else", demap([1, 0, 1 << 60, 9000, 0]) == Ok(Status::NOT_SUPPORTED));
    expect("the second too", demap([0, 1, 0x4000, 5, 3]) == Ok(Status::NOT_SUPPORTED));
    expect("address", demap([0, 0, 1 << 47, 5, 3]) == Ok(Status::INVALID));
    expect("context", demap([0, 0, 0x4000, 8192, 3]) == Ok(Status::INVALID));
    expect("a flag more", demap([0, 0, 0x4000, 5, 7]) == Ok(Status::INVALID));
    expect("no flag", demap([0, 0, 0x4000, 5, 0]) == Ok(Status::INVALID));
    let map = |entry| new().trap(0, trap(0x83, 0, [0x4000, 5, entry, 3, 0]));
    expect("page size", map(VALID | 2) == Ok(Status::BAD_PAGE_SIZE));
    expect("memory", map(VALID | 0x10_0000) == Ok(Status::NO_ADDRESS));
    expect("mapped", map(VALID | 0x2000) == Ok(Status::OK));
    expect("no such function", new().trap(0, trap(0x80, 0x2f, [0; 5])) == Ok(Status::BAD_TRAP));
    expect("not modelled", new().trap(0, trap(0x80, 0x21, [0; 5])) == Err(NotModelled { function: 0x21 }));
    let mut machine = new();
    let mut permanent = |number: u64| machine.trap(0, trap(0x80, 0x25, [number << 13, 0, VALID, 3, 0]));
    let eight = (0..8).all(|number| permanent(number) == Ok(Status::OK));
    expect("eight permanent ones", eight && permanent(8) == Ok(Status::TOO_MANY));
    expect("no such", new().trap(0, trap(0x80, 0x28, [0, 0, 3, 0, 0])) == Ok(Status::NO_MAP));
}

fn effects(new: &impl Fn() -> Sun4v, expect: &mut impl FnMut(&'static str, bool)) {
    let changed = || {
        let mut machine = new();
        for page in [PAGE, OTHER] {
            machine.store(page, VALID | 0x2000);
            machine.store(page, 0);
        }
        machine
    };
    let everywhere =
        |machine: &mut Sun4v, demap: Trap| (0..2).for_each(|cpu| assert!(machine.trap(cpu, demap).is_ok()));
    let unmap = trap(0x84, 0, [0x4000, 5, 3, 0, 0]);
    let mut machine = changed();
    expect("a store alone leaves the old one", machine.stale(PAGE).is_some());
    machine.invalidate_tsb(PAGE);
    expect("TLBs keep it", machine.stale(PAGE).is_some_and(|stale| stale.processor == Some(0)));
    machine.trap(0, unmap).unwrap();
    expect("other processors keep it", machine.stale(PAGE).is_some_and(|stale| stale.processor == Some(1)));
    machine.trap(1, unmap).unwrap();
    expect("TSB, then every TLB", machine.stale(PAGE).is_none() && machine.may_use(0, PAGE).is_empty());
    let mut machine = changed();
    everywhere(&mut machine, unmap);
    machine.invalidate_tsb(PAGE);
    expect("a TLB refills from the TSB", machine.stale(PAGE).is_some());
    let mut machine = changed();
    machine.invalidate_tsb_of(5);
    everywhere(&mut machine, trap(0x80, 0x23, [0, 0, 5, 3, 0]));
    expect("a context is all its pages", machine.stale(PAGE).is_none() && machine.stale(OTHER).is_none());
}

fn machine() -> Sun4v {
    Sun4v::new(2, 0x10_0000)
}

#[test]
fn services_answer_and_do_what_they_have_to() {
    assert_eq!(wrong(machine), [""; 0]);
}

#[test]
fn every_planted_fault_is_found() {
    for fault in Fault::ALL {
        let found = wrong(|| machine().planted(fault));
        println!("{fault:?}: {found:?}");
        assert!(!found.is_empty(), "{fault:?}");
    }
}
