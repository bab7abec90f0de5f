//! Everything in the catalogue: clean and complete on this library, and each bug found in the design that
//! had it.

use std::collections::BTreeSet;
use std::sync::Arc;

use guest_model::{Bounds, Choice, Exhibit, Policy, Profile, Program, Scenario, Step, catalogue, every_program};

fn explore(policy: Policy, exhibit: &Exhibit) -> guest_model::Outcome {
    policy.explore(&exhibit.scenario, |_| true)
}

/// S17 to S59, the bugs' programs, and the rules that have none of their own among them.
#[test]
fn this_library_is_clean_on_every_way() {
    let mut choices = Choice::KINDS.map(|kind| (kind, 0));
    for exhibit in catalogue() {
        let name = exhibit.scenario.name;
        let outcome = explore(Policy::PvMmu, &exhibit);
        assert!(outcome.fault.is_none(), "{name}: {:?}", outcome.fault);
        assert!(outcome.complete && outcome.seen.states > 0, "{name}: {:?}", outcome.seen);
        choices.iter_mut().zip(outcome.seen.choices.iter()).for_each(|(sum, (_, taken))| sum.1 += taken);
    }
    // A way spreads out once, in its beginning.
    assert!(
        choices.iter().all(|(kind, taken)| *kind == "spread" || *taken > 1000),
        "a kind of choice was hardly taken: {choices:?}"
    );
}

/// Every bug and every scenario that is about interleaving is looked at. B4, B8 and B9 are other architectures'; S59, that a
/// seed fixes its ways, is a test below.
#[test]
fn nothing_that_interleaves_is_left_out() {
    let names: Vec<&str> = catalogue().iter().map(|exhibit| exhibit.scenario.name).collect();
    let bugs = [1, 2, 3, 5, 6, 7, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20].map(|n| format!("B{n}"));
    let scenarios = (17..=25).chain(29..=33).chain(38..=42).chain([49, 54, 57, 60]).map(|n| format!("S{n}"));
    let all = bugs.into_iter().chain(["B13a".into(), "B13b".into()]).chain(scenarios);
    let missing: Vec<String> = all.filter(|name| !names.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(catalogue().iter().all(|exhibit| !exhibit.scenario.name.starts_with('B') || exhibit.had.is_some()));
}

/// Fewer states than these would mean that something is not looked at any more.
#[test]
fn what_matters_has_its_states() {
    let least = [("S17", 5_000), ("S20", 5_000), ("S22", 9_000), ("S30", 13_000), ("S41", 5_000), ("S49", 30_000)];
    for (name, states) in least {
        let exhibit = catalogue().into_iter().find(|exhibit| exhibit.scenario.name == name).expect("in the catalogue");
        let seen = explore(Policy::PvMmu, &exhibit).seen;
        assert!(seen.states >= states, "{name}: {} states, and {states} expected at least", seen.states);
    }
}

#[test]
fn each_bug_is_found_in_the_design_that_had_it() {
    for exhibit in catalogue() {
        let Some((policy, rule)) = exhibit.had else { continue };
        let name = exhibit.scenario.name;
        let fault = explore(policy, &exhibit).fault.unwrap_or_else(|| panic!("{name} is not found in {policy:?}"));
        assert_eq!(fault.found.rule(), Some(rule), "{name}: {}", fault.found);
        let again = policy.replay(&exhibit.scenario, &fault.schedule).expect("the schedule fits");
        assert_eq!(again, (Some(fault.found), fault.moments), "{name} does not repeat itself");
    }
}

/// B13a and B13b as they were reported: one preemption, between the count and the mode.
#[test]
fn the_regression_of_linux_7_0_takes_one_preemption() {
    for (name, what, at) in
        [("B13a", "in a lazy mode already", "count up"), ("B13b", "not in the lazy mode", "count down")]
    {
        let exhibit = catalogue().into_iter().find(|exhibit| exhibit.scenario.name == name).expect("in the catalogue");
        let fault = explore(Policy::Linux70, &exhibit).fault.expect("found");
        assert!(fault.found.to_string().contains(what), "{}", fault.found);
        assert_eq!(fault.schedule.len(), 1, "{}", fault.schedule);
        let switch = fault.moments.iter().position(|moment| moment.text.starts_with("switches")).expect("a preemption");
        assert!(fault.moments[switch - 1].text.contains(at), "{:?}", fault.moments[switch - 1]);
    }
}

/// The part of S60 that gates every change: every program of three operations for each of two tasks, with
/// one thing that happens to them; under both rules of nesting.
#[test]
fn every_program_of_three_operations() {
    let bounds = Bounds { deviations: 1, ..Bounds::default() };
    for (profile, least) in [(Profile::Strict, 20_000), (Profile::Nested, 20_000)] {
        let scenario = Arc::new(every_program(profile, 3, bounds));
        let programs: u64 = scenario.programs.iter().map(guest_model::Program::count).product();
        assert_eq!(programs, 259 * 259);
        let outcome = Policy::PvMmu.explore(&scenario, |_| true);
        assert!(outcome.complete && outcome.fault.is_none(), "{:?}", outcome.fault);
        assert!(outcome.seen.states >= least, "{profile:?}: {:?}", outcome.seen);
        println!("{profile:?}: {programs} programs, {} states", outcome.seen.states);
    }
}

/// S21 at length: two regions of 500 operations each, on ways that nobody could list.
#[test]
fn a_thousand_operations_of_two_tasks() {
    let region = |entries: [u8; 2]| {
        let sets = (0..500).map(|n| if n % 3 == 0 { Step::Unset(entries[n % 2]) } else { Step::Set(entries[n % 2]) });
        Program::Fixed([Step::Enter].into_iter().chain(sets).chain([Step::Leave]).collect())
    };
    let programs = vec![region([0, 1]), region([2, 3])];
    let scenario = Arc::new(Scenario::new("S21", "two long regions take turns", Profile::Strict, programs));
    let outcome = Policy::PvMmu.sample(&scenario, 21, 600, |_| true);
    assert!(outcome.fault.is_none(), "{:?}", outcome.fault.map(|fault| fault.found));
    assert!(outcome.seen.choices.of("preempt") > 1000, "{:?}", outcome.seen);
}

/// S59: one seed, one way.
#[test]
fn a_seed_fixes_its_ways() {
    let exhibit = catalogue().into_iter().find(|exhibit| exhibit.scenario.name == "S30").expect("in the catalogue");
    let sample = |seed| Policy::PvMmu.sample(&exhibit.scenario, seed, 500, |_| true);
    assert_eq!(sample(7), sample(7));
    assert_ne!(sample(7).seen, sample(8).seen);
    assert!(sample(7).fault.is_none());
}

/// The same fault at random, by a way that repeats itself.
#[test]
fn what_is_found_at_random_repeats_itself() {
    let exhibit = catalogue().into_iter().find(|exhibit| exhibit.scenario.name == "B13a").expect("in the catalogue");
    let fault = Policy::Linux70.sample(&exhibit.scenario, 1, 100_000, |_| true).fault.expect("found");
    let (found, moments) = Policy::Linux70.replay(&exhibit.scenario, &fault.schedule).expect("the schedule fits");
    assert_eq!((found, moments), (Some(fault.found), fault.moments));
}

/// What a part of S60 finds is a way through S60; its programs are those of all parts, each in one.
#[test]
fn a_fault_of_a_part_is_one_of_the_whole() {
    let bounds = Bounds { deviations: 1, ..Bounds::default() };
    let whole = Arc::new(every_program(Profile::Nested, 2, bounds));
    let parts = whole.parts();
    let names: BTreeSet<_> = parts.iter().filter_map(Scenario::part).collect();
    assert_eq!((parts.len(), names.len(), whole.part()), (36, 36, None));
    let counts = parts.iter().filter_map(Scenario::program_counts);
    let sum = counts.fold((0, 0), |sum, counts| (sum.0 + counts.0, sum.1 + counts.1));
    assert_eq!(Some(sum), whole.program_counts());

    let explored = parts.into_iter().map(|part| Policy::Linux70.explore(&Arc::new(part), |_| true));
    let (found, clean): (Vec<_>, Vec<_>) = explored.partition(|outcome| outcome.fault.is_some());
    assert!(found.len() > 30 && !clean.is_empty(), "{} found, {} clean", found.len(), clean.len());
    for fault in found.into_iter().filter_map(|outcome| outcome.fault) {
        let again = Policy::Linux70.replay(&whole, &fault.schedule).expect("the schedule fits");
        assert_eq!(again, (Some(fault.found), fault.moments));
    }
}
