//! `pv-mmu`, unchanged, on the real Xen.

use xen_lab::Clock;

use crate::bench::{check, lab, machine, number, values};

/// What a kernel's smoke test has to come to, in whatever language it is written.
pub(crate) const SMOKE: &[(&str, &str)] = &[
    // 512 updates and a TLB flush, as one multicall.
    ("clean_hypercalls", "1"),
    ("clean_operations", "513"),
    ("clean_differing", "0"),
    // -EBUSY put in the place of Xen's answer to the entry.
    ("injected_failures", "1"),
    ("injected_at", "300"),
    ("injected_errno", "16"),
    ("injected_differing", "0"),
    // -EBUSY by Xen itself: a table is not mapped writable.
    ("forbidden_failures", "1"),
    ("forbidden_at", "77"),
    ("forbidden_errno", "16"),
    ("forbidden_differing", "0"),
    ("reports", "0"),
    // 512 updates outside a region, as one array.
    ("range_hypercalls", "1"),
    ("range_operations", "512"),
    ("clear_answers", "true"),
    ("clear_differing", "0"),
];

/// What the refusals among them are.
pub(crate) const SMOKE_REFUSALS: &str =
    "two refusals are planted, entry `injected_at` by the kernel's own hand and `forbidden_at` by Xen's";

#[test]
fn a_table_goes_out_in_one_hypercall_and_failures_are_named() {
    let Some(lab) = lab("smoke") else { return };
    let values = values(lab, &machine("smoke"), "pvmmu-smoke", "");
    println!("{SMOKE_REFUSALS}: {values:?}");
    check(&values, SMOKE);
}

#[test]
fn preempted_regions_are_handed_over_at_the_switch() {
    let Some(lab) = lab("switch") else { return };
    for clock in [Clock::Host, Clock::SingleStep] {
        let mut machine = machine(&format!("switch-{clock:?}"));
        machine.clock = clock;
        let values = values(lab, &machine, "pvmmu-switch", "300");
        println!("{values:?}");
        check(&values, &[("left_behind", "0"), ("wrong", "0"), ("failed", "0"), ("accounted", "true")]);
        assert!(number(&values, "switch_flushes") > 0 && number(&values, "rounds") > 0, "{values:?}");
    }
}

#[test]
fn a_switch_that_hands_nothing_over_is_found() {
    let Some(lab) = lab("planted switch") else { return };
    let values = values(lab, &machine("switch-planted"), "pvmmu-switch", "planted 300");
    assert!(number(&values, "left_behind") > 0 && number(&values, "switch_flushes") == 0, "{values:?}");
}

#[test]
fn another_vcpus_queue_is_handed_over_before_a_table_is_unpinned() {
    let Some(lab) = lab("remote") else { return };
    let expected =
        [("queued_before", "true"), ("effective_after", "true"), ("flushed_by_request", "1"), ("failed", "false")];
    for processors in [1, 2] {
        let mut machine = machine(&format!("remote-{processors}"));
        machine.processors = processors;
        check(&values(lab, &machine, "pvmmu-remote", ""), &expected);
    }
}

/// What the second vCPU's stores came to, in rounds of 512 entries.
fn walker(lab: &xen_lab::Lab, name: &str, payload: &str) -> std::collections::BTreeMap<String, String> {
    let mut machine = machine(name);
    machine.processors = 2;
    machine.run_limit = std::time::Duration::from_secs(900);
    let values = values(lab, &machine, "pvmmu-walker", payload);
    println!("{values:?}");
    check(&values, &[("left_in_the_table", "0"), ("reports", "0")]);
    assert!(number(&values, "dirty") > 0 && number(&values, "faults") > 0, "nobody was there: {values:?}");
    values
}

#[test]
fn every_dirty_bit_is_accounted_for_while_another_vcpu_stores() {
    let Some(lab) = lab("walker") else { return };
    // A million entries in `ci/full.sh`.
    let rounds = std::env::var("WALKER_ROUNDS").map_or(60, |rounds| rounds.parse().expect("a number of rounds"));
    let values = walker(lab, "walker-preserving", &rounds.to_string());
    check(&values, &[("lost", "0"), ("false_dirty", "0")]);
    assert_eq!(number(&values, "entries"), 512 * rounds);
}

#[test]
fn normal_updates_lose_dirty_bits_and_that_is_found() {
    let Some(lab) = lab("planted walker") else { return };
    let values = walker(lab, "walker-normal", "normal 60");
    assert!(number(&values, "lost") > 0, "{values:?}");
}

#[test]
fn the_callers_of_a_small_kernel_do_to_tables_what_they_say() {
    let Some(lab) = lab("callers") else { return };
    let mut machine = machine("callers");
    machine.clock = Clock::Instructions;
    // Counting is slow, and slower beside other machines.
    machine.run_limit = std::time::Duration::from_secs(300);
    let values = values(lab, &machine, "pvmmu-callers", "");
    for (name, value) in &values {
        println!("{name}={value}");
    }
    let exact = [
        "exec_differing",
        "fork_parent_differing",
        "fork_child_differing",
        "moved_differing",
        "left_differing",
        "table_differing",
        "unmapped_differing",
        "aged_differing",
    ];
    check(&values, &exact.map(|name| (name, "0")));
    check(&values, &[("young", "512"), ("aged_is_old", "true")]);
    check(&values, &[("freed", "512"), ("child_exit_whole", "true"), ("parent_exit_whole", "true")]);
    // Of Linux's whole system calls for 512 pages on the same Xen: what the page-table part may cost at most.
    for (name, whole) in [("munmap", 2_920), ("mremap", 2_758), ("fork", 3_733)] {
        let cost = number(&values, name);
        assert!(cost < 512 * whole / 2, "{name} costs {cost}, {} for a page", cost / 512);
    }
}

#[test]
fn the_ledger_of_a_soak_finds_each_thing_that_can_be_wrong() {
    let Some(lab) = lab("ledger") else { return };
    let values = values(lab, &machine("ledger"), "pvmmu-soak", "ledger");
    let kinds = ["lost", "duplicated", "reordered", "invented", "overtaken", "flush_lost", "misread", "differs"];
    check(&values, &kinds.map(|kind| (kind, "0 1")));
    assert_eq!(values.len(), kinds.len(), "{values:?}");
}
