//! The callers of lazy regions that a kernel's memory management has, each beside two other tasks: one
//! that waits for the same table's lock, and one in a region of its own.
//!
//! Entries 0 and 1 stand for the tables a caller works on.

use super::nested;
use crate::{
    explore::Bounds,
    scenario::{
        Scenario,
        Step::{
            self, Clear, Enter, FlushTlb, Leave, Lock, Map, Pause, Protect, Range, Read, Resume, Set, Sleep, Unlock,
            Unpin, Unset,
        },
    },
};

/// A caller: its name, what it does, and whether it holds the table's lock.
type Caller = (&'static str, &'static str, &'static [Step], bool);

const CALLERS: &[Caller] = &[
    ("copy_pte_range", "fork: the parent's entry loses its right to store, the child's is set", FORK, true),
    ("zap_pte_range", "munmap: entries are emptied, TLBs flushed before the pages go", ZAP, true),
    ("change_pte_range", "mprotect: entries change their rights", CHANGE, true),
    ("move_ptes", "mremap: an entry is emptied and set elsewhere", MOVE, true),
    ("apply_to_pte_range", "kernel mappings, without a lock", APPLY, false),
    ("vmap_vunmap", "a kernel range is mapped and unmapped", VMAP, false),
    ("set_ptes", "a range set by one call, inside a region and outside", RANGES, true),
    ("pagemap_scan", "written pages are protected again and TLBs flushed before leave", SCAN, true),
    ("kmap_local", "a page mapped in the middle of a region", KMAP, true),
    ("kasan_populate", "a region pauses to allocate, and goes on", POPULATE, false),
    ("debug_pagealloc", "a page freed in a region is unmapped by a region within", PAGEALLOC, true),
    ("migrate_vma", "entries are replaced, TLBs flushed before leave", MIGRATE, true),
    ("uffd_move", "an entry is emptied and put back", UFFD, true),
];

const FORK: &[Step] = &[Enter, Set(0), Protect(0), Set(1), Leave, FlushTlb];
const ZAP: &[Step] = &[Enter, Set(0), Clear(0), Clear(1), FlushTlb, Leave];
const CHANGE: &[Step] = &[Enter, Set(0), Protect(0), Protect(1), Leave, FlushTlb];
const MOVE: &[Step] = &[Enter, Set(0), Clear(0), Set(1), Leave, FlushTlb];
const APPLY: &[Step] = &[Enter, Set(3), Set(4), Unset(3), Leave];
const VMAP: &[Step] = &[Enter, Set(3), Set(4), Leave, Enter, Clear(3), Unset(4), Leave];
const RANGES: &[Step] = &[Enter, Range(3), Set(0), Leave, Range(2)];
const SCAN: &[Step] = &[Enter, Read(0), Protect(0), FlushTlb, Read(0), Leave];
const KMAP: &[Step] = &[Enter, Set(0), Map(3), Read(3), Set(1), Leave];
const POPULATE: &[Step] = &[Enter, Set(3), Pause, Sleep, Set(4), Resume, Set(3), Leave];
const PAGEALLOC: &[Step] = &[Enter, Set(0), Enter, Unset(3), Leave, Read(3), Set(1), Leave];
const MIGRATE: &[Step] = &[Enter, Clear(0), Set(0), FlushTlb, Leave];
const UFFD: &[Step] = &[Enter, Set(0), Clear(0), Set(0), Leave];

/// What every one of them is looked at with.
const BOUNDS: Bounds =
    Bounds { preemptions: 2, interrupts: 0, migrations: 1, hypervisor: 1, deviations: 2, choices: 2000 };

/// All of them, and `exit_mmap`, whose third task is what takes the table's place.
pub(super) fn all() -> Vec<Scenario> {
    let of = |(name, about, steps, is_locked): &Caller| {
        let own = if *is_locked { locked(steps) } else { steps.to_vec() };
        let waiting = locked(&[Enter, Set(0), Leave]);
        let beside = [Enter, Set(5), Leave];
        // Locks that sleep leave preemption on, so that nothing hides behind them.
        Scenario { bounds: BOUNDS, sleeping_locks: true, ..nested(name, about, &[&own, &waiting, &beside]) }
    };
    let exit =
        nested("exit_mmap", "a table goes when nobody is on it any more", &[&[Set(0)], &[Set(1), Unpin(0)], &[Set(5)]]);
    CALLERS.iter().map(of).chain([Scenario { bounds: BOUNDS, ..exit.loading() }]).collect()
}

fn locked(steps: &[Step]) -> Vec<Step> {
    [&[Lock(0)], steps, &[Unlock(0)]].concat()
}
