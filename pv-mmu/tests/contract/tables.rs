//! The life of a table: memory, live, memory again; and what becomes of one that Xen does not accept.

use hypercall::{ENTRIES_PER_TABLE, Errno, Level, Mfn, MmuextOp, Operation, Pte, PteFlags, PteSlot, VcpuId, VirtAddr};
use mock_xen::{AccessError, FrameType, MockXen};
use pv_mmu::{
    Operations, ReadModifyWrite, TaskState,
    table::{Alias, Draft, Live, NotRewritten, TableMemory},
};

use crate::world::{OnMock, RW, World, mmuext, preserving, update};

const HERE: VcpuId = VcpuId::new(0);
const THERE: VcpuId = VcpuId::new(1);
const TABLE: PteFlags = RW.union(PteFlags::ACCESSED).union(PteFlags::DIRTY);

/// A page of the mock's guest, reached as its kernel reaches it.
pub(crate) struct Page<'w> {
    xen: &'w MockXen,
    frame: Mfn,
}

impl std::fmt::Debug for Page<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "page in {}", self.frame)
    }
}

impl Page<'_> {
    fn word(&self, index: usize) -> VirtAddr {
        VirtAddr::unchecked(self.alias().address.value() + 8 * index as u64)
    }
}

impl TableMemory for Page<'_> {
    fn frame(&self) -> Mfn {
        self.frame
    }

    fn alias(&self) -> Alias {
        let address = self.xen.direct_map(self.frame).expect("a page of the guest");
        Alias { address, writable: Pte::new(self.frame, PteFlags::PRESENT | PteFlags::RW) }
    }

    fn load(&self, index: usize) -> Pte {
        Pte::from_bits(self.xen.load(HERE, self.word(index)).expect("it is mapped"))
    }

    fn store(&mut self, index: usize, pte: Pte) {
        self.xen.store(HERE, self.word(index), pte.bits()).expect("a draft is mapped writable");
    }
}

/// A kernel on a world, with the entry at which a table can be attached and the addresses behind it.
pub(crate) struct Scene<'w> {
    world: &'w World,
    pub(crate) kernel: OnMock<'w>,
    pub(crate) at: PteSlot,
    address: u64,
}

impl<'w> Scene<'w> {
    pub(crate) fn new(world: &'w World) -> Self {
        let base = world.xen.direct_map(world.pages[0]).expect("a page of the guest");
        let at = world.xen.slot_of(HERE, base, Level::L2).and_then(|slot| slot.offset(100)).expect("an L2 entry");
        let address = (base.value() & !0x3fff_ffff) + ((at.index() as u64) << 21);
        Self { world, kernel: world.kernel(), at, address }
    }

    fn draft(&self, page: usize) -> Draft<Page<'w>> {
        Draft::new(Page { xen: &self.world.xen, frame: self.world.pages[page] }, Level::L1)
    }

    /// A table whose first `count` entries map pages from 80 on.
    pub(crate) fn filled(&self, page: usize, count: usize) -> Draft<Page<'w>> {
        let mut draft = self.draft(page);
        draft.fill(|n| if n < count { self.world.page(80 + n) } else { Pte::EMPTY });
        draft
    }

    pub(crate) fn kind(&self, page: usize) -> (FrameType, bool) {
        let frame = self.world.xen.frame(self.world.pages[page]).expect("a page of the guest");
        (frame.kind, frame.pinned)
    }

    pub(crate) fn validated(&self, draft: Draft<Page<'w>>) -> Live<Page<'w>> {
        let mut task = TaskState::new();
        draft.validate(&mut self.kernel.mmu().outside(&mut task, self.kernel.task())).expect("it is accepted")
    }

    /// A store by the other vCPU through entry `n` of the table attached.
    fn touch(&self, n: u64) -> Result<(), AccessError> {
        self.world.xen.store(THERE, VirtAddr::unchecked(self.address + (n << 12)), 7)
    }
}

fn remaps(calls: &[Vec<Operation>]) -> usize {
    calls.concat().iter().filter(|operation| matches!(operation, Operation::UpdateVaMapping { .. })).count()
}

#[test]
fn a_table_is_built_by_stores_and_one_hypercall() {
    let world = World::strict();
    let scene = Scene::new(&world);
    let live = scene.validated(scene.filled(5, 512));
    let pin = mmuext(MmuextOp::Pin { level: Level::L1, table: live.frame() });
    let calls = world.take_calls();
    assert_eq!((calls.len(), calls[0].len(), calls[0][1]), (1, 2, pin));
    assert_eq!(scene.kind(5), (FrameType::Table(Level::L1), true));
    assert_eq!(world.memory(live.slot(511)), world.stored(591));
    world.xen.audit().unwrap();
}

#[test]
fn what_is_queued_goes_before_and_along() {
    let world = World::strict();
    let scene = Scene::new(&world);
    let mut task = TaskState::new();
    let mut region = scene.kernel.mmu().enter(&mut task, scene.kernel.task());
    region.set_pte(world.slot(0, 3), world.page(300));
    let live = scene.filled(5, 3).validate(&mut region).unwrap();
    assert_eq!(world.memory(world.slot(0, 3)), world.stored(300));
    region.set_pte(live.slot(9), world.page(301));
    let draft = live.retire(&mut region).unwrap();
    assert_eq!(draft.load(9), world.stored(301));
    region.leave().unwrap();
    let calls = world.take_calls();
    assert_eq!(calls.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
    assert_eq!((calls[0][0], remaps(&calls)), (update(world.slot(0, 3), world.page(300)), 2));
    world.xen.audit().unwrap();
}

#[test]
fn a_table_that_is_refused_comes_back_as_memory() {
    let world = World::strict();
    let scene = Scene::new(&world);
    let mut draft = scene.filled(5, 4);
    draft.store(2, Pte::new(world.tables[0], RW));
    let mut task = TaskState::new();
    let mut outside = scene.kernel.mmu().outside(&mut task, scene.kernel.task());
    let refused = draft.validate(&mut outside).unwrap_err();
    assert_eq!(refused.failure.errno(), Some(Errno::BUSY));
    assert!(format!("{refused}").contains("draft of an L1 table in mfn"), "{refused}");
    let mut draft = refused.draft;
    assert_eq!(draft.entries().map(|(n, pte)| (n, pte.frame())).nth(3), Some((3, world.pages[83])));
    draft.store(2, world.page(82));
    let live = draft.validate(&mut outside).unwrap();
    assert_eq!(world.memory(live.slot(2)), world.stored(82));
    assert!(scene.kernel.reports.borrow().is_empty(), "the failure is the caller's alone");
    world.xen.audit().unwrap();
}

#[test]
fn a_retired_table_holds_what_it_held_last() {
    let world = World::strict();
    let scene = Scene::new(&world);
    let mut task = TaskState::new();
    let mut outside = scene.kernel.mmu().outside(&mut task, scene.kernel.task());
    let live = scene.filled(5, 3).attach(&mut outside, scene.at, TABLE).unwrap();
    assert_eq!(live.attached_at(), Some(scene.at));
    scene.touch(1).unwrap();
    let draft = live.retire(&mut outside).unwrap();
    let noted: Vec<_> = draft.entries().map(|(_, pte)| pte.flags() & PteFlags::ACCESSED_DIRTY).collect();
    assert_eq!(noted, [PteFlags::NONE, PteFlags::ACCESSED_DIRTY, PteFlags::NONE]);
    assert!(scene.touch(1).is_err(), "Xen has flushed the other vCPU's TLB with the entry above");
    assert_eq!(draft.into_memory().frame(), world.pages[5]);
    assert_eq!(world.memory(scene.at), Pte::EMPTY);
    world.xen.audit().unwrap();
}

#[test]
fn a_table_moves_without_being_validated_again() {
    let world = World::strict();
    let scene = Scene::new(&world);
    let mut task = TaskState::new();
    let mut outside = scene.kernel.mmu().outside(&mut task, scene.kernel.task());
    let mut live = scene.filled(5, 3).attach(&mut outside, scene.at, TABLE).unwrap();
    let to = scene.at.offset(1).unwrap();
    live.attach(&mut outside, to, TABLE).unwrap();
    assert_eq!((world.memory(scene.at), world.memory(to).frame()), (Pte::EMPTY, live.frame()));
    assert!(scene.touch(1).is_err() && scene.touch(513).is_ok());
    assert_eq!(live.retire(&mut outside).unwrap().entries().count(), 3);
    world.xen.audit().unwrap();
}

#[test]
fn a_table_that_is_still_pointed_to_stays_live() {
    let world = World::strict();
    let scene = Scene::new(&world);
    let live = scene.validated(scene.filled(5, 3));
    let mut task = TaskState::new();
    let mut outside = scene.kernel.mmu().outside(&mut task, scene.kernel.task());
    outside.set_upper(scene.at, Pte::new(live.frame(), TABLE)).unwrap().not_cached();
    let kept = live.retire(&mut outside).unwrap_err();
    assert!(format!("{kept}").contains("live L1 table in mfn"), "{kept}");
    assert!(format!("{kept}").contains("was not given up"), "{kept}");
    assert_eq!((kept.failure.errno(), scene.kind(5)), (Some(Errno::BUSY), (FrameType::Table(Level::L1), true)));
    outside.set_upper(scene.at, Pte::EMPTY).unwrap().deferred();
    let draft = kept.live.retire(&mut outside).unwrap();
    assert_eq!(draft.entries().count(), 3);
    world.xen.audit().unwrap();
}

#[test]
fn few_changes_are_updates_and_many_are_stores_to_the_same_end() {
    for changes in [3, 400] {
        let world = World::strict();
        let scene = Scene::new(&world);
        let mut task = TaskState::new();
        let mut outside = scene.kernel.mmu().outside(&mut task, scene.kernel.task());
        let live = scene.filled(5, 512).attach(&mut outside, scene.at, TABLE).unwrap();
        scene.touch(1).unwrap();
        world.take_calls();
        let other = |n, old: Pte| (n < changes).then(|| Pte::new(world.pages[79 - n % 70], old.flags()));
        let live = live.rewrite(&mut outside, changes, other).unwrap();
        let calls = world.take_calls();
        let (hypercalls, operations) = if changes == 3 { (1, 3) } else { (2, 4) };
        assert_eq!((calls.len(), calls.concat().len()), (hypercalls, operations), "{changes} changes");
        for n in 0..ENTRIES_PER_TABLE {
            let page = if n < changes { 79 - n % 70 } else { 80 + n };
            assert_eq!(world.memory(live.slot(n)).frame(), world.pages[page]);
        }
        let noted = world.memory(live.slot(1)).flags();
        assert!(noted.contains(PteFlags::ACCESSED_DIRTY), "the flags were kept, and the notes with them");
        world.xen.audit().unwrap();
    }
}

#[test]
fn how_many_changes_are_many_depends_on_how_full_the_table_is() {
    for (present, changes, hypercalls) in [(3, 100, 2), (512, 100, 1), (3, 3, 1), (512, 300, 2)] {
        let world = World::strict();
        let scene = Scene::new(&world);
        let live = scene.validated(scene.filled(5, present));
        assert_eq!((live.level(), live.attached_at()), (Level::L1, None));
        let mut task = TaskState::new();
        let mut outside = scene.kernel.mmu().outside(&mut task, scene.kernel.task());
        world.take_calls();
        let live = live.rewrite(&mut outside, changes, |n, _| (n < changes).then(|| world.page(10 + n % 60))).unwrap();
        assert_eq!(world.take_calls().len(), hypercalls, "{changes} changes of {present} entries");
        let frame = |n: usize| world.memory(live.slot(n)).frame();
        assert_eq!((frame(0), frame(changes - 1)), (world.pages[10], world.pages[10 + (changes - 1) % 60]));
        world.xen.audit().unwrap();
    }
}

#[test]
fn a_table_attached_again_where_it_is_stays_there() {
    let world = World::strict();
    let scene = Scene::new(&world);
    let mut task = TaskState::new();
    let mut outside = scene.kernel.mmu().outside(&mut task, scene.kernel.task());
    let draft = scene.filled(5, 3);
    assert_eq!(draft.level(), Level::L1);
    let mut live = draft.attach(&mut outside, scene.at, TABLE).unwrap();
    live.attach(&mut outside, scene.at, TABLE).unwrap();
    assert_eq!((world.memory(scene.at).frame(), live.attached_at()), (live.frame(), Some(scene.at)));
    scene.touch(1).unwrap();
    assert!(live.retire(&mut outside).is_ok());
    world.xen.audit().unwrap();
}

#[test]
fn a_draft_lets_go_of_the_tables_it_points_to_and_of_no_other() {
    let world = World::strict();
    let scene = Scene::new(&world);
    let mut task = TaskState::new();
    let mut outside = scene.kernel.mmu().outside(&mut task, scene.kernel.task());
    let directory = Draft::new(Page { xen: &world.xen, frame: world.pages[6] }, Level::L2);
    let directory = directory.validate(&mut outside).unwrap();
    let mut inner = scene.filled(5, 3).attach(&mut outside, directory.slot(3), TABLE).unwrap();
    let mut other = scene.filled(7, 3).attach(&mut outside, scene.at, TABLE).unwrap();
    let mut directory = directory.retire(&mut outside).unwrap();
    assert!(!directory.unlink(&mut other) && directory.unlink(&mut inner) && !directory.unlink(&mut inner));
    assert_eq!((directory.load(3), inner.attached_at(), other.attached_at()), (Pte::EMPTY, None, Some(scene.at)));
    assert_eq!(inner.retire(&mut outside).unwrap().entries().count(), 3);
    assert_eq!(other.retire(&mut outside).unwrap().entries().count(), 3);
    world.xen.audit().unwrap();
}

#[test]
fn a_rewritten_table_that_is_refused_is_a_draft() {
    let world = World::strict();
    let scene = Scene::new(&world);
    let live = scene.validated(scene.filled(5, 512));
    let mut task = TaskState::new();
    let mut outside = scene.kernel.mmu().outside(&mut task, scene.kernel.task());
    let forbidden = Pte::new(world.tables[0], RW);
    let refused = live.rewrite(&mut outside, 512, |n, old| Some(if n == 7 { forbidden } else { old }));
    let told = refused.as_ref().map_or_else(ToString::to_string, |live| format!("{live:?}"));
    assert!(told.contains("draft of an L1 table") && told.contains("was not made live"), "{told}");
    let Err(NotRewritten::Validated(refused)) = refused else { panic!("{refused:?}") };
    assert_eq!((refused.failure.errno(), refused.draft.load(7)), (Some(Errno::BUSY), forbidden));
    assert_eq!(scene.kind(5).0, FrameType::Writable);
    world.xen.audit().unwrap();
}

#[test]
fn entries_of_a_live_table_are_changed_by_operations() {
    let world = World::strict();
    let scene = Scene::new(&world);
    let live = scene.validated(scene.filled(5, 2));
    let mut task = TaskState::new();
    let mut region = scene.kernel.mmu().enter(&mut task, scene.kernel.task());
    region.wrprotect(live.slot(0));
    world.take_calls();
    region.leave().unwrap();
    let read_only = world.stored(80).with_flags(world.stored(80).flags().without(PteFlags::RW));
    assert_eq!(world.take_calls(), [[preserving(live.slot(0), read_only)]]);
}
