//! What a model's tasks and handlers do, and what may happen to them.

use std::ops::Range;

use crate::explore::Bounds;

/// How regions nest (R4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// A region never nests.
    Strict,
    /// Enter and leave count.
    Nested,
}

/// One operation of a task, told to the referee and asked of the design.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Enters a region.
    Enter,
    /// Leaves one.
    Leave,
    /// Pauses laziness.
    Pause,
    /// Ends a pause.
    Resume,
    /// Sets an entry to a value nobody else writes.
    Set(u8),
    /// Empties an entry by an update, which may wait.
    Unset(u8),
    /// Sets an entry to a value the hypervisor refuses.
    Refused(u8),
    /// Sets two entries in one call that is made of two, as attaching a table page is.
    Pair(u8, u8),
    /// Flushes every TLB.
    FlushTlb,
    /// An operation that may not wait, even inside a region (R10).
    Sync,
    /// Hands over what is queued; the region goes on.
    Flush,
    /// Reads an entry by the library's accessor (R11).
    Read(u8),
    /// Empties an entry at once and looks at what it held (R10).
    Clear(u8),
    /// Takes from an entry the right to store.
    Protect(u8),
    /// Sets this many entries from entry 0 on by one call.
    Range(u8),
    /// Walks over this many entries in a region of its own: each is locked, set, and unlocked by its completion
    /// callback, as tables are when an address space is pinned.
    Walk(u8),
    /// Takes a lock: spinning and with preemption off, or sleeping as on RT, as the scenario says.
    Lock(u8),
    /// Gives it back.
    Unlock(u8),
    /// Unpins the address space of this task, if it has ended (R12); vCPUs may still be on it.
    Unpin(u8),
    /// Switches counting on or off (R18).
    Count(bool),
    /// Sets an entry that has to be effective at once: a mapping made by `kmap_local`, or by the handler of a
    /// fault that the task itself has caused.
    Map(u8),
    /// Gives the vCPU away, as an allocation may.
    Sleep,
    /// Switches bottom halves off, and preemption with them.
    SoftOff,
    /// Switches them on.
    SoftOn,
    /// Takes the vCPU of this number offline, once what is queued there is out.
    Offline(u8),
    /// Brings it online again.
    Online(u8),
    /// Suspends and resumes the guest: the other vCPUs go offline, nothing may be queued anywhere, they come
    /// back.
    Suspend,
}

impl Step {
    /// The step as one letter and, where that is not all, a number.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Enter => "E".into(),
            Self::Leave => "L".into(),
            Self::Pause => "P".into(),
            Self::Resume => "R".into(),
            Self::Set(entry) => format!("S{entry}"),
            Self::Unset(entry) => format!("V{entry}"),
            Self::Refused(entry) => format!("X{entry}"),
            Self::Pair(one, other) => format!("I{one}{other}"),
            Self::FlushTlb => "T".into(),
            Self::Sync => "Y".into(),
            Self::Flush => "F".into(),
            Self::Read(entry) => format!("G{entry}"),
            Self::Clear(entry) => format!("C{entry}"),
            Self::Protect(entry) => format!("O{entry}"),
            Self::Range(count) => format!("N{count}"),
            Self::Walk(count) => format!("J{count}"),
            Self::Lock(lock) => format!("K{lock}"),
            Self::Unlock(lock) => format!("U{lock}"),
            Self::Unpin(task) => format!("Z{task}"),
            Self::Count(on) => format!("Q{}", u8::from(on)),
            Self::Map(entry) => format!("M{entry}"),
            Self::Sleep => "W".into(),
            Self::SoftOff => "H0".into(),
            Self::SoftOn => "H1".into(),
            Self::Suspend => "A".into(),
            Self::Offline(vcpu) => format!("D{vcpu}"),
            Self::Online(vcpu) => format!("B{vcpu}"),
        }
    }

    /// The step in words, for a picture.
    pub(crate) fn words(self) -> String {
        let entry = |number: u8| crate::picture::entry_name(number.into());
        match self {
            Self::Enter => "enters a region".into(),
            Self::Leave => "leaves the region".into(),
            Self::Pause => "pauses".into(),
            Self::Resume => "ends the pause".into(),
            Self::Set(number) => format!("sets {}", entry(number)),
            Self::Unset(number) => format!("empties {} by an update", entry(number)),
            Self::Refused(number) => format!("sets {} to what is refused", entry(number)),
            Self::Pair(one, other) => format!("sets {} and {} together", entry(one), entry(other)),
            Self::FlushTlb => "flushes every TLB".into(),
            Self::Sync => "does what may not wait".into(),
            Self::Flush => "flushes the queue".into(),
            Self::Read(number) => format!("reads {}", entry(number)),
            Self::Clear(number) => format!("empties {} at once", entry(number)),
            Self::Protect(number) => format!("write-protects {}", entry(number)),
            Self::Range(count) => format!("sets {count} entries by one call"),
            Self::Walk(count) => format!("walks over {count} entries, each locked"),
            Self::Lock(lock) => format!("takes lock {lock}"),
            Self::Unlock(lock) => format!("gives lock {lock} back"),
            Self::Unpin(task) => format!("unpins the tables of T{task}"),
            Self::Count(on) => format!("switches counting {}", if on { "on" } else { "off" }),
            Self::Map(number) => format!("maps {} at once", entry(number)),
            Self::Sleep => "sleeps".into(),
            Self::SoftOff => "switches bottom halves off".into(),
            Self::SoftOn => "switches bottom halves on".into(),
            Self::Suspend => "suspends the guest".into(),
            Self::Offline(vcpu) => format!("takes vcpu {vcpu} offline"),
            Self::Online(vcpu) => format!("brings vcpu {vcpu} online"),
        }
    }
}

/// What a task does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// These steps.
    Fixed(Vec<Step>),
    /// Every program of at most `length` steps from `alphabet`: at each step, any. Programs that only
    /// differ in the names of entries are one: entry 0 is the first that anybody writes.
    Any {
        /// The steps.
        alphabet: Vec<Step>,
        /// How many.
        length: usize,
        /// Which steps come first: numbers in the alphabet; its length is that of the empty program. All of
        /// them, but in a part of a scenario ([`Scenario::parts`]).
        begin: Range<u8>,
    },
}

impl Program {
    /// How many programs that is, entries' names counted as different.
    #[must_use]
    pub fn count(&self) -> u64 {
        match self {
            Self::Fixed(_) => 1,
            Self::Any { alphabet, length, begin } => count(alphabet, *length, begin, |_| true),
        }
    }
}

impl Program {
    /// How many of them name no entry.
    fn count_without_entries(&self) -> u64 {
        match self {
            Self::Fixed(_) => 1,
            Self::Any { alphabet, length, begin } => {
                let is_nameless = |step: &Step| !matches!(step, Step::Set(_) | Step::Clear(_) | Step::Read(_));
                count(alphabet, *length, begin, is_nameless)
            }
        }
    }

    /// The program divided by what it begins with, each step for itself, but for steps that only differ in the entry.
    fn parts(&self) -> Vec<Self> {
        let Self::Any { alphabet, length, begin } = self else { return vec![self.clone()] };
        let kind = |number: u8| alphabet.get(usize::from(number)).map(std::mem::discriminant);
        let numbers: Vec<u8> = begin.clone().collect();
        let alike = numbers.chunk_by(|one, other| kind(*one) == kind(*other));
        let begins = alike.map(|alike| alike[0]..alike[alike.len() - 1] + 1);
        begins.map(|begin| Self::Any { alphabet: alphabet.clone(), length: *length, begin }).collect()
    }

    fn is_part(&self) -> bool {
        matches!(self, Self::Any { alphabet, begin, .. } if begin.len() <= alphabet.len())
    }

    /// What all of it begins with, in letters.
    fn begins(&self) -> String {
        let Self::Any { alphabet, begin, .. } = self else { return String::new() };
        let name = |number: u8| alphabet.get(usize::from(number)).map_or_else(|| "end".into(), |step| step.name());
        begin.clone().map(name).collect::<Vec<_>>().join("|")
    }
}

/// How many programs of at most `length` steps begin with one of `begin` and have only steps that `is_in`.
fn count(alphabet: &[Step], length: usize, begin: &Range<u8>, is_in: impl Fn(&Step) -> bool) -> u64 {
    let all = alphabet.iter().filter(|step| is_in(step)).count() as u64;
    let of = |number: u8| alphabet.get(usize::from(number)).is_some_and(&is_in);
    let first = begin.clone().filter(|number| of(*number)).count() as u64;
    let empty = u64::from(begin.contains(&(alphabet.len() as u8)));
    empty + (1..=length as u32).map(|n| first * all.pow(n - 1)).sum::<u64>()
}

/// What a handler of an event does, with upcalls masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Handler {
    /// Sets an entry.
    Set(u8),
    /// Flushes TLBs.
    FlushTlb,
    /// Reads an entry.
    Read(u8),
    /// Empties an entry.
    Clear(u8),
    /// Nothing that concerns the library: the handler of an event that masking upcalls does not hold off, as
    /// an NMI's. It comes within steps too, looks for the queue, and keeps away from it.
    NotHeldOff,
}

/// A guest's doings, and the bounds within which everything that can happen to them is looked at.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name, beginning with the number of what it is: `S17`, `B13a`, `R9`.
    pub name: &'static str,
    /// What it shows, in a sentence.
    pub about: &'static str,
    /// How regions nest.
    pub profile: Profile,
    /// vCPUs.
    pub vcpus: usize,
    /// What each task does.
    pub programs: Vec<Program>,
    /// What each event does.
    pub handlers: Vec<Handler>,
    /// Whether a switch loads the next task's base pointer and stack along with what is queued.
    pub switch_loads: bool,
    /// Whether locks sleep, as on RT.
    pub sleeping_locks: bool,
    /// How far to look.
    pub bounds: Bounds,
    /// Which rule the library breaks on purpose.
    #[cfg(feature = "planted")]
    pub planted: Option<pv_mmu::Fault>,
}

impl Scenario {
    /// A scenario of two vCPUs without events.
    #[must_use]
    pub fn new(name: &'static str, about: &'static str, profile: Profile, programs: Vec<Program>) -> Self {
        Self {
            name,
            about,
            profile,
            vcpus: 2,
            programs,
            handlers: Vec::new(),
            switch_loads: false,
            sleeping_locks: false,
            bounds: Bounds::default(),
            #[cfg(feature = "planted")]
            planted: None,
        }
    }

    /// How many programs its tasks can have together, where they choose them: all, and those that differ
    /// in more than the names of the entries they write.
    #[must_use]
    pub fn program_counts(&self) -> Option<(u64, u64)> {
        let all: u64 = self.programs.iter().map(Program::count).product();
        let alike: u64 = self.programs.iter().map(Program::count_without_entries).product();
        let is_chosen = self.programs.iter().any(|program| matches!(program, Program::Any { .. }));
        is_chosen.then_some((all, (all + alike) / 2))
    }

    /// The scenario in parts that are explored each for itself: every way through it is a way through exactly one of
    /// them, by what the programs of tasks that choose theirs begin with. One part where no task chooses.
    ///
    /// Schedules of a part are schedules of the whole. A state that several parts come to is looked at by each.
    #[must_use]
    pub fn parts(&self) -> Vec<Self> {
        let mut parts = vec![self.clone()];
        for task in 0..self.tasks() {
            let divide = |part: &Self| {
                let with = |program| {
                    let mut part = part.clone();
                    part.programs[task] = program;
                    part
                };
                part.programs[task].parts().into_iter().map(with).collect::<Vec<_>>()
            };
            parts = parts.iter().flat_map(divide).collect();
        }
        parts
    }

    /// What the programs of tasks that choose theirs begin with in this part, a task behind the other; `None` for what
    /// is no part.
    #[must_use]
    pub fn part(&self) -> Option<String> {
        let is_part = self.programs.iter().any(Program::is_part);
        is_part.then(|| self.programs.iter().map(Program::begins).collect::<Vec<_>>().join(" "))
    }

    /// How many tasks there are.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.programs.len()
    }
}
