//! Page-table work, as the state of tables before and after.

use hypercall::{ENTRIES_PER_TABLE, Mfn, Pte, PteFlags};

use crate::{Error, Ground, ground::At};

/// What a caller wants done with the entries of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Entries of live tables are set in one region, one at a time: `apply_to_page_range`, `vmap`.
    Fill,
    /// The same by one call that is given the range.
    FillRange,
    /// Entries are set outside any region, by one call that is given the range where there is one: a page fault, and
    /// one that maps what lies around.
    Outside,
    /// A region in which nothing is done.
    Nothing,
    /// Entries are set in a region, and the task is switched away from in it.
    Switch,
    /// Writable entries of a live table are emptied, and what they held is told: munmap.
    Zap,
    /// The same, and what TLBs hold of it goes: munmap before the pages are given away.
    ZapFlush,
    /// The right to store is taken from the entries of a live table: fork's parent.
    WriteProtect,
    /// The same as a change of protection, one table after the other, and the TLBs are flushed: mprotect.
    Protect,
    /// The entries of one table are taken away and set in another, and the TLBs are flushed: mremap.
    Move,
    /// An entry is emptied, its page flushed, and it maps another page: copy on write.
    Cow,
    /// The entries of the first table are write-protected, and a page that maps the same becomes the second: fork.
    Fork,
    /// A page becomes a live table that maps: fork's child, exec, a large mmap.
    Build,
    /// Empty pages become live tables: an address space is pinned.
    Pin,
    /// A live table becomes a page again, and what its entries held is told: exit, munmap of a table.
    Retire,
    /// The entries of a live table map other frames: migration, a remapped range.
    Rewrite,
}

/// A wish by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// What it is called.
    pub name: &'static str,
    /// What is wanted.
    pub wish: Wish,
    /// How many tables take part.
    pub tables: usize,
    /// How many entries of each.
    pub entries: usize,
    /// How many entries lie from one to the next.
    pub stride: usize,
}

const fn of(name: &'static str, wish: Wish, tables: usize, entries: usize) -> Workload {
    Workload { name, wish, tables, entries, stride: 1 }
}

const fn whole_table(name: &'static str, wish: Wish) -> Workload {
    of(name, wish, 1, ENTRIES_PER_TABLE)
}

impl Workload {
    /// Tables of a workload, at most.
    pub const TABLES: usize = 200;

    /// Those that are measured unless one is asked for.
    pub const ALL: [Self; 24] = [
        whole_table("fill-512", Wish::Fill),
        of("fill-64", Wish::Fill, 1, 64),
        of("fill-8", Wish::Fill, 1, 8),
        of("fill-1", Wish::Fill, 1, 1),
        whole_table("fill-range-512", Wish::FillRange),
        of("fill-range-64", Wish::FillRange, 1, 64),
        of("fill-range-8", Wish::FillRange, 1, 8),
        Self { stride: 8, ..of("sparse", Wish::Fill, 1, 64) },
        of("mprotect-2x512", Wish::Protect, 2, ENTRIES_PER_TABLE),
        of("fork-2x512", Wish::Fork, 2, ENTRIES_PER_TABLE),
        whole_table("munmap-tlb", Wish::ZapFlush),
        of("mremap", Wish::Move, 2, ENTRIES_PER_TABLE),
        of("vmap-10000", Wish::Fill, 20, 500),
        of("pin-64", Wish::Pin, 64, 0),
        of("switch", Wish::Switch, 1, 8),
        of("empty", Wish::Nothing, 0, 0),
        of("outside", Wish::Outside, 1, 1),
        of("fault-around-16", Wish::Outside, 1, 16),
        of("cow", Wish::Cow, 1, 1),
        whole_table("zap-512", Wish::Zap),
        whole_table("wrprotect-512", Wish::WriteProtect),
        whole_table("build-512", Wish::Build),
        whole_table("retire-512", Wish::Retire),
        whole_table("rewrite-512", Wish::Rewrite),
    ];

    /// Those that take long, and are measured if asked for.
    pub const LONG: [Self; 3] = [
        of("fill-2000", Wish::Fill, 4, 500),
        of("fill-20000", Wish::Fill, 40, 500),
        of("fill-100000", Wish::Fill, Self::TABLES, 500),
    ];

    /// The workload of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().chain(Self::LONG).find(|workload| workload.name == name)
    }

    /// Updates of entries, or tables made, that it takes at least: what its cost is divided by.
    #[must_use]
    pub const fn updates(self) -> usize {
        match self.wish {
            Wish::Cow => 2,
            Wish::Pin => self.tables,
            Wish::Move | Wish::Fork => 2 * self.entries,
            _ => self.tables * self.entries,
        }
    }

    /// Whether a way of doing it looks at what has come of it, so that it cannot be done where nothing is.
    #[must_use]
    pub const fn looks_at_effects(self) -> bool {
        use Wish::{Build, Cow, Fork, Move, Pin, Retire, Rewrite, Zap, ZapFlush};
        matches!(self.wish, Zap | ZapFlush | Move | Cow | Fork | Build | Pin | Retire | Rewrite)
    }

    /// Whether stale translations have to be gone in the end.
    pub(crate) const fn flushes(self) -> bool {
        matches!(self.wish, Wish::ZapFlush | Wish::Protect | Wish::Move | Wish::Cow)
    }

    /// Whether the policy has to tell what the entries of the first table held.
    pub(crate) const fn gathers(self) -> bool {
        matches!(self.wish, Wish::Zap | Wish::ZapFlush | Wish::Move | Wish::Cow | Wish::Retire)
    }

    /// Its entry `n` of `table`.
    pub(crate) const fn at(self, table: usize, n: usize) -> At {
        At { table, index: n * self.stride }
    }

    /// What entry `n` is to map in the end, for wishes that map.
    pub(crate) fn wanted<G: Ground>(self, ground: &G, n: usize) -> Pte {
        match self.wish {
            // Other frames than those of the state before.
            Wish::Rewrite | Wish::Cow => mapping::<G>(ground.frame(n % HALF + HALF), PteFlags::NONE),
            Wish::Move => mapping::<G>(ground.frame(n % HALF), PteFlags::RW),
            _ => mapping::<G>(ground.frame(n % HALF), PteFlags::NONE),
        }
    }

    /// What entry `n` of `table` holds before; `None` where it is no table yet.
    pub(crate) fn before<G: Ground>(self, ground: &G, table: usize, n: usize) -> Option<Pte> {
        let mapped = |more| Some(mapping::<G>(ground.frame(n % HALF), more));
        match (self.wish, table) {
            (Wish::Build | Wish::Pin, _) | (Wish::Fork, 1) => None,
            (Wish::Fill | Wish::FillRange | Wish::Outside | Wish::Nothing | Wish::Switch, _) | (Wish::Move, 1) => {
                Some(Pte::EMPTY)
            }
            (Wish::Retire | Wish::Rewrite | Wish::Cow, _) => mapped(PteFlags::NONE),
            _ => mapped(PteFlags::RW),
        }
    }

    /// What entry `n` of `table` has to hold after, accessed and dirty aside where it is empty;
    /// `None` where it is no table any more.
    pub(crate) fn after<G: Ground>(self, ground: &G, table: usize, n: usize) -> Option<Pte> {
        match (self.wish, table) {
            (Wish::Zap | Wish::ZapFlush, _) | (Wish::Move, 0) => Some(Pte::EMPTY),
            (Wish::Retire, _) => None,
            _ => Some(self.wanted(ground, n)),
        }
    }
}

/// Frames that entries map before; the others are those they map after.
const HALF: usize = 8;

/// An entry that has been used and stored through.
fn mapping<G: Ground>(frame: Mfn, more: PteFlags) -> Pte {
    Pte::new(frame, PteFlags::PRESENT | PteFlags::ACCESSED_DIRTY | G::ADDED | more)
}

/// A workload on its way: what a policy is asked.
#[derive(Debug)]
pub struct Job {
    /// What is wanted, and of which entries.
    pub workload: Workload,
    wanted: [Pte; ENTRIES_PER_TABLE],
}

impl Job {
    /// Of `workload`.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub(crate) fn new<G: Ground>(workload: Workload, ground: &G) -> Result<Self, Error> {
        let Workload { tables, entries, stride, .. } = workload;
        if entries * stride > ENTRIES_PER_TABLE || tables > G::TABLES {
            return Err(Error::TooLarge { tables, entries: entries * stride, room: G::TABLES });
        }
        Ok(Self { workload, wanted: core::array::from_fn(|n| workload.wanted(ground, n)) })
    }

    /// What the entries of each table are to map, for wishes that map: the caller has it at hand.
    #[must_use]
    pub fn wanted(&self) -> &[Pte] {
        self.wanted.get(..self.workload.entries).unwrap_or(&self.wanted)
    }

    /// The indices of the entries.
    pub fn indices(&self) -> impl Iterator<Item = usize> + use<> {
        let Workload { entries, stride, .. } = self.workload;
        (0..entries).map(move |n| n * stride)
    }
}

/// What a policy says that entries held: their number, and a sum that changes with each entry and with its
/// place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gathered {
    count: usize,
    sum: u64,
}

impl Gathered {
    /// The multiplier of the 64-bit FNV hash: entries that repeat do not cancel each other.
    const PRIME: u64 = 0x0100_0000_01b3;

    /// The entry whose turn it is, from the first on, held `pte`.
    #[inline]
    pub const fn add(&mut self, pte: Pte) {
        self.count += 1;
        self.sum = (self.sum ^ pte.bits()).wrapping_mul(Self::PRIME);
    }

    pub(crate) fn check<G: Ground>(self, ground: &G, workload: Workload) -> Result<(), Error> {
        let mut held = Self::default();
        if workload.gathers() {
            (0..workload.entries).filter_map(|n| workload.before(ground, 0, n)).for_each(|pte| held.add(pte));
        }
        if self == held { Ok(()) } else { Err(Error::Gathered { count: self.count }) }
    }
}
