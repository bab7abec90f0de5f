//! The raw hypercall interface of the mock: whatever words a guest puts into registers and memory, every call comes to an
//! end with an answer that Xen has, references stay counted right, and the same words come to the same end again.

use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Unstructured};
use hypercall::abi::{
    HYPERCALL_FPU_TASKSWITCH, HYPERCALL_MMU_UPDATE, HYPERCALL_MMUEXT_OP, HYPERCALL_MULTICALL, HYPERCALL_SET_GDT,
    HYPERCALL_SET_SEGMENT_BASE, HYPERCALL_STACK_SWITCH, HYPERCALL_UPDATE_DESCRIPTOR, HYPERCALL_UPDATE_VA_MAPPING,
    HYPERCALL_UPDATE_VA_MAPPING_OTHERDOMAIN,
};
use hypercall::{ENTRIES_PER_TABLE, Errno, Level, Mfn, PteSlot, RawCall, VcpuId, VirtAddr};
use mock_xen::{GuestBuilder, MockXen, NotModelled, NotModelledEvent, Seeded};

use crate::{Finding, trying};

/// What a guest does, in order.
#[derive(Arbitrary, Clone, Debug)]
pub struct Script {
    /// Where its hypercalls are interrupted, if they are.
    interrupted: Option<(u8, u8)>,
    acts: Vec<Act>,
}

/// One thing that a guest does.
#[derive(Arbitrary, Clone, Debug)]
enum Act {
    /// A hypercall of the second vCPU, or of the first.
    Call { second: bool, number: Number, args: [Word; 5] },
    /// A call whose array is put into memory first.
    Array { second: bool, kind: Array, at: u8, words: Vec<Word>, count: u8, done: Word, domain: Word },
    /// One `mmuext_op` of the guest's own.
    Extended { second: bool, command: u8, frame: u8, word: Word },
    /// One update of the guest's own.
    Update { second: bool, slot: (u8, u8), command: u8, entry: (u8, u8) },
    /// A store to the memory that arguments are in.
    Store { at: u16, word: Word },
    /// A store to any frame, where a mapping allows it.
    StoreAnywhere { frame: u8, index: u16, word: Word },
}

/// A call whose first argument is an array.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Array {
    Update,
    Extended,
    Multicall,
}

/// A hypercall's number: one that is modelled, most often.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Number {
    Known(u8),
    Any(u32),
}

/// A word that means something to a hypercall, most often.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Word {
    Any(u64),
    Small(u8),
    /// An address in the memory that arguments are in.
    Argument(u16),
    /// An address in the direct map, of any of the frames.
    Address(u8, u16),
    /// A frame's number.
    Frame(u8),
    /// The word at which an entry is updated, with its command.
    Slot {
        frame: u8,
        index: u16,
        command: u8,
    },
    /// An entry that maps a frame.
    Entry {
        frame: u8,
        flags: u16,
    },
    /// A domain, or a table's owner and a frame's.
    Domain(u8, u8),
}

/// Frames that the words above can name, beside those of the direct map.
const FRAMES: usize = 6;
/// Pages that arguments are in.
const ARGUMENT_PAGES: usize = 2;
/// Acts that are looked at; more show nothing new and take long.
const ACTS: usize = 64;
/// `vcpu_op` and what else has no number of its own in `hypercall`.
const OTHER_NUMBERS: [u32; 6] = [17, 18, 21, 23, 24, 29];

/// Entries that a lone update writes: few, so that scripts meet themselves.
const INDICES: [usize; 6] = [0, 1, 255, 256, 300, 511];
/// Flags of an entry that mean something, most often those of a read-only one.
const FLAGS: [u64; 6] = [0x61, 0x61, 0x63, 0x67, 0x65, 0];

const NUMBERS: [u32; 10] = [
    HYPERCALL_MMU_UPDATE,
    HYPERCALL_MMUEXT_OP,
    HYPERCALL_MULTICALL,
    HYPERCALL_UPDATE_VA_MAPPING,
    HYPERCALL_UPDATE_VA_MAPPING_OTHERDOMAIN,
    HYPERCALL_SET_GDT,
    HYPERCALL_UPDATE_DESCRIPTOR,
    HYPERCALL_STACK_SWITCH,
    HYPERCALL_FPU_TASKSWITCH,
    HYPERCALL_SET_SEGMENT_BASE,
];

impl Number {
    fn number(self) -> u32 {
        let known = || NUMBERS.into_iter().chain(OTHER_NUMBERS);
        match self {
            Self::Known(which) => known().nth(usize::from(which) % known().count()).unwrap_or_default(),
            Self::Any(number) => number,
        }
    }
}

impl Array {
    const fn number(self) -> u32 {
        match self {
            Self::Update => HYPERCALL_MMU_UPDATE,
            Self::Extended => HYPERCALL_MMUEXT_OP,
            Self::Multicall => HYPERCALL_MULTICALL,
        }
    }

    /// Words of one element.
    const fn words(self) -> usize {
        match self {
            Self::Update => 2,
            Self::Extended => 3,
            Self::Multicall => 8,
        }
    }
}

/// A guest of two vCPUs with everything that a word can name.
struct Guest {
    xen: MockXen,
    /// Those in the fight, the tables of the direct map's first page, and the pages of arguments.
    frames: Vec<Mfn>,
    arguments: Vec<Mfn>,
}

/// How a script ended: the answers, what was not modelled, and every table in use.
type Ending = (Vec<i64>, Vec<NotModelledEvent>, BTreeMap<Mfn, Box<[u64; ENTRIES_PER_TABLE]>>);

impl Guest {
    fn new(mut builder: GuestBuilder) -> Self {
        let mut frames: Vec<_> = (0..FRAMES).map(|_| builder.new_frame()).collect();
        // Nothing maps these writable, so that they can be pinned.
        for (frame, level) in frames.iter().zip([Level::L1, Level::L1, Level::L2, Level::L3]) {
            builder.table(*frame, level);
        }
        let arguments: Vec<_> = (0..ARGUMENT_PAGES).map(|_| builder.new_frame()).collect();
        let xen = builder.build().expect("a guest without tables of its own is always right");
        let first = xen.direct_map(frames[0]).expect("the frame is memory");
        for level in [Level::L1, Level::L2, Level::L3, Level::L4] {
            frames.extend(xen.slot_of(VcpuId::new(0), first, level).map(PteSlot::table));
        }
        frames.extend(&arguments);
        Self { xen, frames, arguments }
    }

    fn frame(&self, number: u8) -> Mfn {
        self.frames[usize::from(number) % self.frames.len()]
    }

    fn address(&self, mfn: Mfn, offset: u16) -> u64 {
        let page = self.xen.direct_map(mfn).map_or(0, VirtAddr::value);
        page + u64::from(offset) % 4096
    }

    /// Where the argument word `at` lies: its page and its index there.
    fn argument(&self, at: usize) -> (Mfn, usize) {
        let at = at % (ARGUMENT_PAGES * ENTRIES_PER_TABLE);
        (self.arguments[at / ENTRIES_PER_TABLE], at % ENTRIES_PER_TABLE)
    }

    fn argument_address(&self, at: usize) -> u64 {
        let (page, index) = self.argument(at);
        self.address(page, 8 * index as u16)
    }

    fn word(&self, word: Word) -> u64 {
        match word {
            Word::Any(word) => word,
            Word::Small(word) => word.into(),
            Word::Argument(byte) => self.argument_address(usize::from(byte) / 8) + u64::from(byte) % 8,
            Word::Address(frame, offset) => self.address(self.frame(frame), offset),
            Word::Frame(frame) => self.frame(frame).number(),
            Word::Slot { frame, index, command } => {
                PteSlot::of(self.frame(frame), usize::from(index) % ENTRIES_PER_TABLE).bits() | (u64::from(command) % 8)
            }
            Word::Entry { frame, flags } => (self.frame(frame).number() << 12) | (u64::from(flags) % 4096),
            Word::Domain(table, frame) => u64::from(domain(table)) | u64::from(domain(frame)) << 32,
        }
    }

    fn store(&self, at: usize, word: Word) {
        let (page, index) = self.argument(at);
        // Refused where the page has become a table: then that is what calls find there.
        let _ = self.xen.write_plain(page, index, self.word(word));
    }

    fn act(&self, act: &Act) -> Option<i64> {
        match act {
            Act::Call { second, number, args } => {
                self.call(*second, RawCall { number: number.number(), args: args.map(|word| self.word(word)) })
            }
            Act::Array { second, kind, at, words, count, done, domain } => {
                let at = usize::from(*at) * 4;
                words.iter().enumerate().for_each(|(n, word)| self.store(at + n, *word));
                let whole = (words.len() / kind.words()) as u64;
                let count = if *count == 0 { whole } else { u64::from(*count) };
                let args = [self.argument_address(at), count, self.word(*done), self.word(*domain), 0];
                self.call(*second, RawCall { number: kind.number(), args })
            }
            Act::Extended { second, command, frame, word } => {
                let words = [u64::from(command % 24), self.frame(*frame).number(), self.word(*word)];
                self.alone(*second, Array::Extended, &words)
            }
            Act::Update { second, slot: (table, index), command, entry: (frame, flags) } => {
                let slot = PteSlot::of(self.frame(*table), INDICES[usize::from(*index) % INDICES.len()]);
                let flags = FLAGS[usize::from(*flags) % FLAGS.len()];
                let words = [slot.bits() | u64::from(command % 4), (self.frame(*frame).number() << 12) | flags];
                self.alone(*second, Array::Update, &words)
            }
            Act::Store { at, word } => {
                self.store(usize::from(*at), *word);
                None
            }
            Act::StoreAnywhere { frame, index, word } => {
                let index = usize::from(*index) % ENTRIES_PER_TABLE;
                let _ = self.xen.write_plain(self.frame(*frame), index, self.word(*word));
                None
            }
        }
    }

    /// A call whose array is one element.
    fn alone(&self, second: bool, kind: Array, words: &[u64]) -> Option<i64> {
        words.iter().enumerate().for_each(|(at, word)| self.store(at, Word::Any(*word)));
        let args = [self.argument_address(0), 1, 0, domain(0).into(), 0];
        self.call(second, RawCall { number: kind.number(), args })
    }

    /// A vCPU that is down calls nothing.
    fn call(&self, second: bool, mut call: RawCall) -> Option<i64> {
        let vcpu = VcpuId::new(second.into());
        self.xen.processor(vcpu).up.then(|| self.xen.hypercall(vcpu, &mut call))
    }
}

/// The guest itself, its number, I/O, Xen, nobody, or any.
fn domain(which: u8) -> u16 {
    const SPECIAL: [u16; 6] = [0x7ff0, 0x7ff0, 0x7ff1, 0x7ff2, 0x7ff4, 0];
    SPECIAL.get(usize::from(which)).copied().unwrap_or(which.into())
}

pub(crate) fn any_words(bytes: &[u8]) -> Result<(), Finding> {
    let Ok(script) = Script::arbitrary_take_rest(Unstructured::new(bytes)) else { return Ok(()) };
    trying(&script, || {
        let run = || run_script(&script, GuestBuilder::new(2));
        if run()? == run()? { Ok(()) } else { Err(Finding::new("the same words have come to two ends")) }
    })
}

/// Runs a script on a guest of two vCPUs that `builder` has begun.
///
/// # Errors
/// A reference that is counted wrong, or an answer that Xen does not have.
pub fn run_script(script: &Script, builder: GuestBuilder) -> Result<Ending, Finding> {
    let guest = Guest::new(builder);
    if let Some((seed, one_in)) = script.interrupted {
        let schedule = |vcpu: u32| Seeded::new(u64::from(seed) + u64::from(vcpu), u64::from(one_in).max(1));
        (0..2).for_each(|vcpu| guest.xen.set_schedule(VcpuId::new(vcpu), schedule(vcpu)));
    }
    let mut answers = Vec::new();
    for act in script.acts.iter().take(ACTS) {
        let answer = guest.act(act);
        guest.xen.audit().map_err(|fault| Finding::new(format_args!("after {act:?} ({answer:?}): {fault}")))?;
        if let Some(answer) = answer {
            is_answer(&guest.xen, answer)?;
            answers.push(answer);
        }
    }
    Ok((answers, guest.xen.not_modelled(), guest.xen.snapshot()))
}

/// A refusal is one that Xen has for its callers, and what is not modelled has been noted.
fn is_answer(xen: &MockXen, answer: i64) -> Result<(), Finding> {
    let internal = [Errno::INTR, Errno::RESTART];
    let is_right = match Errno::from_return(answer) {
        Ok(answer) => answer >= 0,
        Err(errno) if NotModelled::from_errno(errno).is_some() => !xen.not_modelled().is_empty(),
        Err(errno) => errno.name().is_some() && !internal.contains(&errno),
    };
    if is_right {
        Ok(())
    } else {
        Err(Finding::new(format_args!("{answer} is no answer of Xen's, or has not been noted")))
    }
}
