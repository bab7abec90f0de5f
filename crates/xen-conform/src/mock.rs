//! The mock as a machine that programs run on.
//!
//! Its guest is laid out as the kernel on real Xen lays itself out: an L4 that the vCPU runs on, the
//! arena below one of its entries, and the direct map as the executor's own view, in which pages and
//! tables are read-only.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use hypercall::{ENTRIES_PER_TABLE, Level, Mfn, Pfn, PteSlot, RawCall, VcpuId, VirtAddr};
use mock_xen::{AccessError, GuestBuilder, Left, MockXen, Once, Seeded, Step, StoreError};
use xen_program::arena::{self, ARGUMENT_PAGES, Target};
use xen_program::{Answer, Arm, FRAMES, Frame, Interruption, Machine, PageFault, Report, Scratch, Special, Table};

use crate::executor::{ExecuteError, Executor};

/// The vCPU that runs programs.
const CPU: VcpuId = VcpuId::new(0);
/// The other vCPU, which is never brought up.
const OTHER: VcpuId = VcpuId::new(1);
/// vCPUs of the guest, as many as real Xen gives it.
const VCPUS: u32 = 2;
/// Where the executor has its own view, and so which root entry carries it: the one that carries the kernel
/// on real Xen. A copy of the root is refused as a table of another level because of that entry.
const OWN: VirtAddr = VirtAddr::unchecked(0);
/// The guest's own number of its first frame. Not one that programs write into the machine-to-physical table.
const FIRST_PFN: Pfn = Pfn::new(0x3a00);
/// Where the guest's memory starts. Not at a number that programs are likely to name.
const FIRST: Mfn = Mfn::new(0x7a00);

/// The mock with a guest that runs programs.
#[derive(Debug)]
pub struct MockMachine {
    xen: MockXen,
    frames: [Option<Mfn>; FRAMES],
    arguments: [Mfn; ARGUMENT_PAGES],
    /// Why the arguments could not be written any more, if that happened: with a rule wrong, a program may
    /// get the executor's own memory.
    lost: Option<StoreError>,
    /// Whether counts are audited whenever the mock is left.
    audited: bool,
}

impl MockMachine {
    fn on(mut builder: GuestBuilder) -> Self {
        builder.ram(FIRST_PFN, FIRST).direct_map_at(OWN).offline(OTHER);
        let mut frames = [None; FRAMES];
        for frame in Frame::all_observed() {
            let mfn = builder.new_frame();
            builder.table(mfn, level(frame));
            frames[usize::from(frame.code())] = Some(mfn);
        }
        let arguments = std::array::from_fn(|_| builder.new_frame());
        link(&mut builder, &frames, &arguments);
        let xen = builder.build().expect("the arena is a set of tables that Xen accepts");
        for special in Special::ALL {
            frames[usize::from(Frame::from(special).code())] = Some(special_frame(&xen, special));
        }
        Self { xen, frames, arguments, lost: None, audited: false }
    }

    /// The same, and every reference is counted anew whenever the mock is left: behind each hypercall,
    /// and wherever an event interrupts one.
    ///
    /// # Panics
    /// Not here: while programs run, if a count is wrong.
    #[must_use]
    pub fn audited(self) -> Self {
        Self { audited: true, ..self }
    }

    /// The mock.
    #[must_use]
    pub const fn xen(&self) -> &MockXen {
        &self.xen
    }

    fn frame(&self, frame: Frame) -> Mfn {
        self.frames[usize::from(frame.code())].expect("the mock has a frame of every kind")
    }

    /// Issues a call under the schedule that is set, and counts how often an event handler gets between.
    fn interrupted(&self, mut call: RawCall, arm: Arm) -> Answer {
        let (mut interruptions, mut first) = (0, None);
        loop {
            let left = self.xen.enter(CPU, &mut call);
            self.audit(&call);
            match left {
                Left::Answered(value) => return Answer { value, args: call.args, interruptions, first },
                // The one event is handled: where Xen continues the call for another reason, nobody sees it.
                Left::Interrupted if arm == Arm::Pending && interruptions > 0 => {}
                Left::Interrupted => {
                    interruptions += 1;
                    first.get_or_insert_with(|| self.found(&call));
                }
            }
        }
    }

    fn audit(&self, call: &RawCall) {
        if self.audited
            && let Err(failure) = self.xen.audit()
        {
            panic!("{failure}, after {call:x?}");
        }
    }

    /// What an event handler finds that interrupts `call`.
    fn found(&self, call: &RawCall) -> Interruption {
        let is_multicall = call.number == hypercall::abi::HYPERCALL_MULTICALL;
        let entry = if is_multicall { self.entry(call.args[0]) } else { None };
        Interruption { args: call.args, entry }
    }

    /// The entry of a multicall at an address; `None` where its memory ends.
    fn entry(&self, address: u64) -> Option<[u64; 8]> {
        let mut entry = [0; 8];
        for (word, offset) in entry.iter_mut().zip((0..).step_by(8)) {
            *word = self.peek(address + offset)?;
        }
        Some(entry)
    }

    /// The word at an address, without a trace in any entry.
    fn peek(&self, address: u64) -> Option<u64> {
        let slot = self.xen.slot_of(CPU, VirtAddr::unchecked(address), Level::L1)?;
        let entry = self.xen.read_entry(slot).filter(|entry| entry.is_present())?;
        let place = PteSlot::of(entry.frame(), (address % hypercall::PAGE_SIZE / 8) as usize);
        self.xen.read_entry(place).map(hypercall::Pte::bits)
    }

    /// The frame and the word in it that hold a word of the arguments.
    fn argument_place(&self, index: usize) -> (Mfn, usize) {
        (self.arguments[index / ENTRIES_PER_TABLE], index % ENTRIES_PER_TABLE)
    }
}

/// What a frame is declared as. Pages are declared as tables that nothing refers to, so that the
/// direct map has them read-only.
fn level(frame: Frame) -> Level {
    match frame {
        Frame::Table(Table::L2) => Level::L2,
        Frame::Table(Table::L3) => Level::L3,
        Frame::Table(Table::Root) => Level::L4,
        _ => Level::L1,
    }
}

fn link(builder: &mut GuestBuilder, frames: &[Option<Mfn>; FRAMES], arguments: &[Mfn; ARGUMENT_PAGES]) {
    let mfn = |frame: Frame| frames[usize::from(frame.code())].unwrap_or_default();
    for entry in arena::entries() {
        let target = match entry.target {
            Target::Frame(frame) => mfn(frame),
            Target::Arguments(number) => arguments[number],
        };
        builder.word(mfn(entry.table.into()), entry.index, entry.pte(target).bits());
    }
    let root = mfn(Table::Root.into());
    builder.pin(root).base_pointer(CPU, root);
}

fn special_frame(xen: &MockXen, special: Special) -> Mfn {
    let layout = xen.layout();
    match special {
        Special::SharedInfo => layout.shared_info(),
        Special::MachineToPhysical => layout.machine_to_physical(),
        _ => special.fixed().unwrap_or_else(|| layout.heap()),
    }
}

impl Machine for MockMachine {
    fn mfn(&self, frame: Frame) -> Option<Mfn> {
        self.frames[usize::from(frame.code())]
    }

    fn next_change(&self, frame: Frame, known: &[u64; ENTRIES_PER_TABLE], from: usize) -> Option<(usize, u64)> {
        let now = self.xen.table_entries(self.frame(frame)).expect("observed frames are the guest's memory");
        (from..ENTRIES_PER_TABLE).find(|index| now[*index] != known[*index]).map(|index| (index, now[index]))
    }

    fn machine_to_physical(&self, frame: Frame) -> u64 {
        self.xen.read_m2p(self.frame(frame)).expect("pages and video memory have a word")
    }

    fn base(&self) -> Mfn {
        self.xen.processor(CPU).base
    }

    fn put_argument(&mut self, index: usize, word: u64) {
        let (mfn, index) = self.argument_place(index);
        self.lost = self.lost.or(self.xen.write_plain(mfn, index, word).err());
    }

    fn argument(&self, index: usize) -> u64 {
        let (mfn, index) = self.argument_place(index);
        self.xen.read_entry(PteSlot::of(mfn, index)).expect("the arguments are the guest's memory").bits()
    }

    fn hypercall(&mut self, mut call: RawCall, arm: Arm) -> Option<Answer> {
        match arm {
            Arm::Off => {
                let value = self.xen.hypercall(CPU, &mut call);
                self.audit(&call);
                return Some(Answer { value, args: call.args, interruptions: 0, first: None });
            }
            Arm::Pending => self.xen.set_schedule(CPU, Once::default()),
            Arm::Step => self.xen.set_schedule(CPU, Step),
            Arm::Random(seed) => self.xen.set_schedule(CPU, Seeded::new(seed, RATE)),
        }
        let answer = self.interrupted(call, arm);
        self.xen.clear_schedule(CPU);
        Some(answer)
    }

    fn load(&mut self, address: u64) -> Result<u64, PageFault> {
        self.xen.load(CPU, VirtAddr::unchecked(address)).map_err(page_fault)
    }

    fn store(&mut self, address: u64, word: u64) -> Result<(), PageFault> {
        self.xen.store(CPU, VirtAddr::unchecked(address), word).map_err(page_fault)
    }

    /// The emulated processor that real Xen runs on makes an exchange of a load and a store, which shows in
    /// the accessed flag of an entry that forbids the store.
    fn exchange(&mut self, address: u64, word: u64) -> Result<u64, PageFault> {
        self.load(address)?;
        self.xen.exchange(CPU, VirtAddr::unchecked(address), word).map_err(page_fault)
    }
}

/// An exception without a page fault's error code counts as one with 0, as the kernel on real Xen tells it.
fn page_fault(error: AccessError) -> PageFault {
    match error {
        AccessError::PageFault { code, .. } => PageFault(code),
        _ => PageFault(0),
    }
}

/// Programs for which answers are kept at once.
const PROGRAMS: usize = 64;
/// Room for what is told of a program in full.
const RECORD: usize = 64 << 10;
/// One look in so many finds an event, where calls are interrupted at random.
const RATE: u64 = 3;
/// Room for a digest, or for where a program is damaged.
const DIGEST: usize = 16;

/// The mock: each list runs on a fresh guest.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Mock {
    #[cfg(feature = "planted")]
    fault: Option<mock_xen::Fault>,
}

impl Mock {
    /// As Xen is.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one rule wrong.
    #[cfg(feature = "planted")]
    #[must_use]
    pub const fn planted(fault: mock_xen::Fault) -> Self {
        Self { fault: Some(fault) }
    }

    /// A guest of it that has run nothing yet.
    ///
    /// # Panics
    /// If it refuses the arena, which Xen accepts.
    #[must_use]
    pub fn machine(self) -> MockMachine {
        #[allow(unused_mut, reason = "changed only where faults can be planted")]
        let mut builder = GuestBuilder::new(VCPUS);
        #[cfg(feature = "planted")]
        self.fault.into_iter().for_each(|fault| {
            builder.plant(fault);
        });
        MockMachine::on(builder)
    }
}

/// What a panic says.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
    format!("the mock panics: {}", text.unwrap_or("without a word"))
}

impl Executor for Mock {
    fn run(&self, list: &[u8]) -> Result<Vec<u8>, ExecuteError> {
        let count = list.get(8..12).map_or(0, |count| u32::from_le_bytes([count[0], count[1], count[2], count[3]]));
        let per_program = if list.get(5) == Some(&(Report::Digest as u8)) { DIGEST } else { RECORD };
        // A program takes at least its length and its count of steps: more are no list.
        let count = (count as usize).min(list.len() / 5 + 1);
        let mut answers = vec![0; DIGEST + count * per_program];
        let mut machine = self.machine();
        // Where a rule is wrong, counts may come to be with which Xen would crash: the mock panics then.
        let run = || xen_program::run_list(list, &mut machine, &mut Box::new(Scratch::new()), &mut answers);
        let length = catch_unwind(AssertUnwindSafe(run)).map_err(|panic| ExecuteError::Ended(message(&*panic)))??;
        if let Some(error) = machine.lost {
            return Err(ExecuteError::Ended(format!("the memory for arguments is gone: {error}")));
        }
        answers.truncate(length);
        Ok(answers)
    }

    fn most(&self) -> usize {
        PROGRAMS
    }
}
