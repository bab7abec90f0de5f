//! What either face stands on: the mock, by the words of its hypercalls, and what has been heard.
//!
//! Protocol. One thread plays two vCPUs. [`Ground::mask`] and [`Ground::unmask`] stand around each step; a hypercall arrives
//! within one. Addresses differ from run to run, so they are noted by the order in which a hypercall led to them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use hypercall::{Pte, PteSlot, RawCall, VcpuId, VcpuMask};
use mock_xen::HostMemory;
use mock_xen::testing::{Answer, Failed, TestGuest};

use super::words::{Answered, Told};
use crate::Finding;

/// A word of a hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Is(u64),
    /// An address, the `n`th that the hypercall led to, and what stands in its lowest bits.
    At(usize, u64),
    /// An address that the hypercall had no need to follow.
    Somewhere(u64),
}

/// Something that a kernel hears or asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// A hypercall: number and arguments, and each word read (by its address) and written.
    Hypercall {
        vcpu: usize,
        words: Vec<Word>,
        answer: i64,
    },
    Told {
        vcpu: usize,
        told: Told,
    },
    OthersFlushed {
        vcpu: usize,
        table: u64,
    },
    Answered(Answered),
}

/// Two vCPUs of a guest, and what was heard there.
pub(super) struct Ground<'g> {
    pub(super) guest: &'g TestGuest,
    pub(super) vcpu: Cell<usize>,
    pub(super) is_handler: Cell<bool>,
    depth: Cell<u64>,
    heard: RefCell<Vec<Moment>>,
    /// What the referee has not been told.
    reports: RefCell<Vec<Told>>,
    /// Failures that somebody was told.
    pub(super) told: Cell<u64>,
    leaked: Cell<bool>,
    strayed: RefCell<Option<String>>,
}

impl<'g> Ground<'g> {
    pub(super) const fn new(guest: &'g TestGuest) -> Self {
        Self {
            guest,
            vcpu: Cell::new(0),
            is_handler: Cell::new(false),
            depth: Cell::new(0),
            heard: RefCell::new(Vec::new()),
            reports: RefCell::new(Vec::new()),
            told: Cell::new(0),
            leaked: Cell::new(false),
            strayed: RefCell::new(None),
        }
    }

    pub(super) fn id(&self) -> VcpuId {
        VcpuId::new(self.vcpu.get() as u32)
    }

    pub(super) const fn online(&self) -> VcpuMask {
        VcpuMask::from_words([0b11, 0])
    }

    /// Upcalls are masked, once more; answers with how often they are.
    pub(super) fn mask(&self) -> u64 {
        if self.depth.get() == 0 {
            self.guest.referee().masked(self.id());
        }
        self.depth.set(self.depth.get() + 1);
        self.depth.get()
    }

    pub(super) fn unmask(&self) {
        let Some(depth) = self.depth.get().checked_sub(1) else { return self.stray("a vCPU is released twice") };
        self.depth.set(depth);
        if depth == 0 {
            self.guest.referee().unmasked(self.id());
        }
    }

    pub(super) const fn depth(&self) -> u64 {
        self.depth.get()
    }

    pub(super) const fn is_masked(&self) -> bool {
        self.depth.get() > 0
    }

    pub(super) fn load(&self, slot: PteSlot) -> Pte {
        self.guest.xen().read_entry(slot).expect("the slot is in the guest's memory")
    }

    /// A hypercall, by its words.
    pub(super) fn hypercall(&self, number: u64, args: [u64; 5]) -> i64 {
        let mut call = RawCall { number: number.try_into().unwrap_or(u32::MAX), args };
        let mut memory = Noted::default();
        let answer = self.guest.xen().hypercall_from(self.id(), &mut call, &mut memory);
        let words = memory.words(number, &args);
        self.hear(Moment::Hypercall { vcpu: self.vcpu.get(), words, answer });
        answer
    }

    pub(super) fn hear(&self, moment: Moment) {
        self.heard.borrow_mut().push(moment);
    }

    pub(super) fn report(&self, told: Told) {
        self.hear(Moment::Told { vcpu: self.vcpu.get(), told });
        self.reports.borrow_mut().push(told);
    }

    /// The other vCPU is interrupted; its handler does this.
    pub(super) fn flush_others(&self, table: u64, handler: impl FnOnce()) {
        self.hear(Moment::OthersFlushed { vcpu: self.vcpu.get(), table });
        let was_handler = self.is_handler.replace(true);
        self.vcpu.set(1 - self.vcpu.get());
        handler();
        self.vcpu.set(1 - self.vcpu.get());
        self.is_handler.set(was_handler);
    }

    /// Something that must not happen has; the first of it is kept.
    pub(super) fn stray(&self, what: impl Into<String>) {
        self.strayed.borrow_mut().get_or_insert(what.into());
    }

    /// What has been heard, unless something strayed.
    pub(super) fn story(&self) -> Result<Vec<Moment>, Finding> {
        if self.is_masked() {
            self.stray("a vCPU is kept");
        }
        match self.strayed.take() {
            Some(what) => Err(Finding::new(what)),
            None => Ok(self.heard.take()),
        }
    }

    /// Tells the referee what the platform has been told. A leak is told by who knows the task.
    pub(super) fn pass_reports(&self) {
        for told in self.reports.take() {
            match told {
                Told::Failed(failed) => self.pass_failure(&failed),
                Told::Refused(errno) => self.pass_refused(errno),
                Told::Leaked(_) => self.leaked.set(true),
                Told::Unbalanced(_) | Told::Other => {}
            }
        }
    }

    /// Whether a leak has been reported since this was asked.
    pub(super) fn take_leaked(&self) -> bool {
        self.leaked.take()
    }

    fn pass_failure(&self, Failed { operation, errno }: &Failed) {
        self.told.set(self.told.get() + 1);
        match errno {
            Some(errno) => self.guest.referee().failed(self.id(), operation, *errno),
            None => self.guest.referee().not_attempted(self.id(), operation),
        }
    }

    fn pass_refused(&self, errno: u32) {
        match errno.try_into().ok().and_then(hypercall::Errno::new) {
            Some(errno) => self.guest.referee().hypercall_refused(self.id(), errno),
            None => self.stray(format!("errno {errno}")),
        }
    }

    /// An answer as the referee takes it.
    pub(super) fn answer(&self, answered: &Answered) -> Answer {
        self.told.set(self.told.get() + answered.failures.len() as u64);
        Answer { accepted: answered.is_done(), failures: answered.failures.clone() }
    }
}

/// Where a program's memory is.
const PROGRAM: std::ops::Range<u64> = 0x5000_0000_0000..0x8000_0000_0000;

/// The program's own memory, and what a hypercall did there.
#[derive(Default)]
struct Noted(RefCell<Vec<(u64, u64)>>);

impl Noted {
    fn note(&self, address: u64, word: u64) -> u64 {
        self.0.borrow_mut().push((address, word));
        word
    }

    fn words(&self, number: u64, args: &[u64; 5]) -> Vec<Word> {
        let noted = self.0.borrow();
        let mut order = HashMap::new();
        for (address, _) in noted.iter() {
            let next = order.len();
            order.entry(*address & !7).or_insert(next);
        }
        let word = |word: u64| match order.get(&(word & !7)) {
            Some(at) => Word::At(*at, word & 7),
            None if PROGRAM.contains(&word) => Word::Somewhere(word & 7),
            None => Word::Is(word),
        };
        let read = noted.iter().flat_map(|(address, value)| [word(*address), word(*value)]);
        std::iter::once(Word::Is(number)).chain(args.iter().map(|arg| word(*arg))).chain(read).collect()
    }
}

// Each access below is of an address that the library, or the face, has given as an argument of a hypercall: it leads to
// arguments that live until the hypercall returns, or something is found.
impl HostMemory for Noted {
    fn load(&self, address: u64) -> Option<u64> {
        let at = std::ptr::with_exposed_provenance::<u64>(address as usize);
        // SAFETY: 1. see above; 2. a multiple of 8, as the mock has seen to.
        Some(self.note(address, unsafe { at.read_volatile() }))
    }

    fn store(&mut self, address: u64, word: u64) -> Option<()> {
        let at = std::ptr::with_exposed_provenance_mut::<u64>(address as usize);
        // SAFETY: 1. see above; 2. a multiple of 8, as the mock has seen to.
        unsafe { at.write_volatile(self.note(address, word)) };
        Some(())
    }

    fn load_count(&self, address: u64) -> Option<u32> {
        let at = std::ptr::with_exposed_provenance::<u32>(address as usize);
        // SAFETY: 1. see above; 2. a multiple of 4, as the mock has seen to.
        Some(self.note(address, unsafe { at.read_volatile() }.into()) as u32)
    }

    fn store_count(&mut self, address: u64, count: u32) -> Option<()> {
        let at = std::ptr::with_exposed_provenance_mut::<u32>(address as usize);
        self.note(address, count.into());
        // SAFETY: 1. see above; 2. a multiple of 4, as the mock has seen to.
        unsafe { at.write_volatile(count) };
        Some(())
    }
}
