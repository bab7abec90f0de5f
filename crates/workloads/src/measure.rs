//! One policy's cost of one workload.

use hypercall::{DomId, FlushScope, Level, MmuextOp, Operation, Pte, PteFlags, VaFlush, issue_operation};
use pv_mmu::Platform;

use crate::{
    Error, Gathered, Ground, Job, Timed, Workload,
    policy::{Policy, Visit, Way},
};

/// Times each is measured: whatever else happens on the machine comes in between now and then only.
const REPETITIONS: usize = 3;

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

/// What has been counted on a ground.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Hypercalls.
    pub hypercalls: u64,
    /// TLB flushes in them.
    pub tlb_flushes: u64,
}

/// The same kernel three times, one for each figure.
pub struct Grounds<'g, B, C, T> {
    /// With nothing on the way, for the cost.
    pub bare: &'g B,
    /// With an adapter that counts.
    pub counted: &'g C,
    /// What has been counted on that.
    pub count: &'g dyn Fn() -> Counted,
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
        let &Self { bare, timed, .. } = self;
        let longest = || timed.platform().take_longest();
        Ok(Cost {
            hypercalls: self.hypercalls(policy, workload)?,
            ticks: lowest(|| once(policy, workload, bare, || bare.ticks(), |before| bare.ticks() - before))?
                - lowest(|| Ok(empty(bare)))?,
            longest_masked: lowest(|| once(policy, workload, timed, longest, |_| longest()))?,
        })
    }

    fn hypercalls(&self, policy: Policy, workload: Workload) -> Result<u64, Error> {
        let &Self { counted, count, .. } = self;
        let (mut before, mut after) = (Counted::default(), Counted::default());
        once(policy, workload, counted, || before = count(), |()| after = count())?;
        if C::DOES && workload.flushes() && after.tlb_flushes == before.tlb_flushes {
            return Err(Error::NotFlushed);
        }
        Ok(after.hypercalls - before.hypercalls)
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
fn once<G: Ground, S, F>(
    policy: Policy,
    workload: Workload,
    ground: &G,
    before: impl FnOnce() -> S,
    after: impl FnOnce(S) -> F,
) -> Result<F, Error> {
    policy.visit(Once { workload, ground, before, after })
}

struct Once<'g, G, B, A> {
    workload: Workload,
    ground: &'g G,
    before: B,
    after: A,
}

impl<G: Ground, S, F, B: FnOnce() -> S, A: FnOnce(S) -> F> Visit<G> for Once<'_, G, B, A> {
    type Answer = Result<F, Error>;

    fn way<W: Way<G>>(self) -> Self::Answer {
        once_by::<W, G, S, F>(self.workload, self.ground, self.before, self.after)
    }
}

/// Lets a way do the work once, with a figure read before and after; what has come of it is checked.
///
/// # Errors
/// [`Error`]: it did not do all of the work, or has no way of doing it here.
pub fn once_by<W: Way<G>, G: Ground, S, F>(
    workload: Workload,
    ground: &G,
    before: impl FnOnce() -> S,
    after: impl FnOnce(S) -> F,
) -> Result<F, Error> {
    let job = Job::new(workload, ground)?;
    set_up(workload, ground)?;
    let mut gathered = Gathered::default();
    let mut way = W::prepare(&job, ground)?;
    let start = before();
    way.work(&job, ground, &mut gathered)?;
    let figure = after(start);
    way.finish(&job, ground, &mut gathered)?;
    if G::DOES {
        gathered.check(ground, workload)?;
        (0..workload.tables).try_for_each(|table| check(workload, ground, table))?;
    }
    (0..workload.tables).try_for_each(|table| take_down(workload, ground, table))?;
    Ok(figure)
}

/// Puts the tables into the state before the work.
fn set_up<G: Ground>(workload: Workload, ground: &G) -> Result<(), Error> {
    for table in 0..workload.tables {
        if workload.before(ground, table, 0).is_none() {
            continue;
        }
        for n in 0..workload.entries {
            let pte = workload.before(ground, table, n).unwrap_or_default();
            ground.store(workload.at(table, n), pte)?;
        }
        issue(ground, &remap(ground, table, PteFlags::NONE))?;
        issue(ground, &pin(ground, table))?;
    }
    Ok(())
}

/// Checks that a table is in the state after the work.
fn check<G: Ground>(workload: Workload, ground: &G, table: usize) -> Result<(), Error> {
    for n in 0..workload.entries {
        let Some(expected) = workload.after(ground, table, n) else { break };
        let at = workload.at(table, n);
        let held = ground.load(at)?;
        let same = if expected.is_none() { held.is_none() } else { held == expected };
        if !same {
            return Err(Error::Differs { at, held, expected });
        }
    }
    Ok(())
}

/// Makes an empty page of a table: a table is given up by its unpinning, which is refused if it is none, and a page is
/// stored to, which faults if it is one.
fn take_down<G: Ground>(workload: Workload, ground: &G, table: usize) -> Result<(), Error> {
    if workload.after(ground, table, 0).is_some() {
        issue(ground, &unpin(ground, table))?;
        issue(ground, &remap(ground, table, PteFlags::RW))?;
    }
    (0..workload.entries.max(1)).try_for_each(|n| ground.store(workload.at(table, n), Pte::EMPTY))
}

pub(crate) fn issue<G: Ground>(ground: &G, operation: &Operation) -> Result<(), Error> {
    Ok(ground.hypervisor(|hypervisor| issue_operation(hypervisor, operation))?)
}

/// An `mmuext_op` of the kernel's own.
pub(crate) const fn mmuext(op: MmuextOp) -> Operation {
    Operation::Mmuext { op, domain: DomId::SELF }
}

pub(crate) fn pin<G: Ground>(ground: &G, table: usize) -> Operation {
    mmuext(MmuextOp::Pin { level: Level::L1, table: ground.table(table) })
}

pub(crate) fn unpin<G: Ground>(ground: &G, table: usize) -> Operation {
    mmuext(MmuextOp::Unpin { table: ground.table(table) })
}

/// Maps a table's page with `right` to store or without, and drops what TLBs hold of the mapping.
pub(crate) fn remap<G: Ground>(ground: &G, table: usize, right: PteFlags) -> Operation {
    let pte = Pte::new(ground.table(table), PteFlags::PRESENT | PteFlags::ACCESSED_DIRTY | right);
    Operation::UpdateVaMapping { va: ground.address(table), pte, flush: VaFlush::Invlpg(FlushScope::All) }
}

/// What a switch loads: the base pointers it has already, and a stack.
pub(crate) fn switch_loads<G: Ground>(ground: &G) -> [Operation; 3] {
    let (table, (ss, sp)) = (ground.root(), stack(ground));
    let user = MmuextOp::NewUserBaseptr { table: hypercall::Mfn::new(0) };
    [mmuext(MmuextOp::NewBaseptr { table }), mmuext(user), Operation::StackSwitch { ss, sp }]
}

/// Selector and pointer of the stack that a switch loads. Nobody enters this kernel from user mode, so it is never used.
pub(crate) fn stack<G: Ground>(ground: &G) -> (u64, hypercall::VirtAddr) {
    (0xe02b, ground.address(0))
}
