//! What the workers and the interrupt handlers do.
//!
//! A worker is a task that may find itself on another vCPU between any two steps. It works in regions of random length
//! on entries of its own, and looks at what came of them wherever the rules say that all of it is effective: behind a
//! leave, a flush, and what is asked for during a pause.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use fastrand::Rng;
use hypercall::{InterruptContext, MmuextOp, TaskContext};
use pv_mmu::{Mmu, Operations as _, Region, TaskState};
use spin::Once;
use xen_guest::events::Port;
use xen_guest::memory::tables;
use xen_guest::{MAX_VCPUS, current_vcpu};

use super::ledger::{LEDGER, OWNED, OWNERS};
use crate::mmu::{self, Platform};

pub(super) const WORKERS: usize = OWNERS - MAX_VCPUS;
/// Steps of a region, at most: no more than a ledger can tell apart if all are of one entry.
const STEPS: u64 = 250;
/// Turns of an empty loop in which nothing but an interruption can happen, at most.
const WAIT: u64 = 40_000;

/// Of as many updates one at least is queued by a task that is preempted before it is handed over. A third to a half of
/// all preemptions find something queued.
const UPDATES_PER_SWITCH: u64 = 150;

/// By which each vCPU is interrupted.
pub(super) static PORTS: [Once<Port>; MAX_VCPUS] = [const { Once::new() }; MAX_VCPUS];
/// Updates after which the workers end, and what they do follows from.
pub(super) static GOAL: AtomicU64 = AtomicU64::new(0);
pub(super) static SEED: AtomicU64 = AtomicU64::new(0);

pub(super) static REGIONS: AtomicU64 = AtomicU64::new(0);
pub(super) static INTERRUPTS: [AtomicU64; MAX_VCPUS] = [const { AtomicU64::new(0) }; MAX_VCPUS];
pub(super) static ENDED: AtomicU64 = AtomicU64::new(0);

/// Everything `owner` has asked for has to be effective.
fn settle(owner: usize) {
    for entry in owner * OWNED..(owner + 1) * OWNED {
        settle_entry(entry);
    }
    LEDGER.flush_is_effective(owner);
}

fn settle_entry(entry: usize) {
    // A table of the pool is mapped: what cannot be read is reported as an entry that differs.
    LEDGER.is_effective(entry, tables::read(LEDGER.slot(entry)).unwrap_or_default());
}

/// A handler's writes are effective before it goes on (R6), whatever it has interrupted.
pub(super) fn on_event(context: &InterruptContext) {
    let vcpu = current_vcpu().number() as usize;
    let count = INTERRUPTS[vcpu].fetch_add(1, SeqCst) as usize;
    let entry = (WORKERS + vcpu) * OWNED + count % OWNED;
    let pte = LEDGER.ask(entry);
    // A refusal is in the ledger's count.
    let _ = Mmu::new(mmu::platform()).interrupt(context).set_pte(LEDGER.slot(entry), pte);
    settle_entry(entry);
}

/// How long it takes is the machine's affair; that tasks have been preempted with something queued is not.
fn is_enough() -> bool {
    let goal = GOAL.load(SeqCst);
    LEDGER.asked_in_all.load(SeqCst) >= goal && mmu::switches_with_queue().0 >= goal / UPDATES_PER_SWITCH
}

pub(super) fn worker(context: &TaskContext, owner: usize) {
    let mut worker = Worker { owner, random: Rng::with_seed(SEED.load(SeqCst) ^ (owner as u64 + 1) << 32) };
    let mut task = TaskState::new();
    while !is_enough() {
        let mut region = Mmu::new(mmu::platform()).enter(&mut task, context);
        (0..=worker.random.u64(..STEPS)).for_each(|_| worker.step(&mut region));
        // Refusals are in the ledger's count, with those that nobody is told of.
        let _ = region.leave();
        settle(owner);
        REGIONS.fetch_add(1, SeqCst);
    }
    ENDED.fetch_add(1, SeqCst);
}

struct Worker {
    owner: usize,
    random: Rng,
}

impl Worker {
    fn entry(&mut self) -> usize {
        self.owner * OWNED + self.random.usize(..OWNED)
    }

    fn step(&mut self, region: &mut Region<'_, Platform>) {
        let entry = self.entry();
        match self.random.u8(..) {
            0..2 => {
                region.flush();
                settle(self.owner);
            }
            2 => {
                let mut pause = region.pause();
                // As in `worker`.
                let _ = pause.set_pte(LEDGER.slot(entry), LEDGER.ask(entry));
                settle_entry(entry);
            }
            3..7 => self.flush_tlb(region),
            7..9 => self.interrupt(),
            9..25 => LEDGER.is_read(entry, region.read_pte(LEDGER.slot(entry))),
            25..29 => region.commit_pte(LEDGER.slot(entry), LEDGER.ask(entry)),
            29..45 => (0..self.random.u64(..WAIT)).for_each(|turn| {
                core::hint::black_box(turn);
            }),
            _ => region.set_pte(LEDGER.slot(entry), LEDGER.ask(entry)),
        }
    }

    fn flush_tlb(&self, region: &mut Region<'_, Platform>) {
        if let Some(address) = LEDGER.ask_flush(self.owner) {
            region.mmuext(MmuextOp::InvlpgLocal { address });
        }
    }

    fn interrupt(&mut self) {
        let vcpu = self.random.usize(..MAX_VCPUS);
        if let Some(port) = PORTS[vcpu].get() {
            port.send();
        }
    }
}
