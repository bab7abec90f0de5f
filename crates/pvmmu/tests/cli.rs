//! The command as its user meets it: output, exit status, and nothing half-written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const CLEAN: i32 = 0;
const FOUND: i32 = 1;
const UNUSABLE: i32 = 2;

const LARGE: &str = "linux-6.1-2vcpu-large";

fn pvmmu(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pvmmu")).args(args).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// Runs, and insists on status 2, an empty standard output and a message that has `parts`.
fn refuses(args: &[&str], parts: &[&str]) {
    let output = pvmmu(args);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(UNUSABLE), 0), "{args:?}: {message}");
    for part in parts {
        assert!(message.contains(part), "{args:?}: no `{part}` in: {message}");
    }
}

/// A trace of these events, one a line, by task 7 on vCPU 0.
fn trace(folder: &TempDir, name: &str, events: &[&str]) -> PathBuf {
    let line = |(stamp, event): (usize, &&str)| format!("            guest-7       [000] ..... {stamp:>12}: {event}\n");
    let path = folder.path().join(name);
    fs::write(&path, events.iter().enumerate().map(line).collect::<String>()).unwrap();
    path
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

const ENTER: &str = "enter: (paravirt_enter_lazy_mmu+0x0/0x30)";
const LEAVE: &str = "leave: (xen_leave_lazy_mmu+0x0/0x30)";

#[test]
fn without_a_command_it_prints_the_table_of_the_first_bundled_trace() {
    let output = pvmmu(&[]);
    assert_eq!(status(&output), CLEAN);
    assert!(stdout(&output).starts_with("linux-6.1-2vcpu-fork-mprotect-mremap\n"), "{}", stdout(&output));
    assert_eq!(stdout(&output), stdout(&pvmmu(&["replay"])));
    assert!(output.stderr.is_empty(), "no bar where standard error is no terminal");
}

#[test]
fn json_is_one_object_with_the_agreed_keys() {
    let output = pvmmu(&["replay", LARGE, "--policy", "linux", "--format", "json"]);
    assert_eq!(status(&output), CLEAN);
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    let mut expected = [
        "trace",
        "recorded",
        "policy",
        "mode",
        "hypercalls",
        "hypercalls_by_cause",
        "sync_points",
        "updates_issued",
        "updates_merged",
        "largest_batch",
        "inferred",
        "violations",
        "refused",
        "oracle",
        "final_state_matches_unbatched",
    ];
    expected.sort_unstable();
    assert_eq!(keys(&object), expected.join(" "));
    let trace = "empty_regions events lines pte_writes pte_writes_in_regions regions tlb_flushes unknown_lines";
    assert_eq!(keys(&object["trace"]), trace);
    assert_eq!(keys(&object["recorded"]), "direct_pte_calls flushes hypercalls");
    assert_eq!(keys(&object["oracle"]), "compared matched");
    assert_eq!((&object["policy"], &object["mode"]), (&"linux".into(), &"as-recorded".into()));
    let by_cause = object["hypercalls_by_cause"].as_object().unwrap().values();
    assert_eq!(object["hypercalls"], by_cause.map(|count| count.as_u64().unwrap()).sum::<u64>());
}

/// Runs on the real Xen; `None` where there is none and that is allowed.
fn on_xen(trace: &str, more: &[&str]) -> Option<Output> {
    xen_lab::Lab::for_test(trace)?;
    Some(pvmmu(&[&["replay", trace, "--on", "xen"], more].concat()))
}

#[test]
fn a_trace_on_the_real_xen_is_compared_with_the_mock() {
    let Some(output) = on_xen(LARGE, &[]) else { return };
    assert_eq!(status(&output), CLEAN, "{}", String::from_utf8_lossy(&output.stderr));
    for part in ["on the mock", "on Xen", "calls as on the mock", "end as on the mock", "1,229"] {
        assert!(stdout(&output).contains(part), "{part} in {}", stdout(&output));
    }
    assert!(!stdout(&output).contains("NO"), "{}", stdout(&output));
    let Some(output) = on_xen(LARGE, &["--mode", "ported", "--format", "json"]) else { return };
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((status(&output), &object["mode"], &object["hypercalls"]), (CLEAN, &"ported".into(), &1229.into()));
    for equal in ["refusals_equal", "hypercalls_equal", "entries_equal", "end_state_equal"] {
        assert_eq!(object["beside_mock"][equal], true, "{equal}");
    }
}

#[test]
fn what_the_real_xen_refuses_is_listed_and_is_status_1() {
    let folder = TempDir::new().unwrap();
    // The table maps itself writable.
    let write = "xen_mmu_set_pte: ptep ffff888000005008 pteval 0000000000005067 (raw 0000000075005067)";
    let path = trace(&folder, "refused-on-xen", &[write]);
    let Some(output) = on_xen(shown(&path), &[]) else { return };
    assert_eq!(status(&output), FOUND);
    assert!(stdout(&output).contains("pv-mmu as recorded on Xen: line 1:"), "{}", stdout(&output));
    assert!(stdout(&output).contains("refused: -EBUSY"), "{}", stdout(&output));
}

#[test]
fn on_the_real_xen_only_the_library_is_led() {
    for policy in ["linux", "single"] {
        refuses(&["replay", LARGE, "--on", "xen", "--policy", policy], &["only `pv-mmu` is led", "`--policy`"]);
    }
    refuses(&["replay", LARGE, "--on", "kvm"], &["kvm", "mock, xen"]);
}

#[test]
fn a_xen_that_cannot_be_had_is_an_error() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvmmu"));
    command.args(["replay", LARGE, "--on", "xen"]).env("XEN_LAB_QEMU", "/nowhere/qemu").env("XEN_LAB_OFFLINE", "1");
    let output = command.output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(UNUSABLE), 0), "{message}");
    assert!(message.contains("the real Xen cannot be had: QEMU is missing"), "{message}");
}

#[test]
fn ported_names_its_gains() {
    let output = pvmmu(&["replay", LARGE, "--mode", "ported", "--format", "json"]);
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&object["policy"], &object["mode"]), (&"pv-mmu".into(), &"ported".into()));
    let gains = object["gains"].as_object().unwrap();
    let all = ["consecutive_writes", "copy_on_write", "stack_with_base", "tlb_flush_in_region"];
    assert!(all.iter().all(|gain| gains[*gain].as_u64().unwrap() > 0), "{gains:?}");
    assert_eq!(gains.len(), all.len());
}

#[test]
fn a_trace_can_be_a_file() {
    let folder = TempDir::new().unwrap();
    let path = trace(&folder, "quiet", &[ENTER, LEAVE]);
    let output = pvmmu(&["replay", shown(&path), "--format", "json"]);
    assert_eq!(status(&output), CLEAN);
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&object["trace"]["regions"], &object["hypercalls"]), (&1.into(), &0.into()));
}

#[test]
fn what_is_not_known_is_counted() {
    let folder = TempDir::new().unwrap();
    let path = trace(&folder, "strange", &[ENTER, "never_heard_of: 1", LEAVE]);
    let output = pvmmu(&["replay", shown(&path), "--format", "json"]);
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["trace"]["unknown_lines"], 1);
    assert!(stdout(&pvmmu(&["check", shown(&path)])).contains("(1 unknown)"));
}

#[test]
fn a_device_can_be_mapped() {
    let folder = TempDir::new().unwrap();
    let write = "xen_mmu_set_pte: ptep ffff888005000008 pteval 00000000000b8067 (raw 00000000000b8067)";
    let path = trace(&folder, "device", &[write]);
    assert_eq!(status(&pvmmu(&["replay", shown(&path)])), CLEAN);
}

#[test]
fn check_judges_every_trace_it_is_given() {
    let output = pvmmu(&["check", LARGE, "linux-6.1-2vcpu-process-churn"]);
    assert_eq!(status(&output), CLEAN);
    assert_eq!(stdout(&output).matches("violations            0").count(), 2, "{}", stdout(&output));
    let output = pvmmu(&["check", LARGE, "--format", "json"]);
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&list[0]["regions"], &list[0]["violations_total"]), (&92.into(), &0.into()));
}

#[test]
fn without_a_trace_check_judges_all_that_are_bundled() {
    let output = pvmmu(&["check"]);
    assert_eq!((status(&output), stdout(&output).matches("violations            0").count()), (CLEAN, 3));
}

#[test]
fn help_names_the_bundled_traces_and_every_exit_status() {
    for command in [&["--help"] as &[&str], &["replay", "--help"], &["check", "--help"]] {
        let output = pvmmu(command);
        for part in [LARGE, "linux-6.1-2vcpu-fork-mprotect-mremap", "refused", "real Xen held", "without batching"] {
            assert!(stdout(&output).contains(part), "{command:?}: no `{part}` in: {}", stdout(&output));
        }
    }
}

#[test]
fn what_weakens_a_judgement_is_said() {
    let folder = TempDir::new().unwrap();
    let hashed = "xen_mmu_set_pte: ptep 00000000deadbeef pteval 0000000000009067 (raw 0000000001009067)";
    let path = trace(&folder, "hashed", &[hashed]);
    let lost = fs::read_to_string(&path).unwrap() + "CPU:1 [LOST 12 EVENTS]\n";
    fs::write(&path, lost).unwrap();
    let output = pvmmu(&["check", shown(&path)]);
    assert!(stdout(&output).contains("warning               12 events were lost"), "{}", stdout(&output));
    assert!(stdout(&output).contains("warning               1 entry addresses are hashed"), "{}", stdout(&output));
    let object: Value = serde_json::from_slice(&pvmmu(&["check", shown(&path), "--format", "json"]).stdout).unwrap();
    let fields = [&object[0]["lost"], &object[0]["hashed_slots"], &object[0]["overwritten"]];
    assert_eq!(fields, [&Value::from(12), &1.into(), &0.into()]);
    assert_eq!(object[0]["warnings"].as_array().unwrap().len(), 2);
    refuses(&["replay", shown(&path)], &["hashed: line 1: ", "no_hash_pointers"]);
}

#[test]
fn a_trace_in_which_there_is_nothing_is_status_2() {
    let folder = TempDir::new().unwrap();
    for (name, text) in [("blank", "\n\n\n"), ("headers", "# tracer: nop\n#\n")] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        refuses(&["replay", shown(&path)], &[name, "no event that is known"]);
        refuses(&["check", shown(&path)], &[name, "no event that is known"]);
    }
    let unknown = trace(&folder, "unknown", &["never_heard_of: 1"]);
    refuses(&["replay", shown(&unknown)], &["1 lines (1 of unknown events)"]);
    refuses(&["check", LARGE, shown(&unknown)], &["unknown: ", "1 lines (1 of unknown events)"]);
}

#[test]
fn nothing_compared_is_said() {
    let folder = TempDir::new().unwrap();
    let path = trace(&folder, "quiet", &[ENTER, LEAVE]);
    assert!(stdout(&pvmmu(&["replay", shown(&path)])).contains("memory as recorded: nothing compared"));
}

#[test]
fn what_check_finds_is_named_and_is_status_1() {
    let folder = TempDir::new().unwrap();
    let path = trace(&folder, "nested", &[ENTER, ENTER, LEAVE, LEAVE]);
    let output = pvmmu(&["check", LARGE, shown(&path)]);
    assert_eq!(status(&output), FOUND);
    assert!(stdout(&output).contains("line 2: R4: vcpu 0, task 7:"), "{}", stdout(&output));
    let output = pvmmu(&["check", shown(&path), "--format", "json"]);
    assert_eq!(status(&output), FOUND);
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&list[0]["violations"][0]["line"], &list[0]["violations"][0]["rule"]), (&2.into(), &"R4".into()));
}

#[test]
fn what_a_replay_finds_is_listed_and_is_status_1() {
    let folder = TempDir::new().unwrap();
    // The table maps itself writable: Xen refuses that.
    let write = "xen_mmu_set_pte: ptep ffff888000005008 pteval 0000000000005067 (raw 0000000075005067)";
    let path = trace(&folder, "refused", &[write]);
    let output = pvmmu(&["replay", shown(&path), "--policy", "pv-mmu"]);
    assert_eq!(status(&output), FOUND);
    assert!(stdout(&output).contains("pv-mmu as recorded: line 1:"), "{}", stdout(&output));
    let output = pvmmu(&["replay", shown(&path), "--format", "json"]);
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((status(&output), &object["refused"][0]["line"]), (FOUND, &1.into()));
}

#[test]
fn bad_use_is_status_2() {
    refuses(&["replay", "--policy", "fastest"], &["--policy", "pv-mmu, linux, single"]);
    refuses(&["play"], &["play"]);
    refuses(&["replay", "no-such-trace"], &["no-such-trace: "]);
    refuses(&["cost", "--format", "yaml"], &["--format", "text, json"]);
    refuses(&["bench"], &["--on"]);
    refuses(&["bench", "--on", "kvm"], &["--on", "xen"]);
    refuses(&["bench", "--on", "xen", "--workload", "zap"], &["--workload", "zap-512, wrprotect-512, build-512"]);
    refuses(
        &["bench", "--on", "xen", "--policy", "fastest"],
        &["--policy", "pv-mmu, linux, netbsd, freebsd, libxc, single, raw"],
    );
}

#[test]
fn without_a_hypervisor_there_are_no_costs() {
    for command in [&["cost"] as &[&str], &["bench", "--on", "xen"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_pvmmu"))
            .args(command)
            .env("XEN_LAB_QEMU", "/no/such/qemu")
            .output()
            .unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(UNUSABLE), 0), "{command:?}: {message}");
        assert!(message.contains("QEMU is missing") && message.contains("apt-get install"), "{message}");
    }
}

#[test]
fn an_unreadable_trace_is_status_2_with_line_and_reason() {
    let folder = TempDir::new().unwrap();
    let garbled = trace(&folder, "garbled", &[ENTER, "xen_mmu_set_pte: ptep ?", LEAVE]);
    let unfollowed =
        trace(&folder, "unfollowed", &["xen_mmu_set_pte: ptep 1000 pteval 0000000000000000 (raw 0000000000000000)"]);
    let cut = folder.path().join("cut");
    let whole = fs::read(&garbled).unwrap();
    fs::write(&cut, &whole[..40]).unwrap();
    let empty = folder.path().join("empty");
    fs::write(&empty, "").unwrap();
    for command in ["replay", "check"] {
        refuses(&[command, shown(&garbled)], &["garbled: line 2: ", "xen_mmu_set_pte"]);
        refuses(&[command, shown(&cut)], &["cut: line 1: ", "cut"]);
        refuses(&[command, shown(&empty)], &["empty: the input is empty"]);
    }
    refuses(&["replay", shown(&unfollowed), "--format", "json"], &["unfollowed: line 1: ", "direct map"]);
    refuses(&["check", LARGE, shown(&garbled)], &["line 2: "]);
}

#[test]
fn a_reader_that_has_read_enough_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pvmmu"))
        .args(["check", LARGE])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((status(&output), output.stderr.len()), (CLEAN, 0));
}
