//! Programs and answers into text that reads back as what it was.
//!
//! The same word is printed as a slot, an entry, an address, a command or a number, depending on
//! where it stands; what is read back does not depend on that.

use std::fmt::{self, Write};
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, write};

use hypercall::abi::{
    HYPERCALL_MMU_UPDATE, HYPERCALL_MMUEXT_OP, HYPERCALL_MULTICALL, HYPERCALL_SET_GDT, HYPERCALL_UPDATE_DESCRIPTOR,
    HYPERCALL_UPDATE_VA_MAPPING, HYPERCALL_UPDATE_VA_MAPPING_OTHERDOMAIN,
};
use hypercall::{PAGE_SHIFT, PAGE_SIZE, PteFlags};

use super::names::{BAD_ADDRESSES, COMMANDS, DOMAINS, FLAGS, HYPERCALLS, UPDATES, answer, frame_name, name_of};
use super::parser::{REGISTERS, done_buffer};
use super::{Case, CaseStep};
use crate::arena::{BASE, FIRST_PAGE, FIRST_WINDOW, WINDOWS};
use crate::expect::{Expectation, Expected, Of};
use crate::frame::{Frame, PAGES, Table};
use crate::machine::Interrupt;
use crate::numbers::UNTOUCHED;
use crate::outcome::{Called, Change, Place, StepOutcome, StepResult};
use crate::program::{Buffer, Program, Step, Value};
use crate::record::{Refusal, Word};

/// What a value is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum As {
    Number,
    Address,
    Slot,
    Entry,
    Domain,
    Command,
    Hypercall,
    Done,
    /// Arrays of updates, extended operations, and calls.
    Updates,
    Extended,
    Calls,
}

/// Words per element of an array.
const fn stride(what: As) -> usize {
    match what {
        As::Updates => 2,
        As::Extended => 3,
        As::Calls => 8,
        _ => usize::MAX,
    }
}

/// What the registers of a hypercall are.
fn registers(number: u32) -> [As; 5] {
    use As::{Address, Calls, Domain, Done, Entry, Extended, Number, Slot, Updates};
    match number {
        HYPERCALL_MMU_UPDATE => [Updates, Number, Done, Domain, Number],
        HYPERCALL_MMUEXT_OP => [Extended, Number, Done, Domain, Number],
        HYPERCALL_MULTICALL => [Calls, Number, Number, Number, Number],
        HYPERCALL_UPDATE_VA_MAPPING => [Address, Entry, Number, Number, Number],
        HYPERCALL_UPDATE_VA_MAPPING_OTHERDOMAIN => [Address, Entry, Number, Domain, Number],
        HYPERCALL_UPDATE_DESCRIPTOR => [Slot, Number, Number, Number, Number],
        HYPERCALL_SET_GDT => [Address, Number, Number, Number, Number],
        _ => [Number; 5],
    }
}

/// What the words of a buffer are.
fn elements(what: As, words: &[Value]) -> Vec<As> {
    let mut kinds = Vec::new();
    for element in words.chunks(stride(what).min(words.len().max(1))) {
        let kind = |index| match (what, index) {
            (As::Updates, 0) => As::Slot,
            (As::Updates, 1) => As::Entry,
            (As::Extended, 0) => As::Command,
            (As::Calls, 0) => As::Hypercall,
            (As::Calls, 2..=6) => match element.first() {
                Some(Value::Literal(number)) => registers(*number as u32)[index - 2],
                _ => As::Number,
            },
            _ => As::Number,
        };
        kinds.extend((0..element.len()).map(kind));
    }
    kinds
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.name.is_empty() {
            writeln!(f, "case {}: {}", self.name, self.title)?;
        }
        self.steps.iter().try_for_each(|step| writeln!(f, "    {step}"))
    }
}

impl fmt::Display for CaseStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.step)?;
        for (index, expectation) in self.expected.iter().enumerate() {
            f.write_str(if index == 0 { " -> " } else { ", " })?;
            f.write_str(&expectation_text(expectation, &self.step))?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { interrupt, number, args } => write_call(f, *interrupt, *number, args),
            Self::Store { address, word } => {
                write!(f, "store({}, {})", value(address, As::Address), value(word, As::Entry))
            }
            Self::Load { address } => write!(f, "load({})", value(address, As::Address)),
            Self::Exchange { address, word } => {
                write!(f, "exchange({}, {})", value(address, As::Address), value(word, As::Entry))
            }
            Self::Probe(frame) => write!(f, "probe({})", frame_name(*frame)),
        }
    }
}

fn write_call(f: &mut impl Write, interrupt: Option<Interrupt>, number: u32, args: &[Value]) -> fmt::Result {
    f.write_str(match interrupt {
        None => "",
        Some(Interrupt::Pending) => "@pending ",
        Some(Interrupt::Step) => "@step ",
    })?;
    let name = name_of(HYPERCALLS, number.into());
    let number_if_unnamed = if name.is_none() { Some(number.to_string()) } else { None };
    let args = args.iter().zip(registers(number)).map(|(arg, what)| value(arg, what));
    let args: Vec<String> = number_if_unnamed.into_iter().chain(args).collect();
    write!(f, "{}({})", name.unwrap_or("call"), args.join(", "))
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&value(self, As::Number))
    }
}

fn value(said: &Value, what: As) -> String {
    match said {
        Value::Literal(number) => literal(*number, what),
        Value::Mfn(frame) => format!("mfn({})", frame_name(*frame)),
        Value::Page(frame, offset) => page(*frame, *offset, what),
        Value::Word(frame, index, flipped) => word(*frame, *index, *flipped),
        Value::Buffer(buffer) if what == As::Done && *buffer == done() => "done".into(),
        Value::Buffer(buffer) => {
            format!("{}&[{}]", if buffer.edge { "edge " } else { "" }, words(&buffer.words, what))
        }
    }
}

fn done() -> Buffer {
    Buffer::new([UNTOUCHED.into()].into())
}

fn words(words: &[Value], what: As) -> String {
    let mut text = String::new();
    for (index, (word, kind)) in words.iter().zip(elements(what, words)).enumerate() {
        if index > 0 {
            text.push_str(if index.is_multiple_of(stride(what)) { "; " } else { ", " });
        }
        text.push_str(&value(word, kind));
    }
    text
}

fn literal(number: u64, what: As) -> String {
    let name = match what {
        As::Domain => name_of(DOMAINS, number),
        As::Command => name_of(COMMANDS, number),
        As::Hypercall => name_of(HYPERCALLS, number),
        _ => name_of(BAD_ADDRESSES, number).or((number == UNTOUCHED).then_some("untouched")),
    };
    match name {
        Some(name) => name.into(),
        None if what == As::Entry => flags(number),
        None => address(number).unwrap_or_else(|| small_or_hex(number)),
    }
}

fn small_or_hex(number: u64) -> String {
    if number < 10 { number.to_string() } else { format!("{number:#x}") }
}

/// An address among the pages and windows.
fn address(number: u64) -> Option<String> {
    let offset = number.checked_sub(BASE)?;
    let name = home((offset >> PAGE_SHIFT) as usize)?;
    Some(plus(format!("va({name})"), offset % PAGE_SIZE))
}

/// The page or window whose L1 entry this is.
fn home(index: usize) -> Option<String> {
    if (FIRST_WINDOW..FIRST_WINDOW + WINDOWS).contains(&index) {
        return Some(format!("w{}", index - FIRST_WINDOW));
    }
    (FIRST_PAGE..FIRST_PAGE + PAGES).contains(&index).then(|| format!("p{}", index - FIRST_PAGE))
}

fn plus(text: String, add: u64) -> String {
    if add == 0 { text } else { format!("{text}+{add:#x}") }
}

fn page(frame: Frame, offset: u64, what: As) -> String {
    if what == As::Slot && frame.observed().is_some() && offset < PAGE_SIZE {
        let slot = format!("slot({})", place(frame, (offset / 8) as usize));
        return match (name_of(UPDATES, offset % 8), offset % 8) {
            (_, 0) => slot,
            (Some(name), _) => format!("{slot}+{name}"),
            (None, command) => format!("{slot}+{command}"),
        };
    }
    format!("pte({}, {})", frame_name(frame), flags(offset))
}

/// Flags, those that are far from the others by name.
fn flags(bits: u64) -> String {
    let mut rest = bits;
    let mut text = String::new();
    for (name, flag) in FLAGS {
        if bits & flag != 0 && bits & PteFlags::PRESENT.bits() != 0 {
            rest &= !flag;
            text.push_str(name);
            text.push('+');
        }
    }
    text + &format!("{rest:#x}")
}

fn word(frame: Frame, index: usize, flipped: u64) -> String {
    match flipped {
        0 => format!("word({})", place(frame, index)),
        _ => format!("word({}, {flipped:#x})", place(frame, index)),
    }
}

fn place(frame: Frame, index: usize) -> String {
    match (frame, home(index)) {
        (Frame::Table(Table::L1), Some(name)) => name,
        _ => format!("{}[{index}]", frame_name(frame)),
    }
}

/// A place as expectations have it: a page alone would be taken for its L1 entry.
fn memory_place(at: Place) -> String {
    match at {
        Place::Word(frame, index) => match (frame, home(index)) {
            (Frame::Table(Table::L1), Some(name)) => format!("l1[{name}]"),
            _ => place(frame, index),
        },
        Place::MachineToPhysical(frame) => format!("m2p({})", frame_name(frame)),
    }
}

pub(super) const fn refusal(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoSuchFrame => "no_such_frame",
        Refusal::Reserved => "reserved",
        Refusal::BasePointer => "base_pointer",
        Refusal::Foreign => "foreign",
        Refusal::Elsewhere => "elsewhere",
        Refusal::Forbidden => "forbidden",
        Refusal::Unarmed => "unarmed",
    }
}

fn memory_word(word: Word) -> String {
    match word {
        Word::Raw(raw) => literal(raw, As::Entry),
        Word::Page(frame, bits) => format!("pte({}, {})", frame_name(frame), flags(bits.bits())),
        Word::Arguments(number, bits) => format!("arguments({number}, {})", flags(bits.bits())),
        Word::Mfn(frame) => format!("mfn({})", frame_name(frame)),
        Word::Xen => "xen".into(),
        Word::Masked => "masked".into(),
        Word::Home => "home".into(),
    }
}

/// An expectation as it is written behind `->`.
pub(super) fn expectation_text(expectation: &Expectation, step: &Step) -> String {
    match expectation {
        Expectation::Returns(value) if matches!(step, Step::Call { .. }) => answer(value.add as i64),
        Expectation::Returns(word) => expected(word),
        Expectation::Stored => "stored".into(),
        Expectation::Fault(code) => format!("fault({code})"),
        Expectation::Refused(None) => "refused".into(),
        Expectation::Refused(Some(why)) => format!("refused({})", refusal(*why)),
        Expectation::Probed { writable, levels } => probe(*writable, levels.as_ref()),
        Expectation::Argument { buffer, word: 0, value } if is_done(step, *buffer) => {
            format!("done={}", expected(value))
        }
        Expectation::Argument { buffer, word, value } => format!("&{buffer}[{word}]={}", expected(value)),
        Expectation::Untouched { .. } => "done=-".into(),
        Expectation::Register { register, value } => format!("{}={}", REGISTERS[*register], expected(value)),
        Expectation::Kept => "kept".into(),
        Expectation::Memory { place, word } => format!("{}={}", memory_place(*place), expected(word)),
        Expectation::Interruptions(count) => format!("upcalls={count}"),
        Expectation::RegisterAtInterruption { register, value } => {
            format!("upcall.{}={}", REGISTERS[*register], expected(value))
        }
        Expectation::EntryAtInterruption { word, value } => format!("upcall.entry[{word}]={}", expected(value)),
    }
}

/// Whether a buffer is the step's done count.
fn is_done(step: &Step, buffer: usize) -> bool {
    let third = match step {
        Step::Call { args, .. } => args.get(2),
        _ => None,
    };
    matches!(third, Some(Value::Buffer(third)) if third.words.len() == 1) && buffer == done_buffer(step)
}

fn expected(value: &Expected) -> String {
    match value.of {
        Of::Number => literal(value.add, As::Number),
        Of::Mfn(frame) => format!("mfn({})", frame_name(frame)),
        Of::Page(frame) => format!("pte({}, {})", frame_name(frame), flags(value.add)),
        Of::Word(frame, index, flipped) => word(frame, index, flipped),
        Of::Buffer(number) => plus(format!("&{number}"), value.add),
        Of::Xen => "xen".into(),
        Of::Masked => "masked".into(),
        Of::Home => "home".into(),
    }
}

fn probe(writable: i64, levels: Option<&[i64; 4]>) -> String {
    let all = [writable].into_iter().chain(levels.into_iter().flatten().copied());
    format!("probe({})", all.map(answer).collect::<Vec<_>>().join(", "))
}

/// What a step came to, as the expectations that it meets.
pub(super) fn step_outcome_text(outcome: &StepOutcome, step: &Step) -> String {
    let mut parts = match &outcome.result {
        StepResult::Called(called) => call_parts(called, step),
        StepResult::Value(word) => [memory_word(*word)].into(),
        StepResult::Stored => ["stored".to_string()].into(),
        StepResult::Fault(code) => [format!("fault({code})")].into(),
        StepResult::Refused(why) => [format!("refused({})", refusal(*why))].into(),
        StepResult::Probed { writable, levels } => [probe(*writable, levels.as_ref())].into(),
    };
    parts.extend(outcome.changes.iter().map(change_text));
    parts.join(", ")
}

/// A change of memory as an expectation.
pub(super) fn change_text(change: &Change) -> String {
    memory_text(change.place, change.word)
}

/// What a place of memory holds, as an expectation.
pub(super) fn memory_text(place: Place, word: Word) -> String {
    format!("{}={}", memory_place(place), memory_word(word))
}

fn call_parts(called: &Called, step: &Step) -> Vec<String> {
    let buffers = step.buffers();
    let number = |value| in_buffer(&buffers, value).unwrap_or_else(|| literal(value, As::Number));
    let mut parts: Vec<String> = [answer(called.value)].into();
    for change in &called.arguments {
        let name = match change.word {
            0 if is_done(step, change.buffer) => "done".into(),
            word => format!("&{}[{word}]", change.buffer),
        };
        parts.push(format!("{name}={}", number(change.value)));
    }
    for (register, value) in &called.registers {
        let name = REGISTERS.get(usize::from(*register)).copied().unwrap_or("register");
        parts.push(format!("{name}={}", number(*value)));
    }
    if called.interruptions > 0 {
        parts.push(format!("upcalls={}", called.interruptions));
    }
    if let Some(first) = called.first {
        let registers = REGISTERS.iter().zip(first.args);
        parts.extend(registers.take(2).map(|(name, value)| format!("upcall.{name}={}", number(value))));
        let entry = first.entry.into_iter().flatten().enumerate();
        parts.extend(entry.map(|(word, value)| match value {
            Word::Raw(value) => format!("upcall.entry[{word}]={}", number(value)),
            named => format!("upcall.entry[{word}]={}", memory_word(named)),
        }));
    }
    parts
}

/// An address as one in a buffer of the step; the end of a buffer counts as inside.
fn in_buffer(buffers: &[(u64, usize)], address: u64) -> Option<String> {
    let inside =
        |(start, words): &(u64, usize)| address.checked_sub(*start).is_some_and(|offset| offset <= 8 * *words as u64);
    let number = buffers.iter().position(inside)?;
    Some(plus(format!("&{number}"), address - buffers[number].0))
}
