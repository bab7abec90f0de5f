//! The guest runtime, on the real Xen.

use xen_lab::{Clock, Lab, Sources, build_kernel};

use crate::bench::{check, lab, machine, number, values};

#[test]
fn the_kernel_knows_its_memory_and_survives_faults() {
    let Some(lab) = lab("memory") else { return };
    let expected = [
        ("walk_finds_the_page", "true"),
        ("m2p_agrees", "true"),
        ("load_mapped", "0"),
        // Page fault, not present, read.
        ("load_nowhere", "0xe0000"),
        // General protection.
        ("load_not_canonical", "0xd0000"),
        ("load_table", "0"),
        // Page fault, present, write: Xen emulates stores to L1 entries only.
        ("store_table", "0xe0003"),
        ("page_keeps_a_word", "true"),
        ("store_protected", "0xe0003"),
        ("pinned_is_not_writable", "true"),
    ];
    check(&values(lab, &machine("memory"), "memory", ""), &expected);
}

#[test]
fn every_way_of_calling_xen_brings_back_what_it_should() {
    let Some(lab) = lab("hypercalls") else { return };
    let expected = [
        ("array_stops_at_the_refused", "true"),
        ("array_applied_the_first_only", "true"),
        ("multicall_outcomes", "true"),
        ("multicall_goes_on", "true"),
        ("direct_call", "true"),
        ("registers_are_kept", "true"),
        ("removal_is_done", "true"),
        // No array any more, no update left, and the mark of a continuation.
        ("continuation_shows", "0x0,0x80000000"),
        ("table_is_given_up", "true"),
    ];
    check(&values(lab, &machine("hypercalls"), "hypercalls", ""), &expected);
}

#[test]
fn tasks_are_preempted_and_keep_their_registers() {
    let Some(lab) = lab("tasks") else { return };
    let values = values(lab, &machine("tasks"), "tasks", "300");
    println!("{values:?}");
    check(&values, &[("wrong", "0"), ("woken_by_the_timer", "true"), ("slept_long_enough", "true")]);
    assert!(number(&values, "switches") >= 300 && number(&values, "upcalls") >= 100, "{values:?}");
    assert!(number(&values, "rounds") > 0, "every task has run: {values:?}");
}

#[test]
fn a_runtime_that_loses_registers_is_found() {
    if lab("lost registers").is_none() {
        return;
    }
    let mut sources = Sources::from_environment();
    sources.kernel = Some(build_kernel(&["planted-lost-sse"]).unwrap());
    let lab = Lab::with(&sources).unwrap();
    let values = values(&lab, &machine("lost-registers"), "tasks", "300");
    assert!(number(&values, "wrong") > 0, "{values:?}");
}

#[test]
fn the_second_vcpu_works_sleeps_and_is_interrupted() {
    let Some(lab) = lab("vcpus") else { return };
    let expected = [
        ("online", "2"),
        ("starts_once", "true"),
        ("worked_on", "41"),
        ("one_work_at_a_time", "true"),
        ("slept_long_enough", "true"),
        ("pings", "100"),
        ("pongs", "100"),
        ("upcalls", "true"),
    ];
    for processors in [1, 2] {
        let mut machine = machine(&format!("vcpus-{processors}"));
        machine.processors = processors;
        check(&values(lab, &machine, "vcpus", ""), &expected);
    }
}

#[test]
fn a_domain_with_one_vcpu_has_no_second() {
    let Some(lab) = lab("one vcpu") else { return };
    let mut machine = machine("one-vcpu");
    machine.vcpus = 1;
    let error = lab.run(&machine, "vcpus", b"").unwrap_err().to_string();
    assert!(error.contains("ENOENT") || error.contains("dom0_max_vcpus=2"), "{error}");
}

#[test]
fn preemption_between_any_two_instructions() {
    let Some(lab) = lab("single step") else { return };
    let mut machine = machine("single-step");
    machine.clock = Clock::SingleStep;
    let values = values(lab, &machine, "tasks", "300");
    check(&values, &[("wrong", "0")]);
    assert!(number(&values, "upcalls") >= 100, "{values:?}");
}

/// The image as a user boots it: nothing but a command line, text on the console, and off.
#[test]
fn the_image_alone_measures_and_powers_off() {
    let Some(lab) = lab("the image alone") else { return };
    let alone = |arguments: &str| {
        let mut machine = machine("alone");
        machine.clock = Clock::Instructions;
        machine.vcpus = 1;
        machine.kernel_arguments = arguments.to_owned();
        lab.run_alone(&machine).unwrap()
    };
    let lines = alone("bench pv-mmu raw fill-512");
    let row = |policy: &str| lines.iter().find(|line| line.starts_with(&format!("fill-512 {policy} 512 1 "))).cloned();
    assert!(row("pv-mmu").is_some() && row("raw").is_some() && row("linux").is_none(), "{lines:#?}");
    let lines = alone("bunch");
    assert!(lines.iter().any(|line| line.contains("`bunch` was not carried out")), "{lines:#?}");
}
