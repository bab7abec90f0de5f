//! Single calls, right or wrong in any position, and multicalls of them.

use hypercall::abi::{
    HYPERCALL_FPU_TASKSWITCH, HYPERCALL_MMU_UPDATE, HYPERCALL_MMUEXT_OP, HYPERCALL_MULTICALL, HYPERCALL_SET_GDT,
    HYPERCALL_SET_SEGMENT_BASE, HYPERCALL_STACK_SWITCH, HYPERCALL_UPDATE_DESCRIPTOR, HYPERCALL_UPDATE_VA_MAPPING,
    HYPERCALL_UPDATE_VA_MAPPING_OTHERDOMAIN, HYPERCALL_XEN_VERSION, MMUEXT_CLEAR_PAGE, MMUEXT_COPY_PAGE,
    MMUEXT_FLUSH_CACHE, MMUEXT_FLUSH_CACHE_GLOBAL, MMUEXT_INVLPG_ALL, MMUEXT_INVLPG_LOCAL, MMUEXT_INVLPG_MULTI,
    MMUEXT_MARK_SUPER, MMUEXT_NEW_BASEPTR, MMUEXT_NEW_USER_BASEPTR, MMUEXT_PIN_L1_TABLE, MMUEXT_SET_LDT,
    MMUEXT_TLB_FLUSH_ALL, MMUEXT_TLB_FLUSH_LOCAL, MMUEXT_TLB_FLUSH_MULTI, MMUEXT_UNMARK_SUPER, MMUEXT_UNPIN_TABLE,
};
use xen_program::arena::{ARGUMENTS, FIRST_PAGE, FIRST_WINDOW, address_under};
use xen_program::numbers::{CONSOLE_IO, CONTINUED, SCHED_OP, UNTOUCHED, VCPU_OP, VM_ASSIST};
use xen_program::{Buffer, Step, Table, Value};

use super::draft::{Belief, Draft, slot};
use super::pools::{self, one_of, weighted};
use super::tables::{change_one, command};

/// A call as a multicall has it: number and registers.
type Call = (u32, Vec<Value>);

/// A kind of call.
type Kind = fn(&mut Draft) -> Call;

/// Kinds of calls, by weight.
const KINDS: [(u32, Kind); 10] = [
    (32, updates),
    (22, extended),
    (22, mapping),
    (5, mapping_of),
    (4, global_descriptors),
    (5, descriptor),
    (3, segment),
    (3, processor),
    (2, other),
    (2, unknown),
];

/// One call of any kind.
pub(super) fn single(draft: &mut Draft) {
    let kind = weighted(&mut draft.rng, &KINDS);
    let (number, args) = kind(draft);
    draft.push(Step::Call { interrupt: None, number, args });
}

/// Several calls in one.
pub(super) fn multicall(draft: &mut Draft) {
    let calls = draft.rng.usize(1..=5);
    let mut words = Vec::new();
    for _ in 0..calls {
        let (number, args) = inner_call(draft);
        let registers = args.into_iter().chain(std::iter::repeat(Value::Literal(0))).take(5);
        words.extend(
            [u64::from(number).into(), UNTOUCHED.into()].into_iter().chain(registers).chain([UNTOUCHED.into()]),
        );
    }
    let count = draft.bent_count(calls as u64);
    let list = draft.bent_array(Buffer { words, edge: false });
    draft.push(Step::Call { interrupt: None, number: HYPERCALL_MULTICALL, args: vec![list, count.into()] });
}

fn inner_call(draft: &mut Draft) -> Call {
    if draft.chance(4) {
        return (HYPERCALL_MULTICALL, vec![ARGUMENTS.into(), 1.into()]);
    }
    let kind = weighted(&mut draft.rng, &KINDS);
    kind(draft)
}

/// An element count that is one.
fn is_whole(draft: &mut Draft) -> bool {
    !draft.chance(7)
}

impl Draft {
    /// The count of an array, now and then another.
    fn bent_count(&mut self, count: u64) -> u64 {
        if is_whole(self) {
            return count;
        }
        let continued = u64::from(CONTINUED);
        let others = [0, count.saturating_sub(1), continued | count, continued, 1 << 32 | count];
        one_of(&mut self.rng, &others)
    }

    /// An array, now and then one behind which memory ends, or none.
    fn bent_array(&mut self, buffer: Buffer) -> Value {
        match self.rng.u32(0..100) {
            0..90 => Value::Buffer(buffer),
            90..95 => Value::Buffer(Buffer { edge: true, ..buffer }),
            95..97 => Value::Literal(0),
            _ => pools::bad_address(&mut self.rng),
        }
    }

    /// An address that an entry translates.
    fn address(&mut self) -> u64 {
        match self.rng.u32(0..100) {
            0..60 => address_under(Table::L1, self.window()),
            60..75 => address_under(Table::L1, FIRST_PAGE + self.page().number()),
            75..85 => address_under(Table::L2, self.rng.usize(1..8)) + 0x1000 * self.rng.u64(0..8),
            85..90 => address_under(Table::L3, self.rng.usize(1..8)) + 0x1000 * self.rng.u64(0..8),
            _ => address_under(Table::Root, self.rng.usize(296..302)) + 0x1000 * self.rng.u64(0..8),
        }
    }

    /// A page by its number, now and then another frame, or none.
    fn number(&mut self) -> Value {
        match self.rng.u32(0..100) {
            0..85 => Value::Mfn(self.page().into()),
            85..97 => Value::Mfn(self.frame()),
            _ => one_of(&mut self.rng, &[0, u64::MAX, 1 << 40]).into(),
        }
    }
}

fn updates(draft: &mut Draft) -> Call {
    let count = draft.rng.usize(1..=6);
    let mut words = Vec::new();
    for _ in 0..count {
        let (slot, value) = update(draft);
        words.extend([slot, value]);
    }
    let array = draft.bent_array(Buffer { words, edge: false });
    let count = draft.bent_count(count as u64);
    let done = draft.done();
    (HYPERCALL_MMU_UPDATE, vec![array, count.into(), done, pools::subject(&mut draft.rng).into()])
}

/// A slot and a value for it.
fn update(draft: &mut Draft) -> (Value, Value) {
    match draft.rng.u32(0..100) {
        0..45 => {
            let command = command(draft);
            (slot(Table::L1.into(), draft.window(), command), draft.l1_entry())
        }
        45..70 => change_one(draft),
        70..85 => {
            let (page, index) = (draft.page(), draft.rng.usize(0..8));
            let command = command(draft);
            (slot(page.into(), index, command), draft.l1_entry())
        }
        85..93 => {
            let frame = draft.frame();
            (Value::Page(frame, 1), pools::junk(&mut draft.rng).into())
        }
        _ => (Value::Page(pools::special(&mut draft.rng).into(), 0), draft.l1_entry()),
    }
}

fn extended(draft: &mut Draft) -> Call {
    let count = draft.rng.usize(1..=3);
    let words: Vec<Value> = (0..count).flat_map(|_| operation(draft)).collect();
    let array = draft.bent_array(Buffer { words, edge: false });
    let count = draft.bent_count(count as u64);
    let done = draft.done();
    (HYPERCALL_MMUEXT_OP, vec![array, count.into(), done, pools::domain(&mut draft.rng).into()])
}

/// Commands of `mmuext_op`, by weight.
const COMMANDS: [(u32, u32); 21] = [
    (5, MMUEXT_PIN_L1_TABLE),
    (5, MMUEXT_PIN_L1_TABLE + 1),
    (4, MMUEXT_PIN_L1_TABLE + 2),
    (4, MMUEXT_PIN_L1_TABLE + 3),
    (8, MMUEXT_UNPIN_TABLE),
    (2, MMUEXT_NEW_BASEPTR),
    (3, MMUEXT_NEW_USER_BASEPTR),
    (3, MMUEXT_TLB_FLUSH_LOCAL),
    (2, MMUEXT_INVLPG_LOCAL),
    (3, MMUEXT_TLB_FLUSH_MULTI),
    (3, MMUEXT_INVLPG_MULTI),
    (2, MMUEXT_TLB_FLUSH_ALL),
    (2, MMUEXT_INVLPG_ALL),
    (1, MMUEXT_FLUSH_CACHE),
    (1, MMUEXT_FLUSH_CACHE_GLOBAL),
    (4, MMUEXT_SET_LDT),
    (6, MMUEXT_CLEAR_PAGE),
    (6, MMUEXT_COPY_PAGE),
    (1, MMUEXT_MARK_SUPER),
    (1, MMUEXT_UNMARK_SUPER),
    (1, 14),
];

fn operation(draft: &mut Draft) -> [Value; 3] {
    let command = if draft.chance(2) { draft.rng.u32(21..99) } else { weighted(&mut draft.rng, &COMMANDS) };
    let (first, second) = match command {
        MMUEXT_INVLPG_LOCAL | MMUEXT_INVLPG_ALL => (any_address(draft), 0.into()),
        MMUEXT_TLB_FLUSH_MULTI => (0.into(), vcpus(draft)),
        MMUEXT_INVLPG_MULTI => (any_address(draft), vcpus(draft)),
        MMUEXT_SET_LDT => (ldt(draft), one_of(&mut draft.rng, &[0, 1, 8192, 8193, u64::MAX]).into()),
        MMUEXT_COPY_PAGE => (draft.number(), draft.number()),
        MMUEXT_NEW_USER_BASEPTR if draft.chance(40) => (0.into(), 0.into()),
        MMUEXT_NEW_BASEPTR if draft.chance(60) => (Value::Mfn(Table::Root.into()), 0.into()),
        _ => (draft.number(), 0.into()),
    };
    [u64::from(command).into(), first, second]
}

fn any_address(draft: &mut Draft) -> Value {
    if draft.chance(25) { pools::bad_address(&mut draft.rng) } else { draft.address().into() }
}

fn ldt(draft: &mut Draft) -> Value {
    match draft.rng.u32(0..100) {
        0..60 => address_under(Table::L1, FIRST_PAGE + draft.page().number()).into(),
        60..80 => (address_under(Table::L1, FIRST_WINDOW) + 8).into(),
        _ => pools::bad_address(&mut draft.rng),
    }
}

/// A set of vCPUs.
fn vcpus(draft: &mut Draft) -> Value {
    match draft.rng.u32(0..100) {
        0..75 => Value::Buffer(Buffer::new(vec![one_of(&mut draft.rng, &[0, 1, 2, 3, u64::MAX]).into()])),
        75..90 => pools::bad_address(&mut draft.rng),
        _ => draft.empty_window().into(),
    }
}

/// What `update_va_mapping` flushes.
fn flush(draft: &mut Draft) -> Value {
    const ALL: u64 = 4;
    let kind = draft.rng.u64(0..4);
    match draft.rng.u32(0..100) {
        0..70 => kind.into(),
        70..85 => (kind | ALL).into(),
        _ => match pools::bad_address(&mut draft.rng) {
            Value::Literal(address) => (address | kind).into(),
            other => other,
        },
    }
}

fn mapping(draft: &mut Draft) -> Call {
    let address = any_address_of_entry(draft);
    let (entry, flush) = (draft.l1_entry(), flush(draft));
    (HYPERCALL_UPDATE_VA_MAPPING, vec![address, entry, flush])
}

fn mapping_of(draft: &mut Draft) -> Call {
    let address = any_address_of_entry(draft);
    let (entry, flush) = (draft.l1_entry(), flush(draft));
    (HYPERCALL_UPDATE_VA_MAPPING_OTHERDOMAIN, vec![address, entry, flush, pools::domain(&mut draft.rng).into()])
}

fn any_address_of_entry(draft: &mut Draft) -> Value {
    if draft.chance(6) { pools::bad_address(&mut draft.rng) } else { draft.address().into() }
}

fn global_descriptors(draft: &mut Draft) -> Call {
    let frames = draft.rng.usize(1..=3);
    let list: Vec<Value> = (0..frames)
        .map(|_| {
            let page = draft.page_that(|belief| matches!(belief, Belief::ReadOnly | Belief::Descriptors));
            draft.believe(page, Belief::Descriptors);
            Value::Mfn(page.into())
        })
        .collect();
    let entries = one_of(&mut draft.rng, &[0, 1, 16, 512, 513, 1024, 7168, 7169, u64::MAX]);
    let list = draft.bent_array(Buffer { words: list, edge: false });
    (HYPERCALL_SET_GDT, vec![list, entries.into()])
}

fn descriptor(draft: &mut Draft) -> Call {
    let page = draft.page_that(|belief| belief == Belief::Descriptors);
    let offset = if draft.chance(8) { 4 } else { 0 };
    let place = match draft.rng.u32(0..100) {
        0..85 => Value::Page(page.into(), 8 * draft.rng.u64(0..8) + offset),
        _ => Value::Page(draft.frame(), offset),
    };
    (HYPERCALL_UPDATE_DESCRIPTOR, vec![place, pools::descriptor(&mut draft.rng).into()])
}

fn segment(draft: &mut Draft) -> Call {
    let bad = [1 << 63, 1 << 47];
    let (which, base) = match draft.rng.u32(0..100) {
        0..70 => (draft.rng.u64(0..2), one_of(&mut draft.rng, &[0, 0x7000, bad[0], bad[1]])),
        70..85 => (2, one_of(&mut draft.rng, &bad)),
        _ => (draft.rng.u64(4..9), 0),
    };
    (HYPERCALL_SET_SEGMENT_BASE, vec![which.into(), base.into()])
}

fn processor(draft: &mut Draft) -> Call {
    match draft.rng.u32(0..3) {
        0 => (HYPERCALL_STACK_SWITCH, vec![0xe02b.into(), draft.address().into()]),
        1 => (HYPERCALL_FPU_TASKSWITCH, vec![0.into()]),
        _ => (HYPERCALL_XEN_VERSION, vec![0.into()]),
    }
}

/// Calls that are not about memory, in forms that leave nothing behind.
fn other(draft: &mut Draft) -> Call {
    let argument = draft.address().into();
    match draft.rng.u32(0..4) {
        0 => (VCPU_OP, virtual_processor(draft, argument)),
        1 => (SCHED_OP, vec![one_of(&mut draft.rng, &[0, 0, 99]).into()]),
        2 => (CONSOLE_IO, console(draft)),
        _ => (VM_ASSIST, one_of(&mut draft.rng, &[[0, 33], [1, 64], [5, 0], [9, 33]]).map(Value::from).into()),
    }
}

/// `vcpu_op`: questions, and requests that are refused whatever `argument` points to.
fn virtual_processor(draft: &mut Draft, argument: Value) -> Vec<Value> {
    const INITIALISE: u64 = 0;
    const UP: u64 = 1;
    const IS_UP: u64 = 3;
    const PERIODIC_TIMER: u64 = 6;
    const SINGLE_TIMER: u64 = 8;
    let too_short = Value::Buffer(Buffer::new(vec![one_of(&mut draft.rng, &[0, 1000, 999_999]).into()]));
    match draft.rng.u32(0..100) {
        0..30 => vec![IS_UP.into(), one_of(&mut draft.rng, &[0, 1, 2, 77, u64::MAX]).into()],
        30..45 => vec![INITIALISE.into(), 0.into(), argument],
        45..60 => vec![INITIALISE.into(), 1.into(), pools::bad_address(&mut draft.rng)],
        60..70 => vec![UP.into(), one_of(&mut draft.rng, &[1, 9]).into()],
        70..80 => vec![SINGLE_TIMER.into(), 1.into(), argument],
        80..90 => vec![PERIODIC_TIMER.into(), 0.into(), too_short],
        _ => vec![draft.rng.u64(20..99).into(), 0.into()],
    }
}

/// `console_io`: a read of too much, a write of nothing that can be read, and commands there are none of.
fn console(draft: &mut Draft) -> Vec<Value> {
    const WRITE: u64 = 0;
    const READ: u64 = 1;
    match draft.rng.u32(0..3) {
        0 => vec![WRITE.into(), 8.into(), pools::bad_address(&mut draft.rng)],
        1 => vec![READ.into(), (1_u64 << 31).into(), 0.into()],
        _ => vec![draft.rng.u64(2..9).into(), 0.into(), 0.into()],
    }
}

fn unknown(draft: &mut Draft) -> Call {
    (one_of(&mut draft.rng, &[11, 38, 64, 9999, u32::MAX]), vec![draft.rng.u64(0..3).into()])
}
