//! What the interpreter asks of the machine it runs on.
//!
//! Two implement it: a kernel on real Xen, and a test's mock of Xen. All of it is about the one
//! vCPU that runs the interpreter, in kernel mode, with the arena set up (see [`crate::arena`]).

use hypercall::{ENTRIES_PER_TABLE, Mfn, RawCall};

use crate::frame::Frame;

/// When an event interrupts a hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arm {
    /// Never: upcalls are masked, and nothing is pending.
    Off,
    /// Once, as soon as Xen looks: an event becomes pending and upcalls unmasked right before the
    /// call.
    Pending,
    /// Whenever Xen looks: as `Pending`, again for every time the call is continued.
    Step,
    /// At some moment that follows from the number, or not at all.
    Random(u64),
}

/// The interruptions that a single step of a program can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interrupt {
    /// [`Arm::Pending`].
    Pending,
    /// [`Arm::Step`].
    Step,
}

impl From<Interrupt> for Arm {
    fn from(interrupt: Interrupt) -> Self {
        match interrupt {
            Interrupt::Pending => Self::Pending,
            Interrupt::Step => Self::Step,
        }
    }
}

/// What an event handler found the first time it interrupted a hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interruption {
    /// The argument registers.
    pub args: [u64; 5],
    /// For a multicall: the eight words of the entry at which it is to be continued.
    pub entry: Option<[u64; 8]>,
}

/// What a hypercall came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What Xen returned (`rax`).
    pub value: i64,
    /// The argument registers as the call left them.
    pub args: [u64; 5],
    /// How often an event handler found the call stopped at its own instruction, to be continued.
    pub interruptions: u64,
    /// The first of these.
    pub first: Option<Interruption>,
}

/// A page fault the guest was told of: its error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFault(pub u64);

impl PageFault {
    /// The bit that tells that the page was present.
    pub const PRESENT: u64 = 1;
    /// The bit that tells of a write.
    pub const WRITE: u64 = 2;
}

/// A machine with Xen, as a guest's kernel has it.
pub trait Machine {
    /// The number of a frame; `None` where this machine has none of the kind.
    fn mfn(&self, frame: Frame) -> Option<Mfn>;

    /// The first word of an observed frame ([`Frame::observed`]), from index `from` on, that is not as
    /// in `known`: its index and what it holds. The machine looks by a way that no program can change
    /// and that sets no flag in any entry a program can see. It is asked often and most of the time finds
    /// nothing, so it should be fast.
    fn next_change(&self, frame: Frame, known: &[u64; ENTRIES_PER_TABLE], from: usize) -> Option<(usize, u64)>;

    /// The word that the machine-to-physical table has for a frame; only for observed frames and video
    /// memory.
    fn machine_to_physical(&self, frame: Frame) -> u64;

    /// The frame of the kernel base pointer.
    fn base(&self) -> Mfn;

    /// Stores word `index` (below [`ARGUMENT_WORDS`](crate::arena::ARGUMENT_WORDS)) of the
    /// arguments.
    fn put_argument(&mut self, index: usize, word: u64);

    /// Word `index` of the arguments.
    fn argument(&self, index: usize) -> u64;

    /// Issues a hypercall. `None`, and nothing is issued, where the machine cannot interrupt it as
    /// asked.
    fn hypercall(&mut self, call: RawCall, arm: Arm) -> Option<Answer>;

    /// A load of the guest from a virtual address, a multiple of 8. The interpreter has flushed the
    /// TLB.
    ///
    /// # Errors
    /// The fault, where nothing is mapped.
    fn load(&mut self, address: u64) -> Result<u64, PageFault>;

    /// A store of the guest.
    ///
    /// # Errors
    /// The fault, where nothing is mapped or Xen refuses a write to a read-only page.
    fn store(&mut self, address: u64, word: u64) -> Result<(), PageFault>;

    /// An atomic exchange of the guest; answers with what the word held.
    ///
    /// # Errors
    /// As [`Machine::store`].
    fn exchange(&mut self, address: u64, word: u64) -> Result<u64, PageFault>;
}
