//! `run` and `conform` as their user meets them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use xen_lab::Lab;

fn pvmmu(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pvmmu")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Runs, and insists on the status.
fn ends(args: &[&str], status: i32) -> Output {
    let output = pvmmu(args);
    let told = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{args:?}: {told:?}");
    output
}

/// A file with this program.
fn program<'a>(folder: &'a TempDir, text: &str) -> impl AsRef<Path> + use<'a> {
    let path = folder.path().join("program.txt");
    fs::write(&path, text).unwrap();
    path
}

const ENTRY: &str = "mmu_update(&[slot(w0), pte(p0, 0x63)], 1, done, self)";

#[test]
fn a_program_is_run_and_its_answers_are_shown_and_checked() {
    let folder = TempDir::new().unwrap();
    let path = program(&folder, &format!("case 1: an entry\n    {ENTRY} -> 0, l1[w0]=pte(p0, kernel+0x67)\n"));
    let shown = path.as_ref().to_str().unwrap();
    let expected = format!("case 1: an entry\n    {ENTRY}\n        # 0, done=1, l1[w0]=pte(p0, kernel+0x67)\n");
    let executors: &[&str] = if Lab::for_test("a program is run").is_some() { &["mock", "xen"] } else { &["mock"] };
    for on in executors {
        let output = ends(&["run", shown, "--on", on], 0);
        assert!(text(&output.stdout).starts_with(&expected), "{on}: {}", text(&output.stdout));
    }
    let path = program(&folder, &format!("{ENTRY} -> -EINVAL\n"));
    let output = ends(&["run", path.as_ref().to_str().unwrap()], 1);
    assert!(text(&output.stdout).contains("! not as expected: step 1"), "{}", text(&output.stdout));
}

#[test]
fn what_is_no_program_is_status_2_with_its_place() {
    let folder = TempDir::new().unwrap();
    for (text_of, part) in [("load(va(w0))\n  mmu_updat(1)\n", "line 2, column 3"), ("# nothing\n", "no program in it")]
    {
        let path = program(&folder, text_of);
        for command in [&["run"][..], &["conform", "--program"]] {
            let output = ends(&[command, &[path.as_ref().to_str().unwrap()]].concat(), 2);
            assert!(text(&output.stderr).contains(part), "{command:?}: {}", text(&output.stderr));
        }
    }
    ends(&["run", "no-such-file"], 2);
    ends(&["conform", "--cases", "--ops", "5"], 2);
    ends(&["conform", "--ops", "0"], 2);
    ends(&["conform", "--preempt", "always"], 2);
}

#[test]
fn without_real_xen_there_is_nothing_to_compare_with() {
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pvmmu"));
        command.args(args).env("XEN_LAB_QEMU", "/no/qemu").env("XEN_LAB_OFFLINE", "1").output().unwrap()
    };
    for args in [&["conform"][..], &["conform", "--cases"]] {
        let output = run(args);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
        assert!(text(&output.stderr).contains("/no/qemu"), "{}", text(&output.stderr));
    }
}

#[test]
fn random_programs_are_answered_alike_and_the_report_says_how_many() {
    if Lab::for_test("random programs are answered alike").is_none() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let save = folder.path().to_str().unwrap();
    let output =
        ends(&["conform", "--ops", "8000", "--preempt", "step", "--seed", "3", "--save", save, "--format", "json"], 0);
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(object["ops"].as_u64().unwrap() >= 8000 && object["programs"].as_u64().unwrap() > 100, "{object}");
    assert!(object["boots"].as_u64().unwrap() >= 2, "{object}");
    assert_eq!((&object["seed"], &object["preempt"]), (&3.into(), &"step".into()));
    assert_eq!(object["divergences"], Value::Array(Vec::new()));
    assert!(object["outcomes"]["mmu_update"]["-EINVAL"].as_u64().unwrap() > 10, "{object}");
    assert!(object["named_outcomes"]["reached"].as_u64().unwrap() > 80, "{object}");
    assert_eq!(fs::read_dir(save).unwrap().count(), 0);
}
