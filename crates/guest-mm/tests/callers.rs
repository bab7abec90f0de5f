//! The callers on the mock, while another vCPU uses the pages at every moment; the referee hears what its
//! processor notes and what it reaches by what it has cached. What a page holds tells whether it was stored to.

mod machine;

use std::collections::BTreeMap;

use guest_mm::{MoveError, NotAttached, Page, Space};
use hypercall::{Level, Mfn, Pte, PteFlags};
use mock_xen::{
    SeededWalker,
    referee::{Finding, Rule},
};
use pv_mmu::{
    Held, HeldBuffer, Operations, Region, TaskState,
    table::{Draft, TableMemory},
};

use machine::{Kernel, Machine, OTHER, RW, TablePage};

type Tested<'m> = Space<TablePage<'m>, 4>;

/// Pages mapped in each of the first two tables.
const MAPPED: usize = 12;

/// What has been given away, and whether it was dirty by any of its mappings.
#[derive(Default)]
struct Freed {
    pages: BTreeMap<Mfn, bool>,
}

impl Freed {
    fn page(&mut self, machine: &Machine, pte: Pte) {
        machine.release(pte.frame());
        *self.pages.entry(pte.frame()).or_default() |= pte.flags().contains(PteFlags::DIRTY);
    }

    fn table(&mut self, machine: &Machine, draft: &Draft<TablePage<'_>>) {
        machine.seen_table(draft.frame());
        if draft.level() == Level::L1 {
            draft.entries().for_each(|(_, pte)| self.page(machine, pte));
        }
    }

    fn assert_every_store_is_known(&self, machine: &Machine) {
        for (page, dirty) in &self.pages {
            assert!(*dirty || !machine.was_stored_to(*page), "{page} was stored to, and no mapping was dirty");
        }
    }
}

/// A space of four tables, the first two with pages, used by the other vCPU by `seed` from now on.
fn scene<'m>(kernel: &Kernel<'m>, seed: u64) -> Tested<'m> {
    let machine = kernel.machine;
    let mut task = TaskState::new();
    let mut outside = kernel.mmu().outside(&mut task, &kernel.context);
    let directory = Draft::new(machine.table_page(), Level::L2);
    let mut space = Space::exec(&mut outside, directory, machine.at(0)).expect("it is accepted");
    for index in 0..4 {
        let mut table = Draft::new(machine.table_page(), Level::L1);
        if index < 2 {
            (0..MAPPED).for_each(|n| table.store(5 * n, Pte::new(machine.data_page(), RW)));
        }
        space.populate(&mut outside, index, table).expect("it is accepted");
    }
    let pages = (0..4).flat_map(|table| (0..MAPPED).map(move |n| machine.address(0, 512 * table + 5 * n))).collect();
    machine.xen.set_walker(SeededWalker::new(seed, OTHER, pages));
    space
}

fn exit(kernel: &Kernel<'_>, space: Tested<'_>, freed: &mut Freed) {
    let mut task = TaskState::new();
    let mut outside = kernel.mmu().outside(&mut task, &kernel.context);
    let mut tables = 0;
    let gone = space.exit(&mut outside, |table| {
        freed.table(kernel.machine, &table.expect("nothing else points to it"));
        tables += 1;
    });
    gone.expect("the directory is the space's alone");
    assert!(tables > 2, "the directory and what it had");
    kernel.machine.assert_clean();
}

fn in_region<'m, R>(kernel: &Kernel<'m>, act: impl FnOnce(&mut Region<'_, Kernel<'m>>) -> R) -> R {
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, &kernel.context);
    let answer = act(&mut region);
    region.leave().expect("nothing is refused");
    answer
}

#[test]
fn every_page_comes_back_with_its_stores_whatever_is_used_when() {
    for seed in 0..40 {
        let machine = Machine::new();
        let kernel = Kernel::new(&machine);
        let (mut space, mut freed) = (scene(&kernel, seed), Freed::default());
        let mut buffer = HeldBuffer::<64>::new();
        in_region(&kernel, |region| {
            space.munmap(region, Page::new(20), 20, &mut buffer, |held| freed.page(&machine, held.pte()));
            space.move_pages(region, (Page::new(0), Page::new(1024)), 300, &mut buffer).expect("there are tables");
        });
        let mut task = TaskState::new();
        let mut outside = kernel.mmu().outside(&mut task, &kernel.context);
        exit_table(&mut space, &mut outside, &mut freed, &machine);
        space.move_table(&mut outside, 1, 3).expect("the entry is free");
        in_region(&kernel, |region| {
            space.munmap(region, Page::new(1536), 100, &mut buffer, |held| freed.page(&machine, held.pte()));
        });
        machine.xen.clear_walker();
        let tables = space.spans(Page::new(0), 2048, 512).count();
        assert_eq!(tables, 3, "one has moved to where another was");
        assert_eq!(freed.pages.len(), 4 + MAPPED);
        let gone = space.exit(&mut outside, |table| freed.table(&machine, &table.expect("nothing points to it")));
        gone.expect("the directory is the space's alone");
        assert_eq!(freed.pages.len(), 2 * MAPPED);
        freed.assert_every_store_is_known(&machine);
        machine.assert_clean();
    }
}

/// The last table, which is empty, makes room.
fn exit_table<'m>(
    space: &mut Tested<'m>,
    by: &mut pv_mmu::Outside<'_, Kernel<'m>>,
    freed: &mut Freed,
    machine: &Machine,
) {
    let table = space.depopulate(by, 3).expect("nothing else points to it").expect("it is there");
    freed.table(machine, &table);
}

#[test]
fn a_fork_shares_every_page_and_the_parent_cannot_store_past_it() {
    for seed in 0..20 {
        let machine = Machine::new();
        let kernel = Kernel::new(&machine);
        let (parent, mut freed) = (scene(&kernel, seed), Freed::default());
        let mut shared = Vec::new();
        let child = in_region(&kernel, |region| {
            let directory = Draft::new(machine.table_page(), Level::L2);
            let mut child = Space::exec(region, directory, machine.at(1)).expect("it is accepted");
            let page = || Some(machine.table_page());
            parent.fork(region, &mut child, page, |pte| shared.push(pte.frame())).expect("nothing is refused");
            child
        });
        assert_eq!(shared.len(), 2 * MAPPED);
        assert!(shared.iter().any(|page| machine.was_stored_to(*page)), "nobody was there");
        for n in (0..MAPPED).flat_map(|n| [5 * n, 512 + 5 * n]) {
            let [ours, theirs] =
                [&parent, &child].map(|space| kernel.entry(space.slot(Page::new(n)).expect("a table")));
            assert_eq!(ours.frame(), theirs.frame());
            assert!(!ours.flags().contains(PteFlags::RW) && !theirs.flags().contains(PteFlags::RW));
            for space in 0..2 {
                assert!(machine.xen.store(OTHER, machine.address(space, n), 9).is_err(), "by whatever is cached");
            }
        }
        machine.xen.clear_walker();
        // The parent's mapping is what knows of the stores before the fork; a page is free with its last mapping.
        let mut inherited = Freed::default();
        exit(&kernel, child, &mut inherited);
        inherited.pages.keys().for_each(|page| machine.take(*page));
        exit(&kernel, parent, &mut freed);
        assert_eq!(freed.pages.len(), 2 * MAPPED);
        freed.assert_every_store_is_known(&machine);
    }
}

#[test]
fn what_cannot_be_done_says_so_and_changes_nothing() {
    let machine = Machine::new();
    let kernel = Kernel::new(&machine);
    let mut space = scene(&kernel, 0);
    machine.xen.clear_walker();
    let mut task = TaskState::new();
    let mut outside = kernel.mmu().outside(&mut task, &kernel.context);
    let table = Draft::new(machine.table_page(), Level::L1);
    let Err(NotAttached::Occupied { index: 1, table }) = space.populate(&mut outside, 1, table) else { panic!() };
    let Err(NotAttached::Occupied { index: 4, table }) = space.populate(&mut outside, 4, table) else { panic!() };
    assert_eq!(table.into_memory().alias().writable.flags() & PteFlags::RW, PteFlags::RW);
    let moved = space.move_table(&mut outside, 0, 1).unwrap_err();
    assert!(matches!(moved, MoveError::Tables { from: 0, to: 1 }), "{moved}");
    let (from, to, mut buffer) = (Page::new(0), Page::new(2000), HeldBuffer::<8>::new());
    in_region(&kernel, |region| {
        let moved = space.move_pages(region, (from, to), 100, &mut buffer).unwrap_err();
        assert_eq!(moved.to_string(), "page 2048 has no table; populate the space first");
    });
    exit(&kernel, space, &mut Freed::default());
}

/// What the tests above would say of an `munmap` that asks for normal updates, or does not flush.
#[test]
fn the_faults_of_a_careless_munmap_are_found() {
    let careless = |region: &mut Region<'_, Kernel<'_>>, space: &Tested<'_>, flush: bool| {
        let mut held = Vec::<Held>::new();
        for n in 0..MAPPED {
            let slot = space.slot(Page::new(5 * n)).expect("a table");
            if flush {
                let _read = region.read_pte(slot);
                region.set_pte(slot, Pte::EMPTY);
            } else {
                held.extend(pv_mmu::ReadModifyWrite::get_and_clear(region, slot));
            }
        }
        held
    };
    let mut found = Vec::new();
    for seed in 0..10 {
        for flush in [true, false] {
            let machine = Machine::new();
            let kernel = Kernel::new(&machine);
            let space = scene(&kernel, seed);
            let held = in_region(&kernel, |region| careless(region, &space, flush));
            held.iter().for_each(|held| machine.release(held.frame()));
            (0..50).for_each(|_| machine.xen.moment());
            found.extend(machine.violations());
        }
    }
    assert!(found.iter().any(|found| matches!(found, (Rule::R11, Finding::NotesLost { .. }))), "{found:?}");
    assert!(found.iter().any(|found| matches!(found, (Rule::R12, Finding::StaleUse { .. }))), "{found:?}");
}
