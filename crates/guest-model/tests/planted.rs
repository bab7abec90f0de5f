//! Each rule has a fault in the library that breaks it, and the explorer finds it.

use std::{collections::BTreeSet, sync::Arc};

use guest_model::{Bounds, Handler, Policy, Profile, Program, Scenario, Step};
use mock_xen::referee::Rule;
use pv_mmu::Fault;

use Step::{Clear, Count, Enter, FlushTlb, Leave, Offline, Pause, Range, Read, Refused, Resume, Set, Unpin, Unset};

/// A fault, the rules by which it may be found, and a scenario in which it shows.
type Plant = (Fault, &'static [Rule], Scenario);

fn scenario(programs: &[&[Step]]) -> Scenario {
    let programs = programs.iter().map(|steps| Program::Fixed(steps.to_vec())).collect();
    Scenario::new("planted", "a rule is broken", Profile::Strict, programs)
}

fn handled(handler: Handler, programs: &[&[Step]]) -> Scenario {
    Scenario { handlers: vec![handler], ..scenario(programs) }
}

fn plants() -> Vec<Plant> {
    let region: &[Step] = &[Enter, Set(0), Leave];
    let two: &[Step] = &[Enter, Set(0), Set(1), Leave];
    let across: &[Step] = &[Enter, Set(0), Unpin(1), Unset(0), Leave];
    let leaves = Bounds { preemptions: 0, migrations: 0, ..Bounds::default() };
    vec![
        (Fault::OutsideWaits, &[Rule::R1], scenario(&[&[Set(0)]])),
        (Fault::LeaveKeeps, &[Rule::R2], scenario(&[region])),
        (Fault::JoinsAcross, &[Rule::R3, Rule::R12], scenario(&[&[Enter, Set(0), FlushTlb, Unset(0), Leave]])),
        (Fault::JoinsAcross, &[Rule::R3], Scenario { switch_loads: true, ..scenario(&[across, &[]]) }),
        (Fault::StrictNests, &[Rule::R4], scenario(&[&[Enter, Enter, Leave]])),
        (Fault::PauseKeeps, &[Rule::R5], scenario(&[&[Enter, Set(0), Pause, Resume, Leave]])),
        (Fault::HandlerWaits, &[Rule::R6], handled(Handler::Set(0), &[region])),
        (Fault::SwitchKeeps, &[Rule::R7], scenario(&[region, &[]])),
        // What was never asked for twice is nobody's, so no switch misses it; a vCPU that goes offline has it still.
        (Fault::SwitchLeavesOne, &[Rule::R8], Scenario { bounds: leaves, ..scenario(&[two, &[Offline(0)]]) }),
        (Fault::DividedStep, &[Rule::R9], scenario(&[region, &[Set(1)]])),
        (Fault::PendingOverlooked, &[Rule::R10], scenario(&[&[Enter, Set(0), Clear(0), Leave]])),
        (Fault::ReadsMemory, &[Rule::R11], scenario(&[&[Enter, Set(0), Read(0), Leave]])),
        (Fault::FlushDropped, &[Rule::R12], scenario(&[&[Enter, Set(0), FlushTlb, Set(1), FlushTlb, Leave]])),
        (Fault::OthersStay, &[Rule::R12], Scenario { switch_loads: true, ..scenario(&[&[], &[Unpin(0)], &[Set(0)]]) }),
        (Fault::BatchTwice, &[Rule::R13], scenario(&[&[Enter, Set(0), FlushTlb, Leave]])),
        (Fault::CapacityRepeats, &[Rule::R13], scenario(&[&[Enter, Range(3), Leave]])),
        (Fault::RefusalForgotten, &[Rule::R14], scenario(&[&[Enter, Refused(0), Leave]])),
        (Fault::CallbacksForgotten, &[Rule::R14], scenario(&[&[Step::Walk(2)]])),
        (Fault::RangeUndivided, &[Rule::R15], scenario(&[&[Enter, Range(16), Leave]])),
        (Fault::OutsideLooks, &[Rule::R16], scenario(&[&[Set(0)]])),
        (Fault::JoinUncounted, &[Rule::R17], scenario(&[&[Enter, Set(0), Set(0), Set(0), Leave]])),
        (Fault::CountingEmpties, &[Rule::R18], scenario(&[&[Enter, Set(0), Count(false), Leave]])),
    ]
}

fn planted(fault: Option<Fault>, scenario: &Scenario) -> Arc<Scenario> {
    Arc::new(Scenario { planted: fault, ..scenario.clone() })
}

#[test]
fn every_planted_fault_is_found_and_its_scenario_is_clean_without_it() {
    let (mut missed, mut rules_found) = (Vec::new(), BTreeSet::new());
    for (fault, rules, scenario) in plants() {
        let clean = Policy::PvMmu.explore(&planted(None, &scenario), |_| true);
        assert!(clean.fault.is_none() && clean.complete, "{fault:?} without it: {:?}", clean.fault);
        match Policy::PvMmu.explore(&planted(Some(fault), &scenario), |_| true).fault {
            Some(found) if found.found.rule().is_some_and(|rule| rules.contains(&rule)) => {
                println!("{fault:?}: {} by {}", found.found.rule().expect("a rule"), found.schedule);
                rules_found.extend(found.found.rule().map(Rule::number));
            }
            other => missed.push((fault, other.map(|fault| fault.found))),
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
    assert!((1..=18).eq(rules_found.iter().copied()), "a rule has no finding of its own: {rules_found:?}");
}

#[test]
fn no_fault_is_without_a_scenario() {
    let shown: Vec<Fault> = plants().into_iter().map(|(fault, ..)| fault).collect();
    assert!(Fault::ALL.iter().all(|fault| shown.contains(fault)), "{shown:?}");
}
