//! The arena: where everything a program works on lies, at the same virtual addresses on every
//! machine.
//!
//! One root entry leads through one table of each level to the program's pages, to windows that map
//! nothing yet, and to the memory that arguments are laid out in, behind which nothing is mapped.
//! The executor sets the tables up from [`entries`] before it runs the first program, by plain
//! stores, and links them with one update of the root. From then on an executor has a page mapped
//! writable in the arena and nowhere else: its own view of the pages and tables is read-only.
//!
//! Entries through which the executor itself runs or reads arguments are [`reserved`]: a call that
//! would update one is not issued.

use hypercall::{ENTRIES_PER_TABLE, Mfn, PAGE_SHIFT, PAGE_SIZE, Pte, PteFlags};

use crate::frame::{Frame, PAGES, PageId, Table};

/// Where the arena starts: the first address below root entry [`ROOT_INDEX`].
pub const BASE: u64 = 0xffff_9000_0000_0000;
/// The root entry that leads to it.
pub const ROOT_INDEX: usize = 288;
/// The L1 entry of the first page; the others follow.
pub const FIRST_PAGE: usize = 0;
/// The L1 entry of the first window.
pub const FIRST_WINDOW: usize = FIRST_PAGE + PAGES;
/// Windows: consecutive L1 entries behind those of the pages, empty when a program starts.
pub const WINDOWS: usize = 16;
/// The L1 entry of the first page of arguments.
pub const FIRST_ARGUMENT: usize = FIRST_WINDOW + WINDOWS;
/// Pages of arguments, mapped writable.
pub const ARGUMENT_PAGES: usize = 4;
/// Words of arguments.
pub const ARGUMENT_WORDS: usize = ARGUMENT_PAGES * ENTRIES_PER_TABLE;
/// Where arguments lie.
pub const ARGUMENTS: u64 = BASE + ((FIRST_ARGUMENT as u64) << PAGE_SHIFT);
/// The first address behind the arguments; never mapped.
pub const UNMAPPED: u64 = ARGUMENTS + (ARGUMENT_WORDS as u64) * 8;
/// The L1 entry through which the interpreter probes pages.
pub(crate) const PROBE: usize = FIRST_ARGUMENT + ARGUMENT_PAGES + 1;

/// An address in the range Xen keeps for itself.
pub const HOLE: u64 = 0xffff_8200_0000_0000;
/// An address whose upper bits are not all equal.
pub const NONCANONICAL: u64 = 0x0000_9000_0000_0000;

const INNER: PteFlags = PteFlags::PRESENT.union(PteFlags::RW).union(PteFlags::USER).union(PteFlags::ACCESSED_DIRTY);
/// Flags of the entry that maps a page at home, as Xen stores them.
pub(crate) const LEAF: PteFlags = INNER.union(PteFlags::GUEST_KERNEL);

/// What an entry of the arena maps or leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A named frame.
    Frame(Frame),
    /// The frame that holds this page of the arguments.
    Arguments(usize),
}

/// An entry of the arena when a program starts; all others of its tables, the root's aside, are
/// empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The table it lies in.
    pub table: Table,
    /// Its index there.
    pub index: usize,
    /// Where it leads.
    pub target: Target,
}

impl Entry {
    /// The entry's word, given the frame of its target.
    #[must_use]
    pub fn pte(&self, frame: Mfn) -> Pte {
        Pte::new(frame, if self.table == Table::L1 { LEAF } else { INNER })
    }
}

/// Every entry of the arena, the root's last: it links the arena and may only be written once the
/// others are.
pub fn entries() -> impl Iterator<Item = Entry> {
    let page = |page: PageId| (Table::L1, FIRST_PAGE + page.number(), Target::Frame(page.into()));
    let argument = |number| (Table::L1, FIRST_ARGUMENT + number, Target::Arguments(number));
    let table = |table, index, below: Table| (table, index, Target::Frame(below.into()));
    PageId::all()
        .map(page)
        .chain((0..ARGUMENT_PAGES).map(argument))
        .chain([table(Table::L2, 0, Table::L1), table(Table::L3, 0, Table::L2)])
        .chain([table(Table::Root, ROOT_INDEX, Table::L3)])
        .map(|(table, index, target)| Entry { table, index, target })
}

/// Whether an entry carries the executor itself or the memory arguments lie in.
///
/// Of the root, Xen's own entries (256 to 271) are not: Xen refuses every update of them. Entry 272
/// and those behind the arena's are the programs'.
#[must_use]
pub fn reserved(table: Table, index: usize) -> bool {
    match table {
        Table::L1 => (FIRST_ARGUMENT..=PROBE).contains(&index),
        Table::L2 | Table::L3 => index == 0,
        Table::Root => !(256..=272).contains(&index) && index <= ROOT_INDEX,
    }
}

/// The first address that entry `index` of a table of the arena translates.
#[must_use]
pub const fn address_under(table: Table, index: usize) -> u64 {
    let shift = PAGE_SHIFT + 9 * table as u32;
    match table {
        Table::Root => (((index as u64) << shift << 16) as i64 >> 16) as u64,
        _ => BASE + ((index as u64) << shift),
    }
}

/// The page whose home `address` lies in.
pub(crate) fn page_at(address: u64) -> Option<PageId> {
    let index = (address.checked_sub(BASE)? >> PAGE_SHIFT) as usize;
    PageId::new(index.checked_sub(FIRST_PAGE)?)
}

/// The word of the arguments at `address`.
pub(crate) fn argument_at(address: u64) -> Option<usize> {
    let offset = address.checked_sub(ARGUMENTS)?;
    (offset < UNMAPPED - ARGUMENTS && offset.is_multiple_of(8)).then_some((offset / 8) as usize)
}

/// The address of word `index` of the arguments.
pub(crate) const fn argument_address(index: usize) -> u64 {
    ARGUMENTS + 8 * index as u64
}

const _: () = assert!(PAGE_SIZE == 8 * ENTRIES_PER_TABLE as u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_from_entries() {
        assert_eq!(address_under(Table::Root, ROOT_INDEX), BASE);
        assert_eq!(address_under(Table::Root, 1), 1 << 39);
        assert_eq!(address_under(Table::L2, 3), BASE + (3 << 21));
        assert_eq!(address_under(Table::L1, FIRST_ARGUMENT), ARGUMENTS);
        assert_eq!(argument_at(argument_address(7)), Some(7));
        assert_eq!((argument_at(UNMAPPED), argument_at(ARGUMENTS - 8), argument_at(ARGUMENTS + 4)), (None, None, None));
    }

    #[test]
    fn what_the_executor_needs_is_reserved() {
        let needed = |entry: &Entry| !matches!(entry.target, Target::Frame(Frame::Page(_)));
        assert!(entries().filter(needed).all(|entry| reserved(entry.table, entry.index)));
        assert!(!reserved(Table::L1, FIRST_PAGE) && !reserved(Table::L1, FIRST_WINDOW));
        assert!(reserved(Table::Root, 0) && !reserved(Table::Root, 256) && !reserved(Table::Root, 300));
    }
}
