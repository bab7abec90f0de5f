//! What a region hands over on these architectures, beside Linux's algorithm: calls of the hypervisor, cross calls, barriers.
//!
//! The hardware here accepts everything and counts.

use std::cell::Cell;

use hypercall::VirtAddr;
use pv_mmu::arch::powerpc64::{self, BLOCK, Group, Pseries, Ptex, Removal, Space, Way};
use pv_mmu::arch::sparc64::{self, ContextNumber, Invalidation, PageShift, Sun4v};
use pv_mmu::arch::{Deferral, arm64};

/// Work of a kernel: the pages whose entries change in one region, in this order.
#[derive(Clone, Debug)]
pub struct Load {
    /// What it is called.
    pub name: &'static str,
    pages: Vec<u64>,
    spaces: u32,
}

/// What it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// On what.
    pub arch: &'static str,
    /// What.
    pub load: &'static str,
    /// What is counted.
    pub unit: &'static str,
    /// Pages.
    pub pages: u64,
    /// By this library.
    pub ours: u64,
    /// By Linux's algorithm: the same batch of 192, handed over in the order it was filled.
    pub linux: u64,
    /// Without regions.
    pub single: u64,
}

/// The loads: a range, every eighth page, a range in no order, and two address spaces in turns.
#[must_use]
pub fn loads() -> Vec<Load> {
    // Multiplied by an odd number, all of them come once.
    let scattered = (0..512).map(|n| (n * 181) % 512).collect();
    vec![
        Load { name: "range-512", pages: (0..512).collect(), spaces: 1 },
        Load { name: "sparse-64", pages: (0..64).map(|n| 8 * n).collect(), spaces: 1 },
        Load { name: "scattered-512", pages: scattered, spaces: 1 },
        Load { name: "two-spaces-64", pages: (0..64).collect(), spaces: 2 },
        Load { name: "one-page", pages: vec![0], spaces: 1 },
    ]
}

/// Everything, by architecture.
#[must_use]
pub fn figures() -> Vec<Row> {
    loads()
        .iter()
        .flat_map(|load| [papr(load, Way::Bulk), papr(load, Way::Block), sun4v(load), barriers(load)])
        .collect()
}

/// How full blocks are: pages for each block removal of a batch that is sorted, and of the same batch in its own order.
#[must_use]
pub fn fill_rates() -> Vec<(&'static str, f64, f64)> {
    let blocks = |pages: &[u64]| pages.chunk_by(in_one_block).map(|run| run.len().div_ceil(BLOCK)).sum::<usize>();
    let rate = |load: &Load| {
        let (mut sorted, mut unsorted) = (0, 0);
        for batch in load.pages.chunks(powerpc64::CAPACITY) {
            let mut ordered = batch.to_vec();
            ordered.sort_unstable();
            (sorted, unsorted) = (sorted + blocks(&ordered), unsorted + blocks(batch));
        }
        let pages = load.pages.len() as f64;
        (load.name, pages / sorted as f64, pages / unsorted as f64)
    };
    loads().iter().map(rate).collect()
}

const fn in_one_block(one: &u64, next: &u64) -> bool {
    *one / BLOCK as u64 == *next / BLOCK as u64
}

struct Counting {
    way: Way,
    calls: Cell<u64>,
}

impl Counting {
    const fn new(way: Way) -> Self {
        Self { way, calls: Cell::new(0) }
    }

    fn count(&self) {
        self.calls.set(self.calls.get() + 1);
    }
}

/// Response "removed" of one of several.
const DONE: u64 = 0x80 << 56;

impl Pseries for Counting {
    fn call(&self, number: u64, registers: &mut [u64; 9]) -> i64 {
        self.count();
        // A block removal's responses stand one register before its requests.
        let step = if number == 0x328 { 1 } else { 2 };
        registers.iter_mut().step_by(step).for_each(|word| *word = DONE);
        0
    }

    fn way(&self, _: Group) -> Way {
        self.way
    }
}

impl Sun4v for Counting {
    fn call(&self, _: sparc64::Call, _: [u64; 4]) -> u64 {
        0
    }

    fn on_every_vcpu(&self, _: ContextNumber, work: &dyn Fn(&Self) -> u64) -> u64 {
        self.count();
        work(self)
    }

    fn invalidate_tsb(&self, _: ContextNumber, _: VirtAddr, _: PageShift) {}

    fn invalidate_tsb_of(&self, _: ContextNumber) {}
}

impl arm64::Barriers for Counting {
    fn dsb_ishst(&self) {
        self.count();
    }

    fn isb(&self) {
        self.count();
    }
}

fn space(load: &Load, number: usize) -> u32 {
    number as u32 % load.spaces
}

fn papr(load: &Load, way: Way) -> Row {
    let hardware = Counting::new(way);
    let mut batch: powerpc64::Batch = powerpc64::Batch::new();
    for (number, page) in load.pages.iter().enumerate() {
        let group = Group { space: Space(space(load, number)), page_shift: 12, segment_shift: 28 };
        batch.defer(Removal { group, page: *page, place: Ptex(*page), tag: 0x80 }, &hardware, &mut |_| ());
    }
    batch.flush(&hardware, &mut |_| ());
    let blocks = |pages: &[u64]| pages.chunk_by(in_one_block).map(|run| run.len().div_ceil(BLOCK) as u64).sum::<u64>();
    let linux = |pages: &[u64]| match way {
        // One page is removed by itself.
        _ if pages.len() == 1 => 1,
        Way::Block => blocks(pages),
        _ => pages.len().div_ceil(4) as u64,
    };
    let pages = load.pages.len() as u64;
    let arch = if way == Way::Block { "powerpc64-block" } else { "powerpc64-bulk" };
    Row {
        arch,
        load: load.name,
        unit: "hypercalls",
        pages,
        ours: hardware.calls.get(),
        linux: batches(load, powerpc64::CAPACITY, linux),
        single: pages,
    }
}

/// What each batch of Linux's takes: full, or ended by another address space.
fn batches(load: &Load, room: usize, takes: impl Fn(&[u64]) -> u64) -> u64 {
    if load.spaces > 1 {
        return load.pages.iter().map(|page| takes(&[*page])).sum();
    }
    load.pages.chunks(room).map(takes).sum()
}

fn sun4v(load: &Load) -> Row {
    let hardware = Counting::new(Way::Single);
    let mut batch: sparc64::Batch = sparc64::Batch::new();
    for (number, page) in load.pages.iter().enumerate() {
        let (context, address) = (ContextNumber(space(load, number) as u16), VirtAddr::unchecked(page << 13));
        batch.defer(Invalidation::Page { context, address, shift: PageShift::BASE }, &hardware, &mut |_| ());
    }
    batch.flush(&hardware, &mut |_| ());
    let pages = load.pages.len() as u64;
    Row {
        arch: "sparc64",
        load: load.name,
        unit: "cross calls",
        pages,
        ours: hardware.calls.get(),
        linux: batches(load, sparc64::CAPACITY, |_| 1),
        single: pages,
    }
}

fn barriers(load: &Load) -> Row {
    let hardware = Counting::new(Way::Single);
    let mut pending = arm64::Pending::new();
    load.pages.iter().for_each(|_| pending.defer((), &hardware, &mut |_| ()));
    pending.flush(&hardware, &mut |_| ());
    let pages = load.pages.len() as u64;
    Row {
        arch: "arm64",
        load: load.name,
        unit: "barriers",
        pages,
        ours: hardware.calls.get(),
        linux: 2,
        single: 2 * pages,
    }
}
