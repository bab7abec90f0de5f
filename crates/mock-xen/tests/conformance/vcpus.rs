//! A second vCPU (cases 155 to 158).

use hypercall::{Errno, Mfn, VcpuId, VirtAddr};
use mock_xen::{FrameType, GuestBuilder, MockXen, Once, Step};

use crate::dom0::{CPU, Dom0, EBUSY, EFAULT, EINVAL, ENOSYS, OK, UNPIN, at, pte};

const VCPU_OP: u32 = 24;
const INITIALISE: u64 = 0;
const UP: u64 = 1;
const DOWN: u64 = 2;
const IS_UP: u64 = 3;
const SET_PERIODIC: u64 = 6;
const STOP_PERIODIC: u64 = 7;
const SET_SINGLESHOT: u64 = 8;
const STOP_SINGLESHOT: u64 = 9;
/// `UVMF_INVLPG`.
const INVLPG: u64 = 2;
const OTHER: VcpuId = VcpuId::new(1);

/// Words of a `vcpu_guest_context`.
const FLAGS: usize = 64;
const RIP: usize = 81;
const FIRST_TRAP_ADDRESS: usize = 91;
const LDT_BASE: usize = 602;
const LDT_ENTRIES: usize = 603;
const GDT_FRAME: usize = 604;
const GDT_ENTRIES: usize = 620;
const CTRLREG1: usize = 624;
const CR3: usize = 626;
const SYSCALL: usize = 641;
const GS_USER: usize = 645;

const IN_KERNEL: u64 = 4;
const ONLINE: u64 = 32;

fn one_vcpu_up() -> Dom0 {
    Dom0::of(|builder: &mut GuestBuilder| _ = builder.offline(OTHER))
}

/// The context for vCPU 1, in `pages`, with the words `changed`.
fn context(dom0: &Dom0, changed: &[(usize, u64)]) -> u64 {
    let words = [(FLAGS, IN_KERNEL), (CR3, dom0.root().number() << 12)];
    for index in 0..646 {
        dom0.put(dom0.pages[index / 512], index % 512, 0);
    }
    for (index, word) in words.iter().chain(changed) {
        dom0.put(dom0.pages[index / 512], index % 512, *word);
    }
    dom0.va(dom0.pages[0])
}

fn op(dom0: &Dom0, command: u64, vcpu: u64, argument: u64) -> i64 {
    dom0.call((VCPU_OP, [command, vcpu, argument, 0, 0])).value
}

fn up(xen: &MockXen) -> bool {
    xen.processor(OTHER).up
}

#[test]
fn case_155_156_commands_and_vcpus() {
    let dom0 = one_vcpu_up();
    assert_eq!((op(&dom0, IS_UP, 0, 0), op(&dom0, IS_UP, 1, 0)), (1, 0), "case 155");
    assert_eq!((op(&dom0, IS_UP, 77, 0), op(&dom0, 99, 0, 0)), (Errno::NOENT.as_return(), ENOSYS), "case 155");
    let again = context(&dom0, &[]);
    assert_eq!(op(&dom0, INITIALISE, 0, again), Errno::EXIST.as_return(), "case 156");
    assert_eq!(op(&dom0, INITIALISE, 0, 0x1000), EFAULT, "the context is read first");
    assert_eq!(op(&dom0, UP, 1, 0), EINVAL, "case 156");
}

#[test]
fn case_157_contexts_that_cannot_be() {
    let dom0 = one_vcpu_up();
    let data = dom0.a.number() << 12;
    let odd = 1 << 63;
    for (index, word) in [
        (CR3, 0),
        (CR3, data),
        (RIP, odd),
        (FIRST_TRAP_ADDRESS, odd),
        (SYSCALL, odd),
        (GS_USER, odd),
        (LDT_BASE, 8),
        (LDT_BASE, 0xffff_8200_0000_0000),
        (LDT_ENTRIES, 8193),
        (GDT_ENTRIES, 8193),
        (GDT_ENTRIES, 7169),
        (FLAGS, 0),
    ] {
        let at = context(&dom0, &[(index, word)]);
        assert_eq!(op(&dom0, INITIALISE, 1, at), EINVAL, "case 157, word {index}");
    }
    assert_eq!(dom0.uvm(dom0.va(dom0.pages[1]), 0, INVLPG), OK);
    for at in [0x1000, 0xffff_8200_0000_0000, dom0.va(dom0.pages[0])] {
        assert_eq!(op(&dom0, INITIALISE, 1, at), EFAULT, "case 157, {at:#x}");
    }
    assert!(!dom0.xen.processor(OTHER).initialised);
    dom0.audit();
}

#[test]
fn case_157_a_vcpu_is_started_and_calls() {
    let dom0 = one_vcpu_up();
    dom0.read_only(dom0.c);
    let words = [(GDT_FRAME, dom0.c.number()), (GDT_ENTRIES, 16), (SYSCALL, 0x5000), (GS_USER, 0x7000)];
    let at = context(&dom0, &words);
    assert_eq!(op(&dom0, INITIALISE, 1, at), OK);
    assert_eq!(dom0.xen.frame(dom0.c).unwrap().kind, FrameType::Descriptors);
    let state = dom0.xen.processor(OTHER);
    assert_eq!((state.base, state.gdt, state.segment_bases[1]), (dom0.root(), (vec![dom0.c], 16), 0x7000));
    dom0.audit();
    assert!(!up(&dom0.xen));
    assert_eq!((op(&dom0, UP, 1, 0), op(&dom0, IS_UP, 1, 0)), (OK, 1));
    assert_eq!(dom0.xen.load(OTHER, VirtAddr::unchecked(dom0.va(dom0.a))), Ok(0));
    assert_eq!((op(&dom0, DOWN, 1, 0), op(&dom0, IS_UP, 1, 0)), (OK, 0));
    let second = context(&dom0, &[(FLAGS, IN_KERNEL | ONLINE)]);
    assert_eq!(op(&dom0, INITIALISE, 1, second), Errno::EXIST.as_return());
}

#[test]
fn case_157_a_vcpu_may_start_at_once() {
    let dom0 = one_vcpu_up();
    let at = context(&dom0, &[(FLAGS, IN_KERNEL | ONLINE)]);
    assert_eq!((op(&dom0, INITIALISE, 1, at), up(&dom0.xen)), (OK, true));
}

#[test]
fn case_157_xsa_296_validation_of_the_base_pointer_is_interrupted() {
    let dom0 = one_vcpu_up();
    dom0.another_root();
    assert_eq!(dom0.writable(dom0.d), OK);
    dom0.put(dom0.d, 0, pte(dom0.b, 0x67));
    dom0.put(dom0.b, 5, pte(dom0.a, 0x67));
    for page in [dom0.a, dom0.b, dom0.d] {
        dom0.read_only(page);
    }
    let at = context(&dom0, &[(CR3, dom0.d.number() << 12)]);
    dom0.xen.set_schedule(CPU, Step);
    assert_eq!(op(&dom0, INITIALISE, 1, at), OK);
    dom0.audit();
    assert_eq!(dom0.xen.processor(OTHER).base, dom0.d);
    assert_eq!((dom0.writable(dom0.d), dom0.writable(dom0.a)), (EBUSY, EBUSY));
}

#[test]
fn case_157_xsa_296_a_refused_base_pointer_waits_for_a_call_that_puts_tables_away() {
    let dom0 = one_vcpu_up();
    dom0.put(dom0.d, 1, pte(dom0.b, 0x67));
    dom0.put(dom0.d, 9, pte(Mfn::new(0xfee00), 0x67));
    for page in [dom0.b, dom0.d] {
        dom0.read_only(page);
    }
    let at = context(&dom0, &[(CR3, dom0.d.number() << 12)]);
    assert_eq!(op(&dom0, INITIALISE, 1, at), EINVAL);
    dom0.audit();
    assert_eq!(dom0.writable(dom0.d), EBUSY, "update_va_mapping puts nothing away");
    assert_eq!(dom0.mx(UNPIN, 0), EINVAL);
    assert_eq!(dom0.writable(dom0.d), OK);
    dom0.audit();
}

#[test]
fn case_158_timers() {
    let dom0 = one_vcpu_up();
    let timer = dom0.va(dom0.b);
    for (command, vcpu, word, value) in [
        (SET_SINGLESHOT, 1, 0, EINVAL),
        (STOP_SINGLESHOT, 1, 0, EINVAL),
        (SET_SINGLESHOT, 0, 0, OK),
        (STOP_SINGLESHOT, 0, 0, OK),
        (SET_PERIODIC, 0, 1000, EINVAL),
        (SET_PERIODIC, 1, 1_000_000, OK),
        (SET_PERIODIC, 0, u64::MAX, EINVAL),
        (STOP_PERIODIC, 0, 0, OK),
    ] {
        dom0.put(dom0.b, 0, word);
        assert_eq!(op(&dom0, command, vcpu, timer), value, "{command} {vcpu} {word}");
    }
    assert_eq!((op(&dom0, SET_PERIODIC, 0, 0x1000), op(&dom0, SET_SINGLESHOT, 0, 0x1000)), (EFAULT, EFAULT));
}

#[test]
fn a_user_base_pointer_at_the_start_is_not_modelled() {
    let dom0 = one_vcpu_up();
    let missing = mock_xen::NotModelled::UserContext.errno().as_return();
    for changed in [[(CTRLREG1, dom0.root().number() << 12)], [(FLAGS, 0)]] {
        let at = context(&dom0, &changed);
        let expected = if changed[0].0 == FLAGS { EINVAL } else { missing };
        assert_eq!(op(&dom0, INITIALISE, 1, at), expected);
    }
}

#[test]
#[should_panic(expected = "vcpu 1 is not up")]
fn a_vcpu_that_is_not_up_cannot_call() {
    let dom0 = one_vcpu_up();
    dom0.xen.set_schedule(OTHER, Once::default());
    let _answer = dom0.xen.load(OTHER, VirtAddr::unchecked(at(dom0.a, 0)));
}
