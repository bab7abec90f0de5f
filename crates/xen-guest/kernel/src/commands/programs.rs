//! Programs of raw hypercalls and probes, run on the real Xen by the interpreter that the mock has too.
//!
//! They run on vCPU 0 with upcalls masked, so nothing comes between but what a program asks for, and
//! vCPU 1 is as the domain's builder left it. What they change is pages and tables of the pool; the
//! interpreter refuses what would change the kernel itself.

use fastrand::Rng;
use hypercall::{
    ENTRIES_PER_TABLE, Errno, Mfn, MmuUpdate, Operation, Pfn, PteSlot, RawCall, Subject, TaskContext, VirtAddr,
    issue_operation,
    xen::{self, Xen},
};
use spin::Mutex;
use xen_guest::interrupted::{Looks, interrupted};
use xen_guest::memory::{
    Fault, Page, p2m, probe,
    tables::{self, TableError},
    take_page,
};
use xen_guest::start_info;
use xen_program::arena::{self, ARGUMENT_PAGES, Entry, Target};
use xen_program::{Answer, Arm, Frame, Interruption, Machine, OBSERVED, PageFault, Scratch, Special, run_list};

use crate::{error::Error, reply::Reply};

/// Bytes of answers a list may have; programs behind are answered as not run.
const ANSWERS: usize = 4 << 20;
/// The root entry by which Xen maps its own code.
const XEN_ENTRY: usize = 261;

static STATE: Mutex<(Scratch, [u8; ANSWERS])> = Mutex::new((Scratch::new(), [0; ANSWERS]));

/// Runs the list of programs that the payload is, and answers as the interpreter does.
pub(crate) fn programs(_: &TaskContext, payload: &[u8], reply: &mut Reply) -> Result<(), Error> {
    let mut state = STATE.lock();
    let (scratch, answers) = &mut *state;
    let masked = xen_guest::mask();
    let used = run_list(payload, &mut Guest::set_up()?, scratch, answers)?;
    drop(masked);
    reply.bytes(&answers[..used]);
    Ok(())
}

/// The kernel as programs see it. All pages but those of the arguments are mapped read-only where the
/// kernel reads them, and writable in the arena alone.
struct Guest {
    /// The pages, then the tables of the arena up to the L3.
    own: [Page; OBSERVED - 1],
    arguments: [Page; ARGUMENT_PAGES],
    /// Where the root is mapped, and its frame.
    root: (VirtAddr, Mfn),
    specials: [Option<Mfn>; Special::ALL.len()],
}

impl Guest {
    /// Builds the arena and links it.
    fn set_up() -> Result<Self, Error> {
        let frame = tables::root();
        let root = (p2m::address_of(frame).ok_or(TableError::NotMapped(frame))?, frame);
        let mut guest = Self { own: pages()?, arguments: pages()?, root, specials: specials()? };
        arena::entries().try_for_each(|entry| guest.enter(&entry))?;
        Ok(guest)
    }

    /// Makes an entry of the arena. The last is the root's, which makes tables of the others.
    fn enter(&mut self, entry: &Entry) -> Result<(), Error> {
        let target = match entry.target {
            Target::Frame(frame) => self.mfn(frame),
            Target::Arguments(number) => self.arguments.get(number).map(Page::frame),
        };
        let pte = entry.pte(target.ok_or(Error::NoPage)?);
        let table = Frame::from(entry.table).observed().and_then(|place| self.own.get_mut(place));
        if let Some(table) = table {
            return Ok(table.write(entry.index, pte.bits())?);
        }
        self.own.iter_mut().try_for_each(Page::protect)?;
        Ok(link(MmuUpdate::new(PteSlot::of(self.root.1, entry.index), pte))?)
    }

    /// Where an observed frame is mapped, and which it is.
    fn place(&self, frame: Frame) -> Option<(VirtAddr, Mfn)> {
        let place = frame.observed()?;
        Some(self.own.get(place).map_or(self.root, |page| (page.address(), page.frame())))
    }

    /// Where word `index` of the arguments lies: mapped writable for the life of the kernel, and reached
    /// by pointers only.
    fn argument_word(&self, index: usize) -> *mut u64 {
        word(self.arguments[index / ENTRIES_PER_TABLE].address(), index % ENTRIES_PER_TABLE)
    }
}

fn pages<const N: usize>() -> Result<[Page; N], Error> {
    let pages = [(); N].map(|()| take_page());
    if pages.iter().any(Option::is_none) {
        return Err(Error::NoPage);
    }
    Ok(pages.map(|page| page.expect("none is missing")))
}

/// One frame of each kind that Xen treats in its own way.
fn specials() -> Result<[Option<Mfn>; Special::ALL.len()], Error> {
    let mut specials = Special::ALL.map(Special::fixed);
    specials[Special::SharedInfo as usize] = Some(start_info::shared_info().frame());
    specials[Special::MachineToPhysical as usize] = Some(p2m::table_start()?);
    let entry = tables::read(PteSlot::of(tables::root(), XEN_ENTRY))?;
    specials[Special::Hypervisor as usize] = Some(entry.frame());
    Ok(specials)
}

fn link(update: MmuUpdate) -> Result<(), Errno> {
    // SAFETY: 1. This is a kernel without a red zone. 2. The entry maps addresses that nothing of the kernel
    // lies at.
    let mut xen = unsafe { Xen::assume() };
    issue_operation(&mut xen, &Operation::Update { update, subject: Subject::SELF })
}

/// Word `index` of the page at `address`.
fn word(address: VirtAddr, index: usize) -> *mut u64 {
    core::ptr::with_exposed_provenance_mut(address.value() as usize + 8 * index)
}

/// An address that is not canonical gives a general protection fault, with code 0.
fn told(fault: Fault) -> PageFault {
    PageFault(fault.error.into())
}

impl Machine for Guest {
    fn mfn(&self, frame: Frame) -> Option<Mfn> {
        match frame {
            Frame::Special(special) => self.specials[special as usize],
            _ => self.place(frame).map(|(_, mfn)| mfn),
        }
    }

    fn next_change(&self, frame: Frame, known: &[u64; ENTRIES_PER_TABLE], from: usize) -> Option<(usize, u64)> {
        let (address, _) = self.place(frame)?;
        // SAFETY: the page is mapped here, read-only, for the life of the kernel: programs do not reach the
        // tables that do it. Others change it, which a volatile read without a reference allows.
        let read = |index| unsafe { word(address, index).read_volatile() };
        (from..ENTRIES_PER_TABLE).map(|index| (index, read(index))).find(|(index, now)| known[*index] != *now)
    }

    fn machine_to_physical(&self, frame: Frame) -> u64 {
        self.mfn(frame).and_then(p2m::recorded_pfn).map_or(u64::MAX, Pfn::number)
    }

    fn base(&self) -> Mfn {
        tables::base()
    }

    fn put_argument(&mut self, index: usize, word: u64) {
        // SAFETY: the word stays mapped writable.
        unsafe { self.argument_word(index).write_volatile(word) };
    }

    fn argument(&self, index: usize) -> u64 {
        // SAFETY: as in `put_argument`.
        unsafe { self.argument_word(index).read_volatile() }
    }

    fn hypercall(&mut self, call: RawCall, arm: Arm) -> Option<Answer> {
        let looks = match arm {
            Arm::Pending => Some(Looks::First),
            Arm::Step => Some(Looks::All),
            Arm::Random(number) if number % 4 != 0 => Some(Looks::Some(Rng::with_seed(number))),
            Arm::Off | Arm::Random(_) => None,
        };
        let Some(looks) = looks else {
            // SAFETY: this is a kernel without a red zone. The interpreter lets no call pass that changes what
            // the kernel stands on or makes Xen write to memory other than the arena's.
            let (value, args) = unsafe { xen::hypercall(call.number.into(), call.args) };
            return Some(Answer { value, args, interruptions: 0, first: None });
        };
        // SAFETY: as above.
        let ended = unsafe { interrupted(call, looks) };
        let first = ended.first.map(|first| Interruption { args: first.args, entry: first.entry });
        Some(Answer { value: ended.value, args: ended.args, interruptions: ended.count, first })
    }

    fn load(&mut self, address: u64) -> Result<u64, PageFault> {
        probe::load(VirtAddr::unchecked(address)).map_err(told)
    }

    fn store(&mut self, address: u64, word: u64) -> Result<(), PageFault> {
        // SAFETY: the interpreter lets accesses pass to pages and tables of the arena alone.
        unsafe { probe::store(VirtAddr::unchecked(address), word) }.map_err(told)
    }

    fn exchange(&mut self, address: u64, word: u64) -> Result<u64, PageFault> {
        // SAFETY: as in `store`.
        unsafe { probe::exchange(VirtAddr::unchecked(address), word) }.map_err(told)
    }
}
