//! Preemption of tasks in the middle of their arithmetic.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use hypercall::TaskContext;
use xen_guest::{current_vcpu, tasks, timer, upcalls};

use super::{answer, number, torture::torture};
use crate::{error::Error, reply::Reply};

const TASKS: usize = 3;
const TURN: u64 = 200_000;

static STOP: AtomicBool = AtomicBool::new(false);
static ROUNDS: [AtomicU64; TASKS] = [const { AtomicU64::new(0) }; TASKS];
static WRONG: AtomicU64 = AtomicU64::new(0);
/// What each task's arithmetic gives undisturbed.
static EXPECTED: [AtomicU64; TASKS] = [const { AtomicU64::new(0) }; TASKS];

fn task(_: &TaskContext, number: usize) {
    while !STOP.load(SeqCst) {
        let right = torture(number as u64) == EXPECTED[number].load(SeqCst);
        WRONG.fetch_add(u64::from(!right), SeqCst);
        ROUNDS[number].fetch_add(1, SeqCst);
    }
}

/// Runs tasks until there have been as many switches as the payload says, and sleeps a little.
pub(crate) fn tasks(_: &TaskContext, payload: &[u8], reply: &mut Reply) -> Result<(), Error> {
    let goal = number(payload)?;
    for (seed, expected) in EXPECTED.iter().enumerate() {
        expected.store(torture(seed as u64), SeqCst);
    }
    let spawned = [tasks::spawn(task, 0)?, tasks::spawn(task, 1)?, tasks::spawn(task, 2)?];
    tasks::preempt_every(TURN);
    while tasks::counts().switches < goal {
        tasks::yield_now();
    }
    STOP.store(true, SeqCst);
    spawned.into_iter().for_each(tasks::join);
    tasks::preempt_every(0);
    answer!(
        reply,
        "switches" = tasks::counts().switches,
        "upcalls" = upcalls(current_vcpu()),
        "rounds" = ROUNDS.iter().map(|rounds| rounds.load(SeqCst)).min().unwrap_or(0),
        "wrong" = WRONG.load(SeqCst),
    );
    sleep(reply);
    Ok(())
}

fn sleep(reply: &mut Reply) {
    const NAP: u64 = 1_000_000;
    let (start, before) = (timer::now(), timer::ticks(current_vcpu()));
    for nap in 1..=10 {
        timer::sleep_until(start + nap * NAP);
    }
    answer!(
        reply,
        "woken_by_the_timer" = timer::ticks(current_vcpu()) > before,
        "slept_long_enough" = timer::now() - start >= 10 * NAP,
    );
}
