//! Every policy on the mock, and policies that do not do what they should.

use hypercall::{Hypervisor as _, MmuUpdate, Pte, PteFlags, PteSlot, Subject, issue_operation};
use std::vec::Vec;

use crate::{
    At, Cost, Error, Gathered, Ground, Job, Policy, Way, Wish, Workload,
    measure::{once_by, pin, remap, unpin},
    mock::{self, Count, Guest, Unit, kernel, library},
};

fn cost(policy: Policy, workload: Workload) -> Result<Cost, Error> {
    mock::measure(policy, workload, Unit::Hypercalls)
}

fn named(name: &str) -> Workload {
    Workload::named(name).unwrap()
}

#[test]
fn every_policy_does_all_of_every_workload() {
    for workload in Workload::ALL {
        for policy in Policy::ALL {
            let cost = cost(policy, workload).unwrap_or_else(|error| panic!("{workload:?} by {policy:?}: {error}"));
            assert_eq!(cost.hypercalls, cost.ticks, "{workload:?} by {policy:?}: calls are what the clock shows here");
        }
    }
}

#[test]
fn hypercalls_are_counted_and_not_assumed() {
    let life = ["zap-512", "wrprotect-512", "build-512", "retire-512", "rewrite-512"].map(named);
    let calls = |policy| life.map(|workload| cost(policy, workload).unwrap().hypercalls);
    // One array; the trapped atomics are none; a table made and filled by arrays of 31; and so on.
    assert_eq!(calls(Policy::Raw), [1, 1, 1, 1, 1]);
    assert_eq!(calls(Policy::Linux), [0, 0, 18, 1, 17]);
    assert_eq!(calls(Policy::Single), [512, 512, 514, 514, 512]);
    assert_eq!(calls(Policy::PvMmu), [1, 1, 1, 1, 2]);
    // A queue of updates alone hands over before whatever else there is.
    assert_eq!(calls(Policy::NetBsd), [512, 512, 3, 514, 1]);
    assert_eq!(calls(Policy::FreeBsd), [512, 512, 6, 514, 4]);
}

/// Ways that do not do what they should, by what they do.
trait Bad {
    fn work<G: Ground>(job: &Job, ground: &G, gathered: &mut Gathered) -> Result<(), Error>;
}

struct Planted<B>(std::marker::PhantomData<B>);

impl<B: Bad, G: Ground> Way<G> for Planted<B> {
    fn prepare(_: &Job, _: &G) -> Result<Self, Error> {
        Ok(Self(std::marker::PhantomData))
    }

    fn work(&mut self, job: &Job, ground: &G, gathered: &mut Gathered) -> Result<(), Error> {
        B::work(job, ground, gathered)
    }
}

fn planted<B: Bad>(workload: Workload) -> Result<u64, Error> {
    let (guest, count) = (Guest::new(), Count::default());
    let kernel = kernel(&guest, library(&guest, &count), &count, Unit::Hypercalls);
    once_by::<Planted<B>, _, _, _>(workload, &kernel, || 0, |before| before)
}

struct Nothing;

impl Bad for Nothing {
    fn work<G: Ground>(_: &Job, _: &G, _: &mut Gathered) -> Result<(), Error> {
        Ok(())
    }
}

#[test]
fn a_policy_that_does_nothing_has_no_cost() {
    for workload in Workload::ALL.into_iter().filter(|workload| workload.wish != Wish::Nothing) {
        assert!(planted::<Nothing>(workload).is_err(), "{workload:?}");
    }
}

/// Does all but the last entry.
struct AllButOne;

impl Bad for AllButOne {
    fn work<G: Ground>(job: &Job, ground: &G, _: &mut Gathered) -> Result<(), Error> {
        let update = |(index, pte): (usize, &Pte)| MmuUpdate::new(PteSlot::of(ground.table(0), index), *pte);
        let updates: Vec<_> = job.wanted().iter().enumerate().map(update).collect();
        Ok(ground.hypervisor(|hypervisor| hypervisor.mmu_update(&updates[1..], Subject::SELF)).result?)
    }
}

#[test]
fn an_entry_that_was_left_out_is_named() {
    let rewrite = Workload::ALL.into_iter().find(|workload| workload.wish == Wish::Rewrite).unwrap();
    let error = planted::<AllButOne>(rewrite).unwrap_err();
    assert!(matches!(error, Error::Differs { at: At { index: 0, .. }, .. }), "{error}");
}

/// Empties entries and forgets what they held.
struct Forgets;

impl Bad for Forgets {
    fn work<G: Ground>(job: &Job, ground: &G, gathered: &mut Gathered) -> Result<(), Error> {
        job.indices()
            .try_for_each(|index| ground.exchange(At { table: 0, index }, Pte::EMPTY).map(|_| gathered.add(Pte::EMPTY)))
    }
}

#[test]
fn what_entries_held_cannot_be_made_up() {
    let error = planted::<Forgets>(named("zap-512")).unwrap_err();
    assert_eq!(error, Error::Gathered { count: 512 });
}

/// Fills a page, and never makes it a table.
struct StaysAPage;

impl Bad for StaysAPage {
    fn work<G: Ground>(job: &Job, ground: &G, _: &mut Gathered) -> Result<(), Error> {
        job.wanted().iter().enumerate().try_for_each(|(index, pte)| ground.store(At { table: 0, index }, *pte))
    }
}

/// Gives a table up, and leaves the page read-only.
struct StaysReadOnly;

impl Bad for StaysReadOnly {
    fn work<G: Ground>(job: &Job, ground: &G, gathered: &mut Gathered) -> Result<(), Error> {
        job.indices().try_for_each(|index| ground.load(At { table: 0, index }).map(|pte| gathered.add(pte)))?;
        Ok(ground.hypervisor(|hypervisor| issue_operation(hypervisor, &unpin(ground, 0)))?)
    }
}

#[test]
fn a_table_is_one_and_a_page_is_one() {
    let by = |wish| Workload::ALL.into_iter().find(|workload| workload.wish == wish).unwrap();
    assert!(matches!(planted::<StaysAPage>(by(Wish::Build)), Err(Error::Refused(_))));
    assert_eq!(planted::<StaysReadOnly>(by(Wish::Retire)), Err(Error::Access { at: At { table: 0, index: 0 } }));
}

#[test]
fn a_refusal_is_an_error_and_no_cost() {
    let (guest, count) = (Guest::new(), Count::default());
    let kernel = kernel(&guest, library(&guest, &count), &count, Unit::Hypercalls);
    for operation in [remap(&kernel, 0, PteFlags::NONE), pin(&kernel, 0)] {
        kernel.hypervisor(|hypervisor| issue_operation(hypervisor, &operation)).unwrap();
    }
    // The page that a workload starts from is a table already.
    let error = once_by::<Planted<Nothing>, _, _, _>(named("zap-512"), &kernel, || 0, |before| before).unwrap_err();
    assert!(matches!(error, Error::Refused(_) | Error::Access { .. }), "{error}");
}

/// Does everything but flush the TLBs.
struct KeepsStale;

impl Bad for KeepsStale {
    fn work<G: Ground>(job: &Job, ground: &G, gathered: &mut Gathered) -> Result<(), Error> {
        job.indices()
            .try_for_each(|index| ground.exchange(At { table: 0, index }, Pte::EMPTY).map(|pte| gathered.add(pte)))
    }
}

#[test]
fn a_workload_that_does_not_fit_is_refused() {
    for workload in [
        Workload { entries: 513, ..named("fill-512") },
        Workload { stride: 9, ..named("sparse") },
        Workload { tables: 201, ..named("fill-1") },
    ] {
        let error = planted::<Nothing>(workload).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }
}

#[test]
fn a_flush_that_is_left_out_is_seen() {
    let (guest, count) = (Guest::new(), Count::default());
    let kernel = kernel(&guest, library(&guest, &count), &count, Unit::Hypercalls);
    let flushes = |workload| {
        let before = count.get().tlb_flushes;
        once_by::<Planted<KeepsStale>, _, _, _>(workload, &kernel, || (), |()| count.get().tlb_flushes - before)
    };
    // Such a count is what `measure` refuses.
    assert_eq!(flushes(named("munmap-tlb")), Ok(0));
}
