//! Regions of several tasks on one vCPU, preempted wherever the timer finds them.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use hypercall::{ENTRIES_PER_TABLE, Mfn, Pte, PteFlags, PteSlot, TaskContext};
use pv_mmu::{FlushReason, Mmu, Operations as _, TaskState};
use xen_guest::memory::take_page;
use xen_guest::tasks;

use super::{answer, number, torture::torture};
use crate::{
    error::Error,
    mmu::{self, FLAGS},
    reply::Reply,
};

const TASKS: usize = 2;
/// A turn is shorter than a region, so most regions are preempted.
const TURN: u64 = 300_000;

/// Frame numbers of each task's table and of the page it maps.
static FRAMES: [[AtomicU64; 2]; TASKS] = [const { [const { AtomicU64::new(0) }; 2] }; TASKS];
static ROUNDS: [AtomicU64; TASKS] = [const { AtomicU64::new(0) }; TASKS];
static STOP: AtomicBool = AtomicBool::new(false);
/// Entries that were not as asked when a leave returned.
static WRONG: AtomicU64 = AtomicU64::new(0);
static FAILED: AtomicU64 = AtomicU64::new(0);

fn task(context: &TaskContext, number: usize) {
    let [table, data] = [0, 1].map(|which| Mfn::new(FRAMES[number][which].load(SeqCst)));
    let mut state = TaskState::new();
    while !STOP.load(SeqCst) {
        let round = ROUNDS[number].fetch_add(1, SeqCst);
        let pte = Pte::new(data, FLAGS | PteFlags::from_bits_truncate((round % 8) << 9));
        FAILED.fetch_add(u64::from(!one_region(context, &mut state, table, pte, round)), SeqCst);
        let wrong = mmu::differing(table, |_| pte).unwrap_or(ENTRIES_PER_TABLE);
        WRONG.fetch_add(wrong as u64, SeqCst);
    }
}

/// Sets every entry, in an order that depends on the round, and does something else in between.
fn one_region(context: &TaskContext, state: &mut TaskState, table: Mfn, pte: Pte, round: u64) -> bool {
    let mut region = Mmu::new(mmu::platform()).enter(state, context);
    for step in 0..ENTRIES_PER_TABLE {
        let index = step.wrapping_mul(2 * round as usize + 1) % ENTRIES_PER_TABLE;
        region.set_pte(PteSlot::of(table, index), pte);
        if step % 64 == 0 {
            core::hint::black_box(torture(round));
        }
    }
    region.leave().is_ok()
}

/// Runs the tasks until there have been as many switches as the payload says; `planted` before the
/// number plants a switch that hands nothing over.
pub(crate) fn switching(context: &TaskContext, payload: &[u8], reply: &mut Reply) -> Result<(), Error> {
    let planted = payload.strip_prefix(b"planted ");
    let goal = number(planted.unwrap_or(payload))?;
    for frames in &FRAMES {
        frames[0].store(mmu::pinned_table(context)?.frame().number(), SeqCst);
        frames[1].store(take_page().ok_or(Error::NoPage)?.frame().number(), SeqCst);
    }
    if planted.is_some() {
        mmu::forget_the_switch();
    }
    let library = Mmu::new(mmu::platform());
    let spawned = [tasks::spawn(task, 0)?, tasks::spawn(task, 1)?];
    tasks::preempt_every(TURN);
    let mut left_behind = 0;
    while tasks::counts().switches < goal {
        tasks::yield_now();
        // This is another task: what the others have queued on the vCPU is effective (R7).
        left_behind += library.stats().pending;
    }
    STOP.store(true, SeqCst);
    spawned.into_iter().for_each(tasks::join);
    tasks::preempt_every(0);
    let stats = library.stats();
    answer!(
        reply,
        "switch_flushes" = stats.flushes_by_reason[FlushReason::Switch as usize],
        "left_behind" = left_behind,
        "rounds" = ROUNDS.iter().map(|rounds| rounds.load(SeqCst)).min().unwrap_or(0),
        "wrong" = WRONG.load(SeqCst),
        "failed" = FAILED.load(SeqCst),
        "accounted" = stats.queued == stats.applied + stats.merged + stats.superseded,
    );
    Ok(())
}
