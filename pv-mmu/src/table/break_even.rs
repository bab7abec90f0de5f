//! When it pays to give a table up instead of updating it.
//!
//! Costs on Xen 4.17, in instructions of guest and hypervisor together, as counted by QEMU
//! (`Clock::Instructions` of the lab). They are exactly linear in the number of entries. Real processors
//! make hypercalls dearer than that, which favours the fewer ones of neither way: both are two.

/// How a table is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// By an update for each change, in one array.
    Updates,
    /// By giving the table up, plain stores and making it live again.
    Stores,
}

/// An array of updates: what it costs beyond its updates.
const ARRAY: usize = 390;
/// An update that maps another frame.
const UPDATE: usize = 584;
/// Unpin and pin of an empty table, its alias writable and read-only again, the two multicalls.
const GIVE_UP: usize = 8_909 + 9_913 + 917 + 941 + 2 * 245;
/// A present entry given up and validated again.
const PRESENT: usize = 87 + 135;
/// An entry loaded and stored.
const STORE: usize = 20;

/// What `changes` updates cost, in instructions.
#[must_use]
pub const fn update_cost(changes: usize) -> usize {
    ARRAY + UPDATE * changes
}

/// What giving up a table with `present` entries, storing all and making it live again costs, in instructions.
#[must_use]
pub const fn rewrite_cost(present: usize) -> usize {
    GIVE_UP + PRESENT * present + STORE * hypercall::ENTRIES_PER_TABLE
}

impl Rewrite {
    /// The cheaper way to make `changes` changes in a table with `present` entries.
    #[must_use]
    pub const fn choose(present: usize, changes: usize) -> Self {
        if update_cost(changes) <= rewrite_cost(present) { Self::Updates } else { Self::Stores }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_changes_are_updates_and_many_are_stores() {
        assert_eq!(Rewrite::choose(512, 1), Rewrite::Updates);
        assert_eq!(Rewrite::choose(512, 512), Rewrite::Stores);
        let first = (0..512).find(|changes| Rewrite::choose(512, *changes) == Rewrite::Stores);
        assert_eq!(first, Some(248), "about half of a full table");
        assert_eq!((0..512).find(|changes| Rewrite::choose(0, *changes) == Rewrite::Stores), Some(54));
    }
}
