//! What a small kernel's system calls do to page tables, on the real Xen: each done to a table of 512 pages, checked
//! by what the tables hold, and measured.

use guest_mm::{Page as Number, Space};
use hypercall::{ENTRIES_PER_TABLE, Level, Pte, PteFlags, PteSlot, TaskContext, xen::Xen};
use pv_mmu::{HeldBuffer, Mmu, ReadModifyWrite as _, Region, Report, TaskState, table::Draft};
use spin::Once;
use xen_guest::memory::{Page, tables, take_page};
use xen_guest::{GuestPlatform, timer};

use super::answer;
use crate::{error::Error, mmu::FLAGS, reply::Reply};

type Platform = GuestPlatform<Xen>;

const WRITABLE: PteFlags = FLAGS.union(PteFlags::RW);
/// Entries of the kernel's L3 table that map nothing: beside the kernel's own, which is the last but one.
const FREE: [usize; 2] = [511, 509];

type Tested = Space<Page, 4>;

/// Nothing between the library and the real Xen: what counts hypercalls costs more than they do.
fn platform() -> &'static Platform {
    static PLATFORM: Once<Platform> = Once::new();
    PLATFORM.call_once(|| {
        // SAFETY: this is a kernel without a red zone, and the callers update tables of pool pages only, and entries that lead
        // to them.
        unsafe { GuestPlatform::new(Xen::assume(), Xen::assume(), report) }
    })
}

/// Nothing is refused here.
fn report(report: &Report) {
    panic!("{report}");
}

struct Scene<'c> {
    context: &'c TaskContext,
    data: Page,
    buffer: HeldBuffer<ENTRIES_PER_TABLE>,
}

fn page() -> Result<Page, Error> {
    take_page().ok_or(Error::NoPage)
}

/// What it answers, and what it costs: nanoseconds of the time stamp counter, which are instructions under the
/// lab's instruction clock.
fn measured<T>(act: impl FnOnce() -> Result<T, Error>) -> Result<(T, u64), Error> {
    let before = timer::tsc();
    let answer = act()?;
    Ok((answer, timer::tsc() - before))
}

impl Scene<'_> {
    /// A space at the `number`th free entry.
    fn space(&self, number: usize) -> Result<Tested, Error> {
        let directory = page()?;
        let (kernel, _) = tables::walk(directory.address(), Level::L3)?;
        let at = PteSlot::of(kernel.table(), FREE[number]);
        if tables::read(at)? != Pte::EMPTY {
            return Err(Error::Payload);
        }
        let mut task = TaskState::new();
        let mut outside = Mmu::new(platform()).outside(&mut task, self.context);
        Ok(Space::exec(&mut outside, Draft::new(directory, Level::L2), at).map_err(|error| error.failure)?)
    }

    /// A table of `pages` pages with `flags` at entry `index`.
    fn populate(&self, space: &mut Tested, index: usize, (pages, flags): (usize, PteFlags)) -> Result<(), Error> {
        let mut draft = Draft::new(page()?, Level::L1);
        let entry = Pte::new(self.data.frame(), flags);
        draft.fill(|n| if n < pages { entry } else { Pte::EMPTY });
        let mut task = TaskState::new();
        let mut outside = Mmu::new(platform()).outside(&mut task, self.context);
        space.populate(&mut outside, index, draft).map_err(|_| Error::Payload)
    }

    fn region<T>(&self, act: impl FnOnce(&mut Region<'_, Platform>) -> Result<T, Error>) -> Result<T, Error> {
        let mut task = TaskState::new();
        let mut region = Mmu::new(platform()).enter(&mut task, self.context);
        let answer = act(&mut region)?;
        region.leave()?;
        Ok(answer)
    }
}

/// Entries of table `index` that do not hold what `expected` says, but for accessed and dirty.
fn differing(space: &Tested, index: usize, expected: impl Fn(usize) -> Pte) -> Result<usize, Error> {
    let mut differing = 0;
    for n in 0..ENTRIES_PER_TABLE {
        let slot = space.slot(Number::new(index * ENTRIES_PER_TABLE + n)).ok_or(Error::Payload)?;
        let held = tables::read(slot)?;
        let held = held.with_flags(held.flags().without(PteFlags::ACCESSED_DIRTY));
        differing += usize::from(held != expected(n));
    }
    Ok(differing)
}

/// Runs every caller once.
pub(crate) fn callers(context: &TaskContext, _: &[u8], reply: &mut Reply) -> Result<(), Error> {
    let mut scene = Scene { context, data: page()?, buffer: HeldBuffer::new() };
    let writable = Pte::new(scene.data.frame(), WRITABLE);
    let read_only = Pte::new(scene.data.frame(), FLAGS);
    let mut parent = scene.space(0)?;
    let ((), built) = measured(|| scene.populate(&mut parent, 0, (ENTRIES_PER_TABLE, WRITABLE)))?;
    scene.populate(&mut parent, 1, (0, WRITABLE))?;
    answer!(reply, "exec_differing" = differing(&parent, 0, |_| writable)?, "exec" = built);

    let child = scene.space(1)?;
    let (child, forked) = measured(|| fork(&scene, &parent, child))?;
    answer!(
        reply,
        "fork_parent_differing" = differing(&parent, 0, |_| read_only)?,
        "fork_child_differing" = differing(&child, 0, |_| read_only)?,
        "fork" = forked,
    );
    exit(context, child, reply, "child", (ENTRIES_PER_TABLE, 3))?;

    move_and_unmap(&mut scene, &mut parent, read_only, reply)?;
    scene.populate(&mut parent, 3, (ENTRIES_PER_TABLE, WRITABLE | PteFlags::ACCESSED))?;
    age(&scene, &parent, writable, reply)?;
    exit(context, parent, reply, "parent", (ENTRIES_PER_TABLE, 4))?;
    Ok(())
}

fn fork(scene: &Scene<'_>, parent: &Tested, mut child: Tested) -> Result<Tested, Error> {
    scene.region(|region| {
        parent.fork(region, &mut child, take_page, |_| {}).map_err(|_| Error::Payload)?;
        Ok(child)
    })
}

/// Table 0 moves to table 1 entry by entry, that one to entry 2 of the directory, and there it is unmapped.
fn move_and_unmap(scene: &mut Scene<'_>, space: &mut Tested, pte: Pte, reply: &mut Reply) -> Result<(), Error> {
    let mut buffer = core::mem::take(&mut scene.buffer);
    let places = (Number::new(0), Number::new(ENTRIES_PER_TABLE));
    let ((), entries) = measured(|| {
        scene.region(|region| {
            space.move_pages(region, places, ENTRIES_PER_TABLE, &mut buffer).map_err(|_| Error::Payload)
        })
    })?;
    answer!(
        reply,
        "moved_differing" = differing(space, 1, |_| pte)?,
        "left_differing" = differing(space, 0, |_| Pte::EMPTY)?,
        "mremap" = entries,
    );
    let mut task = TaskState::new();
    let mut outside = Mmu::new(platform()).outside(&mut task, scene.context);
    let ((), table) = measured(|| space.move_table(&mut outside, 1, 2).map_err(|_| Error::Payload))?;
    answer!(reply, "table_differing" = differing(space, 2, |_| pte)?, "mremap_table" = table);
    let mut freed = 0;
    let ((), unmapped) = measured(|| {
        scene.region(|region| {
            space.munmap(region, Number::new(1024), ENTRIES_PER_TABLE, &mut buffer, |held| {
                freed += usize::from(held.frame() == pte.frame());
            });
            Ok(())
        })
    })?;
    answer!(reply, "unmapped_differing" = differing(space, 2, |_| Pte::EMPTY)?, "freed" = freed, "munmap" = unmapped,);
    Ok(())
}

/// Every entry of table 3 has been used, is writable and not dirty: what takes two updates.
fn age(scene: &Scene<'_>, space: &Tested, pte: Pte, reply: &mut Reply) -> Result<(), Error> {
    let slot = space.slot(Number::new(3 * ENTRIES_PER_TABLE)).ok_or(Error::Payload)?;
    let age = |region: &mut Region<'_, Platform>| {
        region.test_and_clear_young_range(slot, ENTRIES_PER_TABLE).map_err(|_| Error::Payload)
    };
    let (young, aged) = measured(|| scene.region(age))?;
    let left = tables::read(slot)?.flags() & PteFlags::ACCESSED_DIRTY;
    answer!(
        reply,
        "aged_differing" = differing(space, 3, |_| pte)?,
        "aged_is_old" = left == PteFlags::NONE,
        "young" = young.count(),
        "age" = aged,
    );
    Ok(())
}

fn exit(
    context: &TaskContext,
    space: Tested,
    reply: &mut Reply,
    who: &str,
    expected: (usize, usize),
) -> Result<(), Error> {
    use core::fmt::Write as _;
    let (mut pages, mut given_back) = (0, 0);
    let mut task = TaskState::new();
    let mut outside = Mmu::new(platform()).outside(&mut task, context);
    let ((), cost) = measured(|| {
        let gone = space.exit(&mut outside, |table| {
            let Ok(draft) = table else { return };
            given_back += 1;
            pages += if draft.level() == Level::L1 { draft.entries().count() } else { 0 };
        });
        Ok(gone.map_err(|(_, failure)| failure)?)
    })?;
    // A reply takes everything.
    let _ = writeln!(reply, "{who}_exit_whole={}\n{who}_exit={cost}", (pages, given_back) == expected);
    Ok(())
}
