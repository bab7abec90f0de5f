//! Pins and what they validate (cases 66 to 85).

use hypercall::Mfn;

use crate::dom0::{
    CLEAR_PAGE, COPY_PAGE, Dom0, EBUSY, EINVAL, EPERM, KERNEL, OK, PIN_L1, PIN_L2, SELF, UNPIN, at, pte,
};

const LAPIC: Mfn = Mfn::new(0xfee00);
/// What a continuation that only puts an old table away leaves in the registers.
const PUT_AWAY: u64 = 0x8000_0000;

#[test]
fn case_066_to_071_a_pin_and_its_end() {
    let dom0 = Dom0::new();
    let a = dom0.a.number();
    assert_eq!(dom0.mx(PIN_L1, a), EINVAL, "case 66");
    dom0.read_only(dom0.a);
    assert_eq!((dom0.mx(PIN_L1, a), dom0.mx(PIN_L1, a)), (OK, EINVAL), "case 67");
    assert_eq!(dom0.writable(dom0.a), EBUSY, "case 68");
    assert_eq!(dom0.mx(PIN_L2, a), EINVAL, "case 69");
    assert_eq!(dom0.mx(CLEAR_PAGE, a), EINVAL, "case 70");
    assert_eq!(dom0.mx_as(COPY_PAGE, a, dom0.b.number(), SELF), EINVAL, "case 70");
    assert_eq!(dom0.mx_as(COPY_PAGE, dom0.b.number(), a, SELF), OK, "case 70");
    dom0.audit();
    assert_eq!((dom0.mx(UNPIN, a), dom0.mx(UNPIN, a), dom0.writable(dom0.a)), (OK, EINVAL, OK), "case 71");
    dom0.audit();
}

#[test]
fn case_072_073_a_table_that_maps_itself() {
    for (case, flags, value) in [(72, 0x63, EBUSY), (73, 0x61, OK)] {
        let dom0 = Dom0::new();
        dom0.put(dom0.a, 0, pte(dom0.a, flags));
        dom0.read_only(dom0.a);
        assert_eq!(dom0.mx(PIN_L1, dom0.a.number()), value, "case {case}");
        dom0.audit();
    }
}

#[test]
fn case_074_075_a_refused_entry_leaves_those_before_it_changed() {
    let dom0 = Dom0::new();
    let absent = 0x0dea_dbee_f00e;
    for (index, word) in [(0, pte(dom0.b, 0x63)), (1, pte(dom0.c, 0x61)), (2, absent), (5, pte(LAPIC, 0x63))] {
        dom0.put(dom0.a, index, word);
    }
    dom0.put(dom0.a, 6, pte(dom0.d, 0x63));
    dom0.read_only(dom0.a);
    assert_eq!(dom0.mx(PIN_L1, dom0.a.number()), EPERM, "case 74");
    let words: Vec<_> = [0, 1, 2, 5, 6].into_iter().map(|index| dom0.read(at(dom0.a, index))).collect();
    let changed = [pte(dom0.b, KERNEL | 0x67), pte(dom0.c, KERNEL | 0x65)];
    assert_eq!(words, [changed[0], changed[1], absent, pte(LAPIC, 0x63), pte(dom0.d, 0x63)], "case 74");
    assert_eq!(dom0.writable(dom0.a), OK, "case 74");
    dom0.put(dom0.a, 5, pte(dom0.xen.layout().heap(), 0x61));
    dom0.read_only(dom0.a);
    assert_eq!(dom0.mx(PIN_L1, dom0.a.number()), EBUSY, "case 75");
    dom0.audit();
}

#[test]
fn case_076_077_a_table_of_tables() {
    let dom0 = Dom0::new();
    dom0.put(dom0.c, 0, pte(dom0.a, 0x67));
    dom0.read_only(dom0.c);
    assert_eq!(dom0.mx(PIN_L2, dom0.c.number()), EINVAL, "case 76");
    dom0.read_only(dom0.a);
    assert_eq!(dom0.mx(PIN_L2, dom0.c.number()), OK, "case 77");
    dom0.audit();
    assert_eq!(dom0.writable(dom0.a), EBUSY, "case 77");
    assert_eq!((dom0.mx(UNPIN, dom0.c.number()), dom0.writable(dom0.a)), (OK, OK), "case 77");
    dom0.audit();
}

#[test]
fn case_079_to_085_tables_of_tables_that_are_refused() {
    for (case, flags) in [(80, 0x6f), (81, 0x77), (82, 0xe7), (83, 0x167)] {
        let dom0 = Dom0::new();
        dom0.put(dom0.c, 0, pte(dom0.a, flags));
        dom0.read_only(dom0.a);
        dom0.read_only(dom0.c);
        assert_eq!(dom0.mx(PIN_L2, dom0.c.number()), EINVAL, "case {case}");
        dom0.audit();
    }
    let dom0 = Dom0::new();
    dom0.put(dom0.c, 0, pte(dom0.c, 0x67));
    dom0.read_only(dom0.c);
    assert_eq!(dom0.mx(PIN_L2, dom0.c.number()), EINVAL, "case 79");
    dom0.put(dom0.a, 0, pte(dom0.a, 0x63));
    dom0.read_only(dom0.a);
    assert_eq!(dom0.writable(dom0.c), OK);
    dom0.put(dom0.c, 0, pte(dom0.a, 0x67));
    dom0.read_only(dom0.c);
    assert_eq!(dom0.mx(PIN_L2, dom0.c.number()), EBUSY, "case 84");
    dom0.audit();
}

#[test]
fn case_085_a_table_refused_behind_its_first_entry_is_put_away_by_a_continuation() {
    for (index, left) in [(0, 1), (1, PUT_AWAY)] {
        let dom0 = Dom0::new();
        dom0.put(dom0.a, 0, pte(LAPIC, 0x63));
        dom0.put(dom0.c, index, pte(dom0.a, 0x67));
        dom0.read_only(dom0.a);
        dom0.read_only(dom0.c);
        let answer = dom0.call(dom0.extended(&[[PIN_L2, dom0.c.number(), 0]], SELF));
        assert_eq!((answer.value, answer.done, answer.args[1]), (EPERM, 0, left), "entry {index}");
        if left == PUT_AWAY {
            assert_eq!(answer.args, [0, PUT_AWAY, 0, 0xffff_ffff, 0], "the answer travels as the fourth argument");
        }
        assert_eq!((dom0.writable(dom0.c), dom0.writable(dom0.a)), (OK, OK), "entry {index}");
        dom0.audit();
    }
}
