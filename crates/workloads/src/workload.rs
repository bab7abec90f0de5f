//! Page-table work, as the state of a table before and after.

use hypercall::{ENTRIES_PER_TABLE, Mfn, Pte, PteFlags};

use crate::{Error, Ground};

/// What a caller wants done with a table's first entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Writable entries of a live table are emptied, and what they held is told: munmap.
    Zap,
    /// The right to store is taken from the entries of a live table: fork's parent.
    WriteProtect,
    /// A page becomes a live table that maps: fork's child, exec, a large mmap.
    Build,
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
    /// Of how many entries.
    pub updates: usize,
}

const fn whole_table(name: &'static str, wish: Wish) -> Workload {
    Workload { name, wish, updates: ENTRIES_PER_TABLE }
}

impl Workload {
    /// All there are.
    pub const ALL: [Self; 5] = [
        whole_table("zap-512", Wish::Zap),
        whole_table("wrprotect-512", Wish::WriteProtect),
        whole_table("build-512", Wish::Build),
        whole_table("retire-512", Wish::Retire),
        whole_table("rewrite-512", Wish::Rewrite),
    ];

    /// What entry `index` of the table is to map in the end, for wishes that map.
    pub(crate) fn wanted<G: Ground>(self, ground: &G, index: usize) -> Pte {
        match self.wish {
            // Other frames than those of the state before.
            Wish::Rewrite => mapping::<G>(ground.frame(index % (G::FRAMES / 2) + G::FRAMES / 2), PteFlags::NONE),
            _ => mapping::<G>(ground.frame(index % (G::FRAMES / 2)), PteFlags::NONE),
        }
    }

    /// What entry `index` of the table holds before; `None` where it is no table yet.
    pub(crate) fn before<G: Ground>(self, ground: &G, index: usize) -> Option<Pte> {
        let more = match self.wish {
            Wish::Build => return None,
            Wish::Zap | Wish::WriteProtect => PteFlags::RW,
            Wish::Retire | Wish::Rewrite => PteFlags::NONE,
        };
        Some(mapping::<G>(ground.frame(index % (G::FRAMES / 2)), more))
    }

    /// What entry `index` of the table has to hold after, accessed and dirty aside where it is empty;
    /// `None` where it is no table any more.
    pub(crate) fn after<G: Ground>(self, ground: &G, index: usize) -> Option<Pte> {
        match self.wish {
            Wish::Zap => Some(Pte::EMPTY),
            Wish::WriteProtect | Wish::Build | Wish::Rewrite => Some(self.wanted(ground, index)),
            Wish::Retire => None,
        }
    }

    /// Whether the policy has to tell what the entries held.
    pub(crate) const fn gathers(self) -> bool {
        matches!(self.wish, Wish::Zap | Wish::Retire)
    }
}

/// A workload on its way: what a policy is asked.
#[derive(Debug)]
pub struct Job {
    /// What is wanted.
    pub wish: Wish,
    wanted: [Pte; ENTRIES_PER_TABLE],
    updates: usize,
}

impl Job {
    pub(crate) fn new<G: Ground>(workload: Workload, ground: &G) -> Self {
        let Workload { wish, updates, .. } = workload;
        let wanted = core::array::from_fn(|index| workload.wanted(ground, index));
        Self { wish, wanted, updates: updates.min(ENTRIES_PER_TABLE) }
    }

    /// Of how many entries.
    #[must_use]
    pub const fn updates(&self) -> usize {
        self.updates
    }

    /// What the entries are to map, for wishes that map: the caller has it at hand.
    #[must_use]
    pub fn wanted(&self) -> &[Pte] {
        self.wanted.get(..self.updates).unwrap_or(&self.wanted)
    }
}

/// An entry that has been used and stored through.
fn mapping<G: Ground>(frame: Mfn, more: PteFlags) -> Pte {
    Pte::new(frame, PteFlags::PRESENT | PteFlags::ACCESSED_DIRTY | G::ADDED | more)
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
            (0..workload.updates).filter_map(|index| workload.before(ground, index)).for_each(|pte| held.add(pte));
        }
        if self == held { Ok(()) } else { Err(Error::Gathered { count: self.count }) }
    }
}
