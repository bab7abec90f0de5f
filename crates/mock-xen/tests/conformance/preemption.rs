//! Events in the middle of hypercalls (cases 147 to 153).

use hypercall::abi::HYPERCALL_MULTICALL;
use hypercall::{Mfn, RawCall};
use mock_xen::{FrameType, Left, Once, Step};

use crate::dom0::{CPU, Call, Dom0, EBUSY, EINVAL, OK, PIN_L2, PIN_L4, SELF, UNPIN, at, pte};

const CONTINUED: u64 = 0x8000_0000;
const PIN_L3: u64 = 2;
const LAPIC: Mfn = Mfn::new(0xfee00);

/// How a call went on: its answer, how often it was interrupted, and its arguments the first time
/// and at the end.
struct Course {
    value: i64,
    restarts: u32,
    first: Option<[u64; 5]>,
    last: [u64; 5],
}

fn course_with(dom0: &Dom0, (number, args): Call, mut handler: impl FnMut()) -> Course {
    let mut call = RawCall { number, args };
    let (mut restarts, mut first) = (0, None);
    loop {
        match dom0.xen.enter(CPU, &mut call) {
            Left::Answered(value) => return Course { value, restarts, first, last: call.args },
            Left::Interrupted => {
                restarts += 1;
                first = first.or(Some(call.args));
                dom0.audit();
                handler();
            }
        }
    }
}

fn course(dom0: &Dom0, call: Call) -> Course {
    course_with(dom0, call, || {})
}

/// Every audit of a long course looks at every frame.
fn unaudited(dom0: &Dom0, call: Call) -> (i64, u32) {
    let mut call = RawCall { number: call.0, args: call.1 };
    let mut restarts = 0;
    loop {
        match dom0.xen.enter(CPU, &mut call) {
            Left::Answered(value) => return (value, restarts),
            Left::Interrupted => restarts += 1,
        }
    }
}

fn plain_updates(dom0: &Dom0, count: usize) -> Call {
    let updates: Vec<_> = (0..count).map(|index| [at(dom0.a, index), 1 + index as u64]).collect();
    dom0.set_done(0);
    dom0.updates(&updates, SELF)
}

fn done(dom0: &Dom0) -> u64 {
    dom0.done() & 0xffff_ffff
}

#[test]
fn case_147_one_event_interrupts_an_array_once() {
    let dom0 = Dom0::new();
    dom0.xen.set_schedule(CPU, Once::default());
    let call = plain_updates(&dom0, 4);
    let mut seen = None;
    let course = course_with(&dom0, call, || seen = Some(done(&dom0)));
    assert_eq!((course.value, course.restarts, done(&dom0)), (OK, 1, 4));
    assert_eq!(seen, Some(1), "the handler sees a partial count");
    assert_eq!(course.first, Some([call.1[0] + 16, CONTINUED | 3, call.1[2], SELF, 0]));
    assert_eq!(course.last, course.first.unwrap());
}

#[test]
fn case_148_step_by_step_an_array_is_interrupted_before_every_operation_but_the_first() {
    let dom0 = Dom0::new();
    dom0.xen.set_schedule(CPU, Step);
    let course = course(&dom0, plain_updates(&dom0, 5));
    assert_eq!((course.value, course.restarts, done(&dom0)), (OK, 4, 5));
    assert_eq!(course.last[1], CONTINUED | 1);
    assert_eq!(dom0.read(at(dom0.a, 4)), 5);
}

#[test]
fn case_148_a_handler_that_changes_the_done_count_changes_the_total() {
    let dom0 = Dom0::new();
    dom0.xen.set_schedule(CPU, Once::default());
    let call = plain_updates(&dom0, 3);
    course_with(&dom0, call, || dom0.set_done(100));
    assert_eq!(done(&dom0), 102);
}

/// A multicall of three arrays of two plain updates, the arrays in the second of `pages`.
fn three_arrays(dom0: &Dom0) -> Call {
    let [list, arrays] = dom0.pages;
    for entry in 0..3 {
        for (word, value) in [at(dom0.a, entry), 1, at(dom0.b, entry), 1].into_iter().enumerate() {
            dom0.put(arrays, 4 * entry + word, value);
        }
        let array = dom0.va(arrays) + 32 * entry as u64;
        dom0.put_entry(8 * entry, (hypercall::abi::HYPERCALL_MMU_UPDATE, [array, 2, 0, SELF, 0]));
    }
    (HYPERCALL_MULTICALL, [dom0.va(list), 3, 0, 0, 0])
}

#[test]
fn case_149_a_multicall_is_continued_at_the_entry_that_was_interrupted() {
    let dom0 = Dom0::new();
    dom0.xen.set_schedule(CPU, Once::default());
    let call = three_arrays(&dom0);
    let mut seen = None;
    let course = course_with(&dom0, call, || seen = Some(dom0.entry(0)));
    let array = dom0.va(dom0.pages[1]);
    assert_eq!((course.value, course.restarts), (OK, 1));
    assert_eq!(course.first.map(|args| [args[0], args[1]]), Some([call.1[0], 3]));
    let (interim, args) = seen.expect("there was an event");
    assert_eq!((interim, args[0], args[1]), (1, array + 16, CONTINUED | 1), "the interim result is the number");
    assert_eq!(dom0.entry(0).0, OK);
    assert_eq!(dom0.entry(0).1[..2], [array + 16, CONTINUED | 1], "the arguments stay changed");
    assert_eq!(dom0.entry(8).1[..2], [array + 32, 2], "those of the others do not");
}

#[test]
fn case_149_step_by_step_every_boundary_is_met() {
    let dom0 = Dom0::new();
    dom0.xen.set_schedule(CPU, Step);
    let course = course(&dom0, three_arrays(&dom0));
    assert_eq!((course.value, course.restarts), (OK, 3 + 2), "inside each entry and in front of two");
    assert_eq!([0, 1, 2].map(|entry| dom0.read(at(dom0.b, entry))), [1; 3]);
}

#[test]
fn case_150_an_event_between_entries() {
    let dom0 = Dom0::new();
    dom0.xen.set_schedule(CPU, Once::default());
    for entry in 0..3 {
        let uvm = (hypercall::abi::HYPERCALL_UPDATE_VA_MAPPING, [dom0.va(dom0.w), pte(dom0.a, 0x61), 0, 0, 0]);
        dom0.put_entry(8 * entry, uvm);
    }
    let list = dom0.va(dom0.pages[0]);
    let course = course(&dom0, (HYPERCALL_MULTICALL, [list, 3, 0, 0, 0]));
    assert_eq!((course.value, course.restarts), (OK, 1));
    assert_eq!(course.first.map(|args| [args[0], args[1]]), Some([list + 64, 2]));
    assert_eq!([0, 8, 16].map(|first| dom0.entry(first).0), [OK; 3]);
}

#[test]
fn case_150_159_a_yield_interrupts_its_multicall_behind_the_entry() {
    let dom0 = Dom0::new();
    let (yields, harmless) = ((29, [0; 5]), (hypercall::abi::HYPERCALL_XEN_VERSION, [0; 5]));
    let answer = dom0.multicall(&[harmless, yields, harmless, harmless]);
    let list = dom0.va(dom0.pages[0]);
    assert_eq!((answer.value, answer.args[..2].to_vec()), (OK, vec![list + 128, 2]));
    assert_eq!(dom0.entry(24).0, 0x4_0011);
    assert_eq!(dom0.multicall(&[harmless, yields]).args[1], 2, "behind the last there is nothing to interrupt");
}

/// B is an L3 whose first four entries lead to A, an L2 whose first eight lead to C, an empty L1;
/// `spoil` is an entry of A that maps the local APIC's page as an L1.
fn tree(dom0: &Dom0, spoil: Option<usize>) -> Call {
    for entry in 0..4 {
        dom0.put(dom0.b, entry, pte(dom0.a, 0x67));
    }
    for entry in 0..8 {
        dom0.put(dom0.a, entry, pte(dom0.c, 0x67));
    }
    if let Some(entry) = spoil {
        dom0.put(dom0.a, entry, pte(LAPIC, 0x67));
    }
    for page in [dom0.a, dom0.b, dom0.c] {
        dom0.read_only(page);
    }
    dom0.set_done(0);
    dom0.extended(&[[PIN_L3, dom0.b.number(), 0]], SELF)
}

#[test]
fn case_151_validation_and_release_are_interrupted_at_every_entry() {
    let dom0 = Dom0::new();
    let call = tree(&dom0, None);
    dom0.xen.set_schedule(CPU, Step);
    assert_eq!((unaudited(&dom0, call), done(&dom0)), ((OK, 1022), 1));
    let unpin = dom0.extended(&[[UNPIN, dom0.b.number(), 0]], SELF);
    assert_eq!(unaudited(&dom0, unpin), (OK, 1022));
    dom0.xen.clear_schedule(CPU);
    assert_eq!([dom0.a, dom0.b, dom0.c].map(|page| dom0.writable(page)), [OK; 3]);
    dom0.audit();
}

#[test]
fn case_151_counts_are_right_between_any_two_passes() {
    let dom0 = Dom0::new();
    let call = tree(&dom0, None);
    let every_40th = |mut look: u32| {
        move |_point| {
            look += 1;
            look.is_multiple_of(40)
        }
    };
    dom0.xen.set_schedule(CPU, every_40th(0));
    let pinned = course(&dom0, call);
    assert_eq!((pinned.value, pinned.restarts), (OK, 25));
    let unpinned = course(&dom0, dom0.extended(&[[UNPIN, dom0.b.number(), 0]], SELF));
    assert_eq!((unpinned.value, unpinned.restarts), (OK, 26));
    dom0.audit();
}

#[test]
fn case_152_a_table_refused_half_way_is_let_go_before_the_answer() {
    let dom0 = Dom0::new();
    let call = tree(&dom0, Some(300));
    dom0.xen.set_schedule(CPU, Step);
    assert_eq!((unaudited(&dom0, call), done(&dom0)), ((EINVAL, 600), 0));
    dom0.xen.clear_schedule(CPU);
    assert_eq!([dom0.a, dom0.b, dom0.c].map(|page| dom0.writable(page)), [OK; 3]);
    dom0.audit();
}

#[test]
fn case_153_one_event_interrupts_the_only_operation() {
    let dom0 = Dom0::new();
    let call = tree(&dom0, None);
    dom0.xen.set_schedule(CPU, Once::default());
    let course = course(&dom0, call);
    assert_eq!((course.value, done(&dom0), course.last[1], course.restarts), (OK, 1, CONTINUED | 1, 1));
}

#[test]
fn case_153_what_is_half_done_is_no_table_and_cannot_be_written() {
    let dom0 = Dom0::new();
    let (number, args) = tree(&dom0, None);
    dom0.xen.set_schedule(CPU, Once::default());
    let mut call = RawCall { number, args };
    assert_eq!(dom0.xen.enter(CPU, &mut call), Left::Interrupted);
    let view = dom0.xen.frame(dom0.a).unwrap();
    assert!(view.partial && !view.validated && view.kind == FrameType::Table(hypercall::Level::L2), "{view:?}");
    let kept = dom0.xen.frame(dom0.b).unwrap();
    assert!(kept.partial, "{kept:?}");
    assert_eq!(dom0.writable(dom0.a), EBUSY);
    assert_eq!(dom0.set(at(dom0.a, 5), 0), EINVAL, "neither an update nor a store");
    assert_eq!(dom0.mx(PIN_L2, dom0.a.number()), OK, "who pins it validates the rest");
    dom0.extended(&[[PIN_L3, dom0.b.number(), 0]], SELF);
    assert_eq!(dom0.xen.hypercall(CPU, &mut call), OK);
    dom0.audit();
    assert_eq!((dom0.mx(UNPIN, dom0.b.number()), dom0.writable(dom0.b)), (OK, OK));
    assert_eq!((dom0.writable(dom0.a), dom0.mx(UNPIN, dom0.a.number()), dom0.writable(dom0.a)), (EBUSY, OK, OK));
    dom0.audit();
}

#[test]
fn case_067_a_second_pin_of_an_upper_table_is_put_away_by_a_continuation() {
    let dom0 = Dom0::new();
    dom0.read_only(dom0.c);
    for (command, put_away) in [(0, false), (PIN_L2, true)] {
        assert_eq!(dom0.mx(command, dom0.c.number()), OK);
        let again = dom0.call(dom0.extended(&[[command, dom0.c.number(), 0]], SELF));
        assert_eq!((again.value, again.done & 0xffff_ffff), (EINVAL, 0));
        let (null, answer) = (again.args[0] == 0, again.args[3]);
        assert_eq!((null, answer == 0xffff_ffea), (put_away, put_away), "command {command}");
        dom0.audit();
        assert_eq!(dom0.mx(UNPIN, dom0.c.number()), OK);
    }
}

/// What Xen loses: an L2 that is refused behind its first entry, below an L3 that is refused because
/// of its first entry, below an L4 that has had entries before.
#[test]
fn case_152_a_refused_grandchild_is_forgotten_and_can_be_used_again() {
    let dom0 = Dom0::new();
    dom0.another_root();
    assert_eq!(dom0.writable(dom0.d), OK);
    dom0.put(dom0.d, 300, pte(dom0.b, 0x67));
    dom0.put(dom0.b, 0, pte(dom0.a, 0x67));
    dom0.put(dom0.a, 7, pte(LAPIC, 0x67));
    for page in [dom0.a, dom0.b, dom0.d] {
        dom0.read_only(page);
    }
    assert_eq!(dom0.mx(PIN_L4, dom0.d.number()), EINVAL);
    dom0.audit();
    assert_eq!([dom0.d, dom0.b].map(|page| dom0.writable(page)), [OK; 2]);
    assert_eq!(dom0.writable(dom0.a), EBUSY, "it stays partial");
    assert_eq!(dom0.mx(PIN_L2, dom0.a.number()), EINVAL, "and is let go when it is refused as what it is");
    assert_eq!(dom0.writable(dom0.a), OK);
    dom0.audit();
}
