//! What accesses may see after which barriers, and that each planted fault is found by this.

use mock_arm64::{Arm64, Fault, Seen};

fn seen(entries: &[u64], fault: bool) -> Seen {
    Seen { entries: entries.iter().copied().collect(), fault }
}

type Act = fn(&mut Arm64);
/// Entries that may be used, and whether an access may fault.
type May = (&'static [u64], bool);
type Row = (&'static str, Act, May, May);

/// What has been done, and what each of two processors may see of entry 0 then.
const TABLE: [Row; 12] = [
    ("nothing", |_| {}, (&[], true), (&[], true)),
    ("made valid", |m| m.store(0, 0, 1), (&[1], true), (&[1], true)),
    (
        "made valid; dsb",
        |m| {
            m.store(0, 0, 1);
            m.dsb_ishst(0);
        },
        (&[1], true),
        (&[1], true),
    ),
    (
        "made valid; isb",
        |m| {
            m.store(0, 0, 1);
            m.isb(0);
        },
        (&[1], true),
        (&[1], true),
    ),
    (
        "made valid; dsb; isb",
        |m| {
            m.store(0, 0, 1);
            m.dsb_ishst(0);
            m.isb(0);
        },
        (&[1], false),
        (&[1], true),
    ),
    (
        "made valid; the other observes; dsb ishst; isb",
        |m| {
            m.store(0, 0, 1);
            m.dsb_ishst(0);
            m.observe(1);
            m.dsb_ishst(1);
            m.isb(1);
        },
        (&[1], true),
        (&[1], true),
    ),
    (
        "made valid; the other observes; dsb ish; isb",
        |m| {
            m.store(0, 0, 1);
            m.dsb_ishst(0);
            m.observe(1);
            m.dsb_ish(1);
            m.isb(1);
        },
        (&[1], true),
        (&[1], false),
    ),
    (
        "made invalid; dsb; isb",
        |m| {
            valid(m);
            m.store(0, 0, 0);
            m.dsb_ish(0);
            m.isb(0);
        },
        (&[1], true),
        (&[1], true),
    ),
    (
        "made invalid; dsb; tlbi; dsb",
        |m| {
            valid(m);
            m.store(0, 0, 0);
            m.dsb_ishst(0);
            m.tlbi_is(0, 0);
            m.dsb_ish(0);
        },
        (&[], true),
        (&[], true),
    ),
    (
        "made invalid; tlbi; dsb",
        |m| {
            valid(m);
            m.store(0, 0, 0);
            m.tlbi_is(0, 0);
            m.dsb_ish(0);
        },
        (&[1], true),
        (&[1], true),
    ),
    (
        "made invalid; dsb; tlbi",
        |m| {
            valid(m);
            m.store(0, 0, 0);
            m.dsb_ishst(0);
            m.tlbi_is(0, 0);
        },
        (&[1], true),
        (&[1], true),
    ),
    (
        "mapped elsewhere without break",
        |m| {
            valid(m);
            m.store(0, 0, 2);
        },
        (&[1, 2], false),
        (&[1, 2], true),
    ),
];

/// Valid, and processor 0 knows.
fn valid(machine: &mut Arm64) {
    machine.store(0, 0, 1);
    machine.dsb_ishst(0);
    machine.isb(0);
}

/// Rows that come out otherwise.
fn wrong(new: impl Fn() -> Arm64) -> Vec<String> {
    let row = |(what, act, one, other): &Row| {
        let mut machine = new();
        act(&mut machine);
        let found = [0, 1].map(|processor| machine.may_use(processor, 0));
        let expected = [seen(one.0, one.1), seen(other.0, other.1)];
        (found != expected).then(|| format!("{what}: {found:?}"))
    };
    TABLE.iter().filter_map(row).collect()
}

#[test]
fn accesses_see_what_they_may() {
    assert_eq!(wrong(|| Arm64::new(2, 1)), [""; 0]);
}

#[test]
fn two_mappings_at_once_are_a_conflict() {
    let mut machine = Arm64::new(1, 1);
    valid(&mut machine);
    assert!(!machine.may_use(0, 0).is_conflict());
    machine.store(0, 0, 2);
    assert!(machine.may_use(0, 0).is_conflict());
}

#[test]
fn every_planted_fault_is_found() {
    for fault in Fault::ALL {
        let found = wrong(|| Arm64::new(2, 1).planted(fault));
        println!("{fault:?}: {found:?}");
        assert!(!found.is_empty(), "{fault:?}");
    }
}
