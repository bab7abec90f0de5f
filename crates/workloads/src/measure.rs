//! One policy's cost of one workload.

use hypercall::{DomId, FlushScope, Level, MmuextOp, Operation, Pte, PteFlags, VaFlush, issue_operation};
use pv_mmu::Platform;

use crate::{
    Error, Gathered, Ground, Job, Timed, Workload,
    policy::{Linux, Policy, PvMmu, Raw, Single, Way},
};

/// Times each is measured: whatever else happens on the machine comes in between now and then only.
const REPETITIONS: usize = 5;

/// What a policy took for a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Hypercalls, traps not among them.
    pub hypercalls: u64,
    /// Ticks from the wish to its fulfilment; the lowest of several.
    pub ticks: u64,
    /// The longest stretch with upcalls masked, in ticks; the lowest of several.
    pub longest_masked: u64,
}

/// The same kernel three times, one for each figure.
pub struct Grounds<'g, B, C, T> {
    /// With nothing on the way, for the cost.
    pub bare: &'g B,
    /// With an adapter that counts.
    pub counted: &'g C,
    /// How many hypercalls have been made on that.
    pub hypercalls: &'g dyn Fn() -> u64,
    /// With [`Timed`] in front of its platform.
    pub timed: &'g T,
}

impl<'p, B, C, T, P> Grounds<'_, B, C, T>
where
    B: Ground,
    C: Ground,
    T: Ground<Platform = Timed<'p, P>>,
    P: Platform + 'p,
{
    /// Measures what `policy` takes for `workload`.
    ///
    /// # Errors
    /// [`Error`]: the policy did not do all of the work, or has no way of doing it here.
    pub fn measure(&self, policy: Policy, workload: Workload) -> Result<Cost, Error> {
        let &Self { bare, counted, hypercalls, timed } = self;
        let longest = || timed.platform().take_longest();
        Ok(Cost {
            hypercalls: once(policy, workload, counted, hypercalls, |before| hypercalls() - before)?,
            ticks: lowest(|| once(policy, workload, bare, || bare.ticks(), |before| bare.ticks() - before))?
                - lowest(|| Ok(empty(bare)))?,
            longest_masked: lowest(|| once(policy, workload, timed, longest, |_| longest()))?,
        })
    }
}

/// What nothing takes.
fn empty<G: Ground>(ground: &G) -> u64 {
    let before = ground.ticks();
    ground.ticks() - before
}

fn lowest(mut once: impl FnMut() -> Result<u64, Error>) -> Result<u64, Error> {
    (0..REPETITIONS).try_fold(u64::MAX, |lowest, _| Ok(lowest.min(once()?)))
}

/// Lets the policy do the work once, with a figure read before and after.
fn once<G: Ground>(
    policy: Policy,
    workload: Workload,
    ground: &G,
    before: impl FnOnce() -> u64,
    after: impl FnOnce(u64) -> u64,
) -> Result<u64, Error> {
    match policy {
        Policy::PvMmu => once_by::<PvMmu<G::Memory>, G>(workload, ground, before, after),
        Policy::Linux => once_by::<Linux, G>(workload, ground, before, after),
        Policy::Single => once_by::<Single, G>(workload, ground, before, after),
        Policy::Raw => once_by::<Raw, G>(workload, ground, before, after),
    }
}

pub(crate) fn once_by<W: Way<G>, G: Ground>(
    workload: Workload,
    ground: &G,
    before: impl FnOnce() -> u64,
    after: impl FnOnce(u64) -> u64,
) -> Result<u64, Error> {
    set_up(workload, ground)?;
    let mut gathered = Gathered::default();
    let job = Job::new(workload, ground);
    let mut way = W::prepare(&job, ground)?;
    let start = before();
    way.work(&job, ground, &mut gathered)?;
    let figure = after(start);
    way.finish(&job, ground, &mut gathered)?;
    gathered.check(ground, workload)?;
    take_down(workload, ground)?;
    Ok(figure)
}

/// Puts the table into the state before the work.
fn set_up<G: Ground>(workload: Workload, ground: &G) -> Result<(), Error> {
    let Some(_) = workload.before(ground, 0) else { return Ok(()) };
    for index in 0..workload.updates {
        ground.store(index, workload.before(ground, index).unwrap_or_default())?;
    }
    issue(ground, &remap(ground, PteFlags::NONE))?;
    issue(ground, &mmuext(MmuextOp::Pin { level: Level::L1, table: ground.table() }))
}

/// Checks that the table is in the state after the work, and makes an empty page of it: a table is given up
/// by its unpinning, which is refused if it is none, and a page is stored to, which faults if it is one.
fn take_down<G: Ground>(workload: Workload, ground: &G) -> Result<(), Error> {
    for index in 0..workload.updates {
        let Some(expected) = workload.after(ground, index) else { break };
        let held = ground.load(index)?;
        let same = if expected.is_none() { held.is_none() } else { held == expected };
        if !same {
            return Err(Error::Differs { index, held, expected });
        }
    }
    if workload.after(ground, 0).is_some() {
        issue(ground, &mmuext(MmuextOp::Unpin { table: ground.table() }))?;
        issue(ground, &remap(ground, PteFlags::RW))?;
    }
    (0..workload.updates).try_for_each(|index| ground.store(index, Pte::EMPTY))
}

fn issue<G: Ground>(ground: &G, operation: &Operation) -> Result<(), Error> {
    Ok(ground.hypervisor(|hypervisor| issue_operation(hypervisor, operation))?)
}

/// An `mmuext_op` of the kernel's own.
pub(crate) const fn mmuext(op: MmuextOp) -> Operation {
    Operation::Mmuext { op, domain: DomId::SELF }
}

/// Maps the table's page with `right` to store or without, and drops what TLBs hold of the mapping.
pub(crate) fn remap<G: Ground>(ground: &G, right: PteFlags) -> Operation {
    let pte = Pte::new(ground.table(), PteFlags::PRESENT | PteFlags::ACCESSED_DIRTY | right);
    Operation::UpdateVaMapping { va: ground.address(), pte, flush: VaFlush::Invlpg(FlushScope::All) }
}
