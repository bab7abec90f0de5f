//! What kernels with other batchers do for a wish: the same callers for all of them.
//!
//! A peer is what such a caller finds below it. What its kernel's own code takes on the way there is not simulated, to
//! the peer's advantage; what its batcher keeps and decides is.

use hypercall::{MmuUpdate, MmuextOp, Operation, Pte, PteFlags, PteSlot, UpdateCommand};

use super::Way;
use crate::{
    Error, Gathered, Ground, Job, Wish,
    ground::At,
    measure::{mmuext, pin, remap, switch_loads, unpin},
};

/// A batcher.
pub(crate) trait Peer<G: Ground>: Sized {
    /// With nothing queued.
    fn new() -> Self;

    /// An update in a region.
    fn update(&mut self, ground: &G, update: MmuUpdate) -> Result<(), Error>;

    /// An update outside any region.
    fn update_now(&mut self, ground: &G, update: MmuUpdate) -> Result<(), Error>;

    /// Empties an entry at once.
    fn empty(&mut self, ground: &G, at: At) -> Result<Pte, Error>;

    /// Takes from an entry the right to store.
    fn write_protect(&mut self, ground: &G, at: At) -> Result<(), Error>;

    /// Anything else, which may wait.
    fn other(&mut self, ground: &G, operation: &Operation) -> Result<(), Error>;

    /// The region ends, or what waits may wait no longer.
    fn flush(&mut self, ground: &G) -> Result<(), Error>;

    /// The task is about to be switched away from, whatever region it is in.
    fn switch_begins(&mut self, ground: &G) -> Result<(), Error>;

    /// The remapping of a page that becomes a table, or stops being one: with a TLB flush, or without one.
    fn remap(ground: &G, table: usize, right: PteFlags) -> Operation {
        remap(ground, table, right)
    }
}

/// A kernel on a batcher.
pub(crate) struct Played<P>(P);

impl<G: Ground, P: Peer<G>> Way<G> for Played<P> {
    fn prepare(_: &Job, _: &G) -> Result<Self, Error> {
        Ok(Self(P::new()))
    }

    fn work(&mut self, job: &Job, ground: &G, gathered: &mut Gathered) -> Result<(), Error> {
        let Self(peer) = self;
        match job.workload.wish {
            Wish::Nothing => peer.flush(ground),
            Wish::Fill | Wish::FillRange | Wish::Rewrite => set_all(peer, job, ground),
            Wish::Outside => outside(peer, job, ground),
            Wish::Switch => switch(peer, job, ground),
            Wish::Zap => empty(peer, job, ground, gathered),
            Wish::ZapFlush => {
                empty(peer, job, ground, gathered)?;
                flush_tlbs(peer, ground)
            }
            Wish::WriteProtect => write_protect(peer, job, ground),
            Wish::Protect => protect(peer, job, ground),
            Wish::Move => move_all(peer, job, ground, gathered),
            Wish::Cow => copy_on_write(peer, job, ground, gathered),
            Wish::Fork => fork(peer, job, ground),
            Wish::Build => {
                into_table(peer, ground, 0)?;
                peer.flush(ground)?;
                set_all(peer, job, ground)
            }
            Wish::Pin => {
                (0..job.workload.tables).try_for_each(|table| into_table(peer, ground, table))?;
                peer.flush(ground)
            }
            Wish::Retire => {
                empty(peer, job, ground, gathered)?;
                peer.other(ground, &unpin(ground, 0))?;
                peer.other(ground, &P::remap(ground, 0, PteFlags::RW))?;
                peer.flush(ground)
            }
        }
    }
}

fn set_table<G: Ground, P: Peer<G>>(peer: &mut P, job: &Job, ground: &G, table: usize) -> Result<(), Error> {
    let frame = ground.table(table);
    let mut all = job.indices().zip(job.wanted());
    all.try_for_each(|(index, pte)| peer.update(ground, MmuUpdate::new(PteSlot::of(frame, index), *pte)))
}

fn set_all<G: Ground, P: Peer<G>>(peer: &mut P, job: &Job, ground: &G) -> Result<(), Error> {
    (0..job.workload.tables).try_for_each(|table| set_table(peer, job, ground, table))?;
    peer.flush(ground)
}

fn outside<G: Ground, P: Peer<G>>(peer: &mut P, job: &Job, ground: &G) -> Result<(), Error> {
    let frame = ground.table(0);
    let mut all = job.indices().zip(job.wanted());
    all.try_for_each(|(index, pte)| peer.update_now(ground, MmuUpdate::new(PteSlot::of(frame, index), *pte)))
}

fn switch<G: Ground, P: Peer<G>>(peer: &mut P, job: &Job, ground: &G) -> Result<(), Error> {
    set_table(peer, job, ground, 0)?;
    peer.switch_begins(ground)?;
    switch_loads(ground).iter().try_for_each(|load| peer.other(ground, load))?;
    peer.flush(ground)?;
    // The task is back, and leaves.
    peer.flush(ground)
}

fn empty<G: Ground, P: Peer<G>>(peer: &mut P, job: &Job, ground: &G, gathered: &mut Gathered) -> Result<(), Error> {
    job.indices().try_for_each(|index| {
        gathered.add(peer.empty(ground, At { table: 0, index })?);
        Ok(())
    })
}

fn write_protect<G: Ground, P: Peer<G>>(peer: &mut P, job: &Job, ground: &G) -> Result<(), Error> {
    job.indices().try_for_each(|index| peer.write_protect(ground, At { table: 0, index }))
}

fn flush_tlbs<G: Ground, P: Peer<G>>(peer: &mut P, ground: &G) -> Result<(), Error> {
    peer.other(ground, &mmuext(MmuextOp::TlbFlushAll))?;
    peer.flush(ground)
}

/// A region for each table, and an update that keeps what the hardware notes.
fn protect<G: Ground, P: Peer<G>>(peer: &mut P, job: &Job, ground: &G) -> Result<(), Error> {
    for table in 0..job.workload.tables {
        let frame = ground.table(table);
        for (index, pte) in job.indices().zip(job.wanted()) {
            let held = ground.load(At { table, index })?;
            let protected = pte.with_flags(held.flags().without(PteFlags::RW));
            let slot = PteSlot::of(frame, index).with_command(UpdateCommand::PreserveAd);
            peer.update(ground, MmuUpdate::new(slot, protected))?;
        }
        peer.flush(ground)?;
    }
    flush_tlbs(peer, ground)
}

fn move_all<G: Ground, P: Peer<G>>(peer: &mut P, job: &Job, ground: &G, gathered: &mut Gathered) -> Result<(), Error> {
    let frame = ground.table(1);
    for index in job.indices() {
        let held = peer.empty(ground, At { table: 0, index })?;
        gathered.add(held);
        peer.update(ground, MmuUpdate::new(PteSlot::of(frame, index), held))?;
    }
    peer.flush(ground)?;
    flush_tlbs(peer, ground)
}

fn copy_on_write<G: Ground, P: Peer<G>>(
    peer: &mut P,
    job: &Job,
    ground: &G,
    gathered: &mut Gathered,
) -> Result<(), Error> {
    let frame = ground.table(0);
    for (index, pte) in job.indices().zip(job.wanted()) {
        gathered.add(peer.empty(ground, At { table: 0, index })?);
        peer.other(ground, &mmuext(MmuextOp::InvlpgAll { address: ground.address(0) }))?;
        peer.flush(ground)?;
        peer.update_now(ground, MmuUpdate::new(PteSlot::of(frame, index), *pte))?;
    }
    Ok(())
}

/// The child's table is a page until it is whole.
fn fork<G: Ground, P: Peer<G>>(peer: &mut P, job: &Job, ground: &G) -> Result<(), Error> {
    for (index, pte) in job.indices().zip(job.wanted()) {
        peer.write_protect(ground, At { table: 0, index })?;
        ground.store(At { table: 1, index }, *pte)?;
    }
    peer.flush(ground)?;
    into_table(peer, ground, 1)?;
    peer.flush(ground)
}

fn into_table<G: Ground, P: Peer<G>>(peer: &mut P, ground: &G, table: usize) -> Result<(), Error> {
    peer.other(ground, &P::remap(ground, table, PteFlags::NONE))?;
    peer.other(ground, &pin(ground, table))
}
