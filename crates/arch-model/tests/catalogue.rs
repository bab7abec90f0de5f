//! The library's catalogue on every architecture, and where designs that were given up go wrong.

use std::sync::Arc;

use arch_model::{Design, Model, Outcome, Plant, bugs};
use guest_model::{Bounds, Profile, Program, Scenario, Step, catalogue};

use Step::{Enter, Leave, Set, Sleep};
use pv_mmu::arch::Preemption;

/// Deviations gone through in tests: `pvmmu explore --arch` goes further.
const DEVIATIONS: usize = 1;

fn nested(name: &'static str, programs: &[&[Step]]) -> Arc<Scenario> {
    let programs = programs.iter().map(|steps| Program::Fixed(steps.to_vec())).collect();
    Arc::new(Scenario::new(name, "", Profile::Nested, programs))
}

fn rule(outcome: &Outcome) -> Option<String> {
    outcome.found.as_ref().map(|(found, schedule, log)| format!("{found} {schedule}\n{}", log.join("\n")))
}

#[test]
fn the_library_is_clean_on_every_architecture() {
    for model in Model::ALL {
        let mut run = 0;
        for exhibit in catalogue() {
            let bound = if exhibit.scenario.name == "S60" { 0 } else { DEVIATIONS };
            let outcome = model.explore(Design::PvMmu, &exhibit.scenario, bound);
            assert_eq!(rule(&outcome), None, "{} on {}", exhibit.scenario.name, model.name());
            run += usize::from(outcome.applies);
        }
        assert!(run > 40, "{run} scenarios on {}", model.name());
    }
}

#[test]
fn each_bug_is_found_in_the_design_that_had_it_and_not_in_the_library() {
    for model in Model::ALL.iter().copied() {
        for bug in bugs() {
            let ours = model.explore(Design::PvMmu, &bug.scenario, 2);
            assert_eq!(rule(&ours), None, "{} on {}", bug.scenario.name, model.name());
            for design in bug.had_on(model) {
                let outcome = model.explore(design, &bug.scenario, 2);
                let (found, schedule, _) = outcome.found.unwrap_or_else(|| {
                    panic!("{} is not found in {} on {}", bug.scenario.name, design.name(), model.name())
                });
                println!("{} {} {}: {found} `{schedule}`", model.name(), bug.scenario.name, design.name());
                assert_eq!(found.rule, Some(bug.rule), "{found} {schedule}");
            }
        }
    }
}

/// Each judge finds what it is there for: the library broken on purpose, and a vCPU's mode for R7.
#[test]
fn every_judge_finds_what_is_planted_for_it() {
    let planted = |plant| Design::Planted(plant);
    let region: &[Step] = &[Enter, Set(0), Leave];
    let cases: [(Design, &[Step], &str); 7] = [
        (planted(Plant::KeepsAtLeave), region, "R2"),
        (planted(Plant::KeepsAtPause), &[Enter, Set(0), Step::Pause, Step::Resume, Leave], "R5"),
        (Design::VcpuMode, region, "R7"),
        (planted(Plant::NeverEnables), region, "R9"),
        (planted(Plant::Nests), &[Enter, Set(0), Step::Flush, Leave], "R9"),
        (planted(Plant::KeepsAtFlush), &[Enter, Set(0), Step::FlushTlb, Leave], "R12"),
        (planted(Plant::TellsNobody), &[Enter, Set(0), Step::Refused(0), Leave], "R14"),
    ];
    for model in [Model::Powerpc64, Model::Powerpc64Bulk, Model::Powerpc64Block, Model::Sparc64] {
        for (design, steps, expected) in cases {
            let outcome = model.explore(design, &nested(expected, &[steps, &[]]), 1);
            let rule = outcome.found.as_ref().and_then(|(found, ..)| found.rule).map(|rule| rule.to_string());
            assert_eq!(rule.as_deref(), Some(expected), "{design:?} on {}: {:?}", model.name(), outcome.found);
        }
    }
    let outcome = Model::Arm64.explore(planted(Plant::KeepsAtLeave), &nested("R2", &[region, &[]]), 1);
    assert!(outcome.found.is_some_and(|(found, ..)| found.rule.is_some_and(|rule| rule.to_string() == "R2")));
}

/// S26: where a region keeps preemption off, nobody comes in between, and outside anybody may.
#[test]
fn preemption_is_off_in_a_region_where_the_architecture_says_so() {
    let scenario = nested("S26", &[&[Enter, Set(0), Leave], &[Set(2)]]);
    for model in Model::ALL.iter().copied() {
        let outcome = model.explore(Design::PvMmu, &scenario, 1);
        assert_eq!(rule(&outcome), None);
        assert_eq!(outcome.refused_preemptions > 0, model.preemption() == Preemption::Disabled, "{}", model.name());
    }
}

/// S27: sleeping in a region is for those whose regions leave preemption on.
#[test]
fn sleeping_in_a_region_is_for_those_that_may() {
    let scenario = nested("S27", &[&[Enter, Set(0), Sleep, Set(1), Leave], &[Set(2)]]);
    for model in Model::ALL.iter().copied() {
        let outcome = model.explore(Design::PvMmu, &scenario, 1);
        assert_eq!(rule(&outcome), None);
        assert_eq!(outcome.sleeps > 0, model.preemption() == Preemption::Allowed, "{}", model.name());
    }
}

/// Every program of two operations for each of two tasks.
#[test]
fn every_short_program() {
    let scenario = Arc::new(guest_model::every_program(Profile::Nested, 2, Bounds::default()));
    for model in Model::ALL.iter().copied() {
        let outcome = model.explore(Design::PvMmu, &scenario, 1);
        assert_eq!(rule(&outcome), None, "{}", model.name());
        println!("{}: {} interleavings of every program of two operations", model.name(), outcome.schedules);
        assert!(outcome.schedules > 10_000, "{}", outcome.schedules);
    }
}
