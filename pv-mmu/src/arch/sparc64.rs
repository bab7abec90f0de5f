//! sparc64 on a sun4v hypervisor: entries of the translation storage buffer (TSB) and of TLBs are invalidated late.
//!
//! A TLB refills from the TSB, in hardware where the processor can: an invalidation goes to the TSB first and then to
//! every vCPU's TLB, never the other way round. A batch is of one address space and one page size; the region keeps
//! preemption off, so it is the vCPU's.

use hypercall::VirtAddr;

use super::{Deferral, Preemption};

/// Invalidations a batch holds (Linux's `TLB_BATCH_NR`).
pub const CAPACITY: usize = 192;

/// The context number of an address space: 13 bits (sun4v API, `mmu_demap_page`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContextNumber(pub u16);

/// The size of a page, as the number of address bits within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageShift(pub u8);

impl PageShift {
    /// The base page, 8 KiB.
    pub const BASE: Self = Self(13);
}

/// What has to follow a write of an entry that was valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invalidation {
    /// One page.
    Page {
        /// Whose.
        context: ContextNumber,
        /// Where it is mapped.
        address: VirtAddr,
        /// How large it is.
        shift: PageShift,
    },
    /// A whole address space. Pages of it that wait, or are asked for until it is carried out, need nothing of
    /// their own.
    Space(ContextNumber),
}

/// Why an invalidation was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// Which.
    pub invalidation: Invalidation,
    /// What the hypervisor answered: a status of the sun4v API.
    pub status: u64,
}

/// The calls of the sun4v API that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// `mmu_unmap_addr`: the fast trap 0x84 with address, context and flags.
    UnmapAddress,
    /// `mmu_demap_ctx`: the trap 0x80, function 0x23, with 0, 0, context and flags.
    DemapContext,
}

/// A sun4v machine under the kernel.
pub trait Sun4v {
    /// One hypercall on the present vCPU; answers with its status, 0 for success.
    fn call(&self, call: Call, arguments: [u64; 4]) -> u64;

    /// Runs `work` on every vCPU that may hold translations of `context`, this one included, with one cross call.
    /// Answers when all have done, with one of their statuses that is not 0, if there is one.
    fn on_every_vcpu(&self, context: ContextNumber, work: &dyn Fn(&Self) -> u64) -> u64;

    /// Invalidates the TSB entry of a page, whatever it holds meanwhile of another.
    fn invalidate_tsb(&self, context: ContextNumber, address: VirtAddr, shift: PageShift);

    /// Invalidates all TSB entries of an address space.
    fn invalidate_tsb_of(&self, context: ContextNumber);
}

/// `flags` of the calls: both the data and the instruction TLB.
const BOTH_TLBS: u64 = 3;

/// What waits on a vCPU.
#[derive(Clone, Debug, Hash)]
pub struct Batch<const ROOM: usize = CAPACITY> {
    group: Option<(ContextNumber, PageShift)>,
    pages: [VirtAddr; ROOM],
    count: usize,
    /// The whole address space is to go; the pages do not matter then.
    whole: bool,
}

impl<const ROOM: usize> Default for Batch<ROOM> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const ROOM: usize> Batch<ROOM> {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { group: None, pages: [VirtAddr::unchecked(0); ROOM], count: 0, whole: false }
    }

    /// Whether the next one has the others carried out first.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.count == ROOM
    }

    fn covers(&self, context: ContextNumber) -> bool {
        self.whole && self.group.is_some_and(|(waiting, _)| waiting == context)
    }

    fn pages(&self) -> &[VirtAddr] {
        self.pages.get(..self.count).unwrap_or(&[])
    }
}

impl<H: Sun4v, const ROOM: usize> Deferral<H> for Batch<ROOM> {
    type Work = Invalidation;
    type Refusal = Refusal;
    const PREEMPTION: Preemption = Preemption::Disabled;

    fn defer(&mut self, work: Invalidation, hardware: &H, refused: &mut dyn FnMut(Refusal)) {
        let (group, page) = match work {
            Invalidation::Page { context, .. } if self.covers(context) => return,
            Invalidation::Page { context, address, shift } => ((context, shift), Some(address)),
            Invalidation::Space(context) => ((context, PageShift::BASE), None),
        };
        let fits = match (page, self.group) {
            (_, None) => true,
            (Some(_), Some(waiting)) => waiting == group && self.count < ROOM,
            (None, Some((context, _))) => context == group.0,
        };
        if !fits {
            self.flush(hardware, refused);
        }
        self.group = Some(group);
        match page.zip(self.pages.get_mut(self.count)) {
            Some((address, room)) => (*room, self.count) = (address, self.count + 1),
            None => self.whole = true,
        }
    }

    fn flush(&mut self, hardware: &H, refused: &mut dyn FnMut(Refusal)) {
        let Some((context, shift)) = self.group.take() else { return };
        if self.whole {
            invalidate_space(hardware, context, refused);
        } else {
            invalidate_pages(hardware, context, shift, self.pages(), refused);
        }
        (self.count, self.whole) = (0, false);
    }

    fn at_once(work: Invalidation, hardware: &H, refused: &mut dyn FnMut(Refusal)) {
        match work {
            Invalidation::Page { context, address, shift } => {
                invalidate_pages(hardware, context, shift, &[address], refused);
            }
            Invalidation::Space(context) => invalidate_space(hardware, context, refused),
        }
    }

    fn is_empty(&self) -> bool {
        self.group.is_none()
    }
}

/// The TSB for all of them, then every TLB by one cross call. Where something is refused, each is asked for alone.
fn invalidate_pages<H: Sun4v>(
    hardware: &H,
    context: ContextNumber,
    shift: PageShift,
    pages: &[VirtAddr],
    refused: &mut dyn FnMut(Refusal),
) {
    pages.iter().for_each(|page| hardware.invalidate_tsb(context, *page, shift));
    let status = unmap_everywhere(hardware, context, pages);
    if status == 0 {
        return;
    }
    for (page, address) in pages.chunks(1).zip(pages) {
        let status = if pages.len() == 1 { status } else { unmap_everywhere(hardware, context, page) };
        if status != 0 {
            refused(Refusal { invalidation: Invalidation::Page { context, address: *address, shift }, status });
        }
    }
}

fn unmap_everywhere<H: Sun4v>(hardware: &H, context: ContextNumber, pages: &[VirtAddr]) -> u64 {
    hardware.on_every_vcpu(context, &|vcpu| {
        let unmap = |page: &VirtAddr| vcpu.call(Call::UnmapAddress, [page.value(), context.0.into(), BOTH_TLBS, 0]);
        pages.iter().map(unmap).fold(0, |first, status| if first == 0 { status } else { first })
    })
}

fn invalidate_space<H: Sun4v>(hardware: &H, context: ContextNumber, refused: &mut dyn FnMut(Refusal)) {
    hardware.invalidate_tsb_of(context);
    let status =
        hardware.on_every_vcpu(context, &|vcpu| vcpu.call(Call::DemapContext, [0, 0, context.0.into(), BOTH_TLBS]));
    if status != 0 {
        refused(Refusal { invalidation: Invalidation::Space(context), status });
    }
}
