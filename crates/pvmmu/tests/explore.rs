//! `pvmmu explore` as its user meets it.

use std::process::{Command, Output};

use serde_json::Value;

fn pvmmu(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pvmmu")).arg("explore").args(args).output().expect("it starts")
}

fn json(args: &[&str]) -> (i32, Value) {
    let output = pvmmu(&[args, &["--format", "json"]].concat());
    let text = std::str::from_utf8(&output.stdout).expect("text");
    (output.status.code().expect("an exit status"), serde_json::from_str(text).expect("JSON"))
}

#[test]
fn a_clean_scenario_is_complete_and_says_how_far_it_went() {
    let (status, value) = json(&["S29"]);
    let scenario = &value["scenarios"][0];
    assert_eq!((status, &scenario["name"], &scenario["policy"]), (0, &"S29".into(), &"pv-mmu".into()));
    assert_eq!((&scenario["complete"], scenario["violations"].as_array().map(Vec::len)), (&true.into(), Some(0)));
    assert!(
        scenario["states"].as_u64() > Some(20) && scenario["choices"]["interrupt"].as_u64() > Some(0),
        "{scenario}"
    );
    assert_eq!(scenario["bound"]["interrupts"], 1);
}

#[test]
fn a_bug_is_found_where_it_was_and_its_schedule_shows_it_again() {
    let (status, value) = json(&["b13a"]);
    let [ours, theirs] = [&value["scenarios"][0], &value["scenarios"][1]];
    assert_eq!((status, &ours["violations"], &theirs["policy"]), (1, &Value::Array(vec![]), &"linux-7.0".into()));
    assert_eq!(theirs["violations"][0]["rule"], "R9");
    let schedule = theirs["violations"][0]["schedule"].as_str().expect("a schedule");

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("way.json");
    let file = file.to_str().expect("a path");
    let output = pvmmu(&["B13a", "--policy", "linux-7.0", "--schedule", schedule, "--perfetto", file]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("vcpu 0") && text.contains("T0: switches to T1"), "{text}");
    let trace: Value = serde_json::from_str(&std::fs::read_to_string(file).expect("written")).expect("JSON");
    assert!(trace["traceEvents"].as_array().is_some_and(|events| events.len() > 20));
}

#[test]
fn bad_use_says_what_to_do() {
    for (args, part) in [
        (&["S999"][..], "lists all there are"),
        (&["S29", "--policy", "linux-1.0"], "linux-7.0"),
        (&["S29", "--schedule", "3.q"], "no part of a schedule"),
        (&["S29", "--schedule", "p1"], "cannot be taken"),
        (&["S29", "--operations", "3"], "only S60"),
        (&["S29", "--vcpus", "0"], "0 is not in 1..=8"),
        (&["--schedule", "3"], "NAME"),
    ] {
        let output = pvmmu(args);
        let message = String::from_utf8(output.stderr).expect("text");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{args:?}: {message}");
        assert!(message.contains(part), "{args:?}: {message}");
    }
}

#[test]
fn a_seed_goes_past_the_bounds_and_repeats_itself() {
    let args = ["S17", "--seed", "5", "--ways", "300"];
    let [(status, mut one), (_, mut two)] = [json(&args), json(&args)];
    for value in [&mut one, &mut two] {
        value["scenarios"][0]["seconds"] = Value::Null;
    }
    assert_eq!((status, &one), (0, &two));
    assert_eq!((&one["scenarios"][0]["schedules"], &one["scenarios"][0]["complete"]), (&300.into(), &false.into()));
}

#[test]
fn more_tasks_and_vcpus_are_explored_too() {
    let (status, value) = json(&["S29", "--tasks", "3", "--vcpus", "3", "--deviations", "1"]);
    let scenario = &value["scenarios"][0];
    assert_eq!((status, &scenario["bound"]["tasks"], &scenario["bound"]["vcpus"]), (0, &3.into(), &3.into()));
    assert_eq!(scenario["complete"], true);
}
