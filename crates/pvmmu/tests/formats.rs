//! What judges, as pipelines and browsers get it: every case is there, whatever came of it, and the exit status is the
//! same in every format.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

const LARGE: &str = "linux-6.1-2vcpu-large";

fn pvmmu(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pvmmu")).args(args).output().unwrap()
}

/// Runs, and insists on this status.
fn told(args: &[&str], status: i32) -> String {
    let output = pvmmu(args);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{args:?}: {message}");
    String::from_utf8(output.stdout).unwrap()
}

fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
}

/// A region that is entered in a region, in a trace with nothing else.
fn nested(folder: &TempDir) -> String {
    let line = |stamp| {
        format!("            guest-7       [000] ..... {stamp:>12}: enter: (paravirt_enter_lazy_mmu+0x0/0x30)\n")
    };
    let path = folder.path().join("nested <&>.txt");
    fs::write(&path, line(0) + &line(1)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn check_has_a_case_for_each_rule_and_leaves_out_what_the_trace_cannot_show() {
    let all = told(&["check", "--format", "junit"], 0);
    holds(
        &all,
        &["tests=\"6\" failures=\"0\" errors=\"0\" skipped=\"0\"", "classname=\"linux-6.1-2vcpu-large\" name=\"R17\""],
    );
    assert_eq!(all.matches("<testsuite ").count(), 3);
}

#[test]
fn what_check_finds_is_a_failure_of_its_rule() {
    let folder = TempDir::new().unwrap();
    let nested = nested(&folder);
    let found = told(&["check", &nested, "--format", "junit"], 1);
    holds(
        &found,
        &[
            "nested &lt;&amp;&gt;.txt",
            "<failure type=\"R4\" message=\"line 2: R4: vcpu 0, task 7: a region is entered inside the one of line 1\">",
            "<skipped message=\"no xen_mc events\"/>",
        ],
    );
    let page = told(&["check", &nested, "--format", "html"], 1);
    holds(&page, &["something was found", "data-series=\"0\" data-at=\"2\"", "not judged: the queue"]);
}

#[test]
fn replay_has_a_case_for_each_thing_each_policy_is_judged_by() {
    let xml = told(&["replay", LARGE, "--format", "junit"], 0);
    holds(
        &xml,
        &[
            "tests=\"12\" failures=\"0\"",
            "linux policy, as recorded: no rule is broken",
            "pv-mmu, ported: ends as without batching",
        ],
    );
    let one = told(&["replay", LARGE, "--format", "junit", "--mode", "ported"], 0);
    holds(&one, &["tests=\"4\""]);
}

#[test]
fn what_a_replay_finds_is_a_failure_and_leads_into_the_course() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("refused");
    // The table maps itself writable: Xen refuses that.
    let write = "xen_mmu_set_pte: ptep ffff888000005008 pteval 0000000000005067 (raw 0000000075005067)";
    fs::write(&path, format!("            guest-7       [000] .....            0: {write}\n")).unwrap();
    let path = path.to_str().unwrap();
    holds(
        &told(&["replay", path, "--format", "junit"], 1),
        &["<failure type=\"refused\" message=\"line 1, vcpu 0: Update"],
    );
    holds(&told(&["replay", path, "--format", "html"], 1), &["<td>refused</td>", "data-series=\"1\" data-at=\"1\""]);
}

#[test]
fn a_page_of_a_replay_compares_all_and_draws_each_course() {
    let page = told(&["replay", LARGE, "--format", "html"], 0);
    holds(&page, &["2,137", "2,063", "1,229", "id=\"timelines\"", "\"pv-mmu, ported\"", "default-src 'none'"]);
    assert!(!page.contains("http:") && !page.contains("https:"), "it needs nothing from elsewhere");
}

#[test]
fn a_replay_is_written_for_perfetto_with_what_the_recorder_did_beside() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("course.json");
    told(&["replay", LARGE, "--perfetto", file.to_str().unwrap()], 0);
    let trace: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let of = |process: u64, category: &str| {
        events.iter().filter(|event| event["pid"] == process && event["cat"] == category).count()
    };
    let processes: Vec<_> = events.iter().filter(|event| event["name"] == "process_name").collect();
    assert_eq!(processes.len(), 4, "the recorder and three replays");
    assert_eq!((of(1, "hypercall"), of(2, "hypercall")), (2137, 2137), "Linux's way makes the recorder's hypercalls");
    assert!(of(4, "hypercall") <= 1229 && of(4, "region") > 50, "{}", of(4, "region"));
}

#[test]
fn a_file_for_perfetto_that_cannot_be_written_is_said() {
    let output = pvmmu(&["replay", LARGE, "--perfetto", "/no/such/folder/course.json"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    holds(&String::from_utf8(output.stderr).unwrap(), &["cannot write /no/such/folder/course.json"]);
}

#[test]
fn an_exploration_shows_its_violation_with_schedule_and_picture() {
    let xml = told(&["explore", "B13a", "--format", "junit"], 1);
    holds(
        &xml,
        &[
            "tests=\"2\" failures=\"1\"",
            "name=\"B13a on pv-mmu\"",
            "type=\"R9\"",
            "--policy linux-7.0 --schedule 3.p1",
            "count up",
        ],
    );
    let page = told(&["explore", "B13a", "--format", "html"], 1);
    holds(&page, &["class=\"found\"", "pvmmu explore B13a --policy linux-7.0 --schedule 3.p1", "T0: enter the mode"]);
}

#[test]
fn explorations_where_invalidations_wait_have_both_forms_too() {
    let args = ["explore", "S17", "--arch", "powerpc64", "--deviations", "1", "--format"];
    let xml = told(&[&args[..], &["junit"]].concat(), 0);
    holds(&xml, &["classname=\"explore powerpc64\"", "failures=\"0\""]);
    holds(&told(&[&args[..], &["html"]].concat(), 0), &["where invalidations wait", "S17"]);
}

#[test]
fn a_clean_exploration_has_no_timeline_and_no_script() {
    let page = told(&["explore", "S17", "--format", "html"], 0);
    assert!(page.contains("clean, complete within its bounds") && !page.contains("<script"), "{page}");
}
