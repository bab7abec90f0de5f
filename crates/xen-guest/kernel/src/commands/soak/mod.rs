//! Millions of updates by tasks that are preempted and moved wherever the timer finds them, with interrupts that write
//! entries in between: what reaches Xen is checked for order, for repetition and for loss as it goes.

mod ledger;
mod planted;
mod worker;

use core::fmt::Write as _;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use hypercall::{ENTRIES_PER_TABLE, TaskContext, VcpuId};
use pv_mmu::Mmu;
use xen_guest::memory::{tables, take_page};
use xen_guest::{MAX_VCPUS, current_vcpu, events, smp, tasks};

use self::ledger::{LEDGER, Wrong};
use self::worker::{ENDED, GOAL, INTERRUPTS, PORTS, REGIONS, SEED, WORKERS};
use super::answer;
use crate::{error::Error, mmu, reply::Reply};

const SECOND: VcpuId = VcpuId::new(1);
/// ns: long enough for something to be queued, too short for a region.
const TURNS: core::ops::RangeInclusive<u64> = 10_000..=200_000;

/// What the vCPUs' schedulers and queues have counted when all is done: preemptions, migrations, operations queued, and
/// what became of them.
static PREEMPTIONS: AtomicU64 = AtomicU64::new(0);
static MIGRATIONS: AtomicU64 = AtomicU64::new(0);
static MERGED: AtomicU64 = AtomicU64::new(0);
static UNACCOUNTED: AtomicU64 = AtomicU64::new(0);
/// vCPUs that preempt their tasks.
static PREEMPTING: AtomicU64 = AtomicU64::new(0);
static NO_ROOM: AtomicU64 = AtomicU64::new(0);

struct Plan {
    is_planted: bool,
    updates: u64,
    seed: u64,
}

/// `updates seed`; `planted` before them plants a switch that hands nothing over.
fn plan(payload: &[u8]) -> Result<Plan, Error> {
    let planted = payload.strip_prefix(b"planted ");
    let text = core::str::from_utf8(planted.unwrap_or(payload)).map_err(|_| Error::Payload)?;
    let (updates, seed) = text.split_once(' ').ok_or(Error::Payload)?;
    let number = |text: &str| super::number(text.as_bytes());
    Ok(Plan { is_planted: planted.is_some(), updates: number(updates)?, seed: number(seed)? })
}

/// Spawns the calling vCPU's workers, and lets all tasks run until every worker has ended.
fn work(_: &TaskContext, _: usize) {
    if run_workers().is_err() {
        NO_ROOM.fetch_add(1, SeqCst);
    }
    let (library, counts) = (Mmu::new(mmu::platform()), tasks::counts());
    let stats = library.stats();
    PREEMPTIONS.fetch_add(counts.preemptions, SeqCst);
    MIGRATIONS.fetch_add(counts.migrations, SeqCst);
    MERGED.fetch_add(stats.merged, SeqCst);
    UNACCOUNTED.fetch_add(stats.queued.abs_diff(stats.applied + stats.merged + stats.superseded), SeqCst);
}

fn run_workers() -> Result<(), tasks::NoRoom> {
    let me = current_vcpu().number() as usize;
    let seed = SEED.load(SeqCst) + me as u64;
    let mut own = [const { None }; WORKERS / MAX_VCPUS];
    for (n, task) in own.iter_mut().enumerate() {
        *task = Some(tasks::spawn_wandering(worker::worker, n * MAX_VCPUS + me)?);
    }
    tasks::preempt_at_random(TURNS, seed);
    // A vCPU without a timer would keep what it was given.
    PREEMPTING.fetch_add(1, SeqCst);
    while PREEMPTING.load(SeqCst) < MAX_VCPUS as u64 {
        smp::relax();
    }
    tasks::wander(Some(seed ^ u64::MAX));
    while ENDED.load(SeqCst) < WORKERS as u64 {
        tasks::yield_now();
    }
    tasks::wander(None);
    own.into_iter().flatten().for_each(tasks::join);
    tasks::preempt_every(0);
    Ok(())
}

/// Tells of each kind of wrong how often it is found where it is not, and where it has been planted.
fn tell_planted(reply: &mut Reply) {
    for (wrong, name) in Wrong::ALL {
        let (right, planted) = planted::found(wrong);
        // A reply takes everything.
        let _ = writeln!(reply, "{name}={right} {planted}");
    }
}

/// Soaks, and tells what was found; `ledger` for a payload: whether the ledger finds what it is for.
pub(crate) fn soak(context: &TaskContext, payload: &[u8], reply: &mut Reply) -> Result<(), Error> {
    if payload == b"ledger" {
        tell_planted(reply);
        return Ok(());
    }
    let plan = plan(payload)?;
    GOAL.store(plan.updates, SeqCst);
    SEED.store(plan.seed, SeqCst);
    let (table, data) = (mmu::pinned_table(context)?, take_page().ok_or(Error::NoPage)?);
    LEDGER.begin(table.frame(), data.frame());
    mmu::watch(ledger::watch);
    for (number, port) in PORTS.iter().enumerate() {
        port.try_call_once(|| events::bind_ipi(VcpuId::new(number as u32), worker::on_event))?;
    }
    if plan.is_planted {
        mmu::forget_the_switch();
    }
    smp::start(SECOND)?;
    smp::run(work, 0)?;
    work(context, 0);
    smp::wait();
    if NO_ROOM.load(SeqCst) > 0 {
        return Err(Error::NoRoom(tasks::NoRoom));
    }
    for entry in 0..ENTRIES_PER_TABLE {
        LEDGER.is_effective(entry, tables::read(LEDGER.slot(entry))?);
    }
    tell(reply)
}

fn tell(reply: &mut Reply) -> Result<(), Error> {
    super::version(reply)?;
    let (asked, issued) = (LEDGER.asked_in_all.load(SeqCst), LEDGER.issued_in_all.load(SeqCst));
    let (with_queue, left_behind) = mmu::switches_with_queue();
    answer!(
        reply,
        "updates" = asked,
        "regions" = REGIONS.load(SeqCst),
        "preemptions" = PREEMPTIONS.load(SeqCst),
        "preemptions_with_queue" = with_queue,
        "left_behind" = left_behind,
        "migrations" = MIGRATIONS.load(SeqCst),
        "interrupts" = INTERRUPTS.iter().map(|count| count.load(SeqCst)).sum::<u64>(),
        "merged" = MERGED.load(SeqCst),
        "refused" = LEDGER.refused.load(SeqCst),
        "reports" = mmu::counts().reports,
        "unaccounted" = UNACCOUNTED.load(SeqCst) + asked.abs_diff(issued + MERGED.load(SeqCst)),
    );
    for (wrong, name) in Wrong::ALL {
        let findings = LEDGER.findings(wrong);
        let [entry, expected, found] = [0, 1, 2].map(|at| findings.first[at].load(SeqCst));
        // A reply takes everything.
        let _ = writeln!(reply, "wrong {name} {} {entry} {expected} {found}", findings.count.load(SeqCst));
    }
    Ok(())
}
