//! Each rule has a fault in the library that breaks it, and the explorer finds it.

use std::sync::Arc;

use guest_model::{Bounds, Handler, Policy, Profile, Program, Scenario, Step};
use mock_xen::referee::Rule;
use pv_mmu::Fault;

use Step::{Clear, Count, Enter, FlushTlb, Leave, Pause, Range, Read, Refused, Resume, Set, Unpin, Unset};

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
    let moves = Bounds { preemptions: 0, hypervisor: 0, ..Bounds::default() };
    vec![
        (Fault::OutsideWaits, &[Rule::R1], scenario(&[&[Set(0)]])),
        (Fault::LeaveKeeps, &[Rule::R2], scenario(&[region])),
        (Fault::JoinsAcross, &[Rule::R3, Rule::R12], scenario(&[&[Enter, Set(0), FlushTlb, Unset(0), Leave]])),
        (Fault::StrictNests, &[Rule::R4], scenario(&[&[Enter, Enter, Leave]])),
        (Fault::PauseKeeps, &[Rule::R5], scenario(&[&[Enter, Set(0), Pause, Resume, Leave]])),
        (Fault::HandlerWaits, &[Rule::R6], handled(Handler::Set(0), &[region])),
        (Fault::SwitchKeeps, &[Rule::R7], scenario(&[region, &[]])),
        // Whoever moves is switched away from first, so what he leaves behind is found there.
        (Fault::SwitchKeeps, &[Rule::R7, Rule::R8], Scenario { bounds: moves, ..scenario(&[region]) }),
        (Fault::DividedStep, &[Rule::R9, Rule::R13, Rule::R2], scenario(&[region, &[Set(1)]])),
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
        (Fault::CountingEmpties, &[Rule::R2, Rule::R17], scenario(&[&[Enter, Set(0), Count(false), Leave]])),
    ]
}

fn planted(fault: Option<Fault>, scenario: &Scenario) -> Arc<Scenario> {
    Arc::new(Scenario { planted: fault, ..scenario.clone() })
}

#[test]
fn every_planted_fault_is_found_and_its_scenario_is_clean_without_it() {
    let mut missed = Vec::new();
    for (fault, rules, scenario) in plants() {
        let clean = Policy::PvMmu.explore(&planted(None, &scenario), |_| true);
        assert!(clean.fault.is_none() && clean.complete, "{fault:?} without it: {:?}", clean.fault);
        match Policy::PvMmu.explore(&planted(Some(fault), &scenario), |_| true).fault {
            Some(found) if found.found.rule().is_some_and(|rule| rules.contains(&rule)) => {
                println!("{fault:?}: {} by {}", found.found.rule().expect("a rule"), found.schedule);
            }
            other => missed.push((fault, other.map(|fault| fault.found))),
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn no_fault_is_without_a_scenario() {
    let shown: Vec<Fault> = plants().into_iter().map(|(fault, ..)| fault).collect();
    assert!(Fault::ALL.iter().all(|fault| shown.contains(fault)), "{shown:?}");
}
