//! Calls beside page tables (cases 154, 159 to 161), and numbers Xen does not know.

use hypercall::abi::{HYPERCALL_UPDATE_DESCRIPTOR, HYPERCALL_XEN_VERSION};
use hypercall::{Errno, RawCall, VirtAddr};
use mock_xen::{Left, Step};

use crate::dom0::{CPU, Dom0, EFAULT, EINVAL, ENOSYS, OK, at};

const CONSOLE_IO: u32 = 18;
const VM_ASSIST: u32 = 21;
const SCHED_OP: u32 = 29;

#[test]
fn case_154_unknown_numbers() {
    let dom0 = Dom0::new();
    for number in [11, 38, 43, 50, 63, 64, 9999, u32::MAX] {
        assert_eq!(dom0.call((number, [0; 5])).value, ENOSYS, "{number}");
    }
    assert_eq!(dom0.not_modelled(), []);
}

#[test]
fn case_159_scheduling() {
    let dom0 = Dom0::new();
    for (command, value) in [(99, ENOSYS), (8, ENOSYS), (0, OK)] {
        assert_eq!(dom0.call((SCHED_OP, [command, 0, 0, 0, 0])).value, value, "{command}");
    }
}

#[test]
fn case_160_the_console() {
    let dom0 = Dom0::new();
    let text = dom0.va(dom0.a);
    let too_big = Errno::TOO_BIG.as_return();
    for (args, value) in [
        ([7, 0, 0, 0, 0], ENOSYS),
        ([1, 1 << 31, 0, 0, 0], too_big),
        ([1, 16, text, 0, 0], 0),
        ([0, 4, 0x1000, 0, 0], EFAULT),
        ([0, 4, 0xffff_8200_0000_0000, 0, 0], EFAULT),
        ([0, 0, 0x1000, 0, 0], OK),
        ([0, 4096, text, 0, 0], OK),
    ] {
        assert_eq!(dom0.call((CONSOLE_IO, args)).value, value, "{args:x?}");
    }
    assert_eq!(dom0.uvm(dom0.va(dom0.pages[1]), 0, 0), OK);
    let into_nothing = dom0.va(dom0.pages[1]) - 100;
    assert_eq!(dom0.call((CONSOLE_IO, [0, 101, into_nothing, 0, 0])).value, EFAULT);
}

#[test]
fn case_160_output_is_interrupted_between_its_pieces() {
    let dom0 = Dom0::new();
    dom0.xen.set_schedule(CPU, Step);
    let mut call = RawCall { number: CONSOLE_IO, args: [0, 300, dom0.va(dom0.a), 0, 0] };
    for left in [173, 46] {
        assert_eq!(dom0.xen.enter(CPU, &mut call), Left::Interrupted);
        assert_eq!(call.args, [0, left, dom0.va(dom0.a) + 300 - left, 0, 0]);
    }
    assert_eq!(dom0.xen.enter(CPU, &mut call), Left::Answered(0));
}

#[test]
fn case_161_services() {
    let dom0 = Dom0::new();
    for (command, service, value) in
        [(0, 33, EINVAL), (0, 64, EINVAL), (5, 33, EINVAL), (5, 2, ENOSYS), (0, 2, OK), (1, 2, OK), (0, 32, OK)]
    {
        assert_eq!(dom0.call((VM_ASSIST, [command, service, 0, 0, 0])).value, value, "{command}, {service}");
    }
}

#[test]
fn case_143_the_version() {
    let dom0 = Dom0::new();
    for (command, buffer, value) in [(0, 0, 0x4_0011), (7, 0, 4096), (7, 1, EINVAL), (11, 0, ENOSYS)] {
        assert_eq!(dom0.call((HYPERCALL_XEN_VERSION, [command, buffer, 0, 0, 0])).value, value, "{command}");
    }
}

#[test]
fn call_gates_are_stored_so_that_they_trap() {
    let dom0 = Dom0::new();
    let write = |gate| dom0.call((HYPERCALL_UPDATE_DESCRIPTOR, [at(dom0.a, 0), gate, 0, 0, 0])).value;
    assert_eq!(write(0x0000_ec00_0010_1234), OK);
    assert_eq!(dom0.read(at(dom0.a, 0)), 0x0000_8c00_0013_1234);
    assert_eq!(write(0x0000_ec00_e008_1234), EINVAL, "into a segment of Xen");
    assert_eq!(dom0.xen.load(CPU, VirtAddr::unchecked(dom0.va(dom0.a))), Ok(0x0000_8c00_0013_1234));
}
