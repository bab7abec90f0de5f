//! The library on the real Xen under random timers; ten million updates in `ci/full.sh`.

use std::process::Command;

use serde_json::Value;
use xen_lab::Lab;

fn soak(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_pvmmu")).args(["soak", "--format", "json"]).args(arguments).output();
    let output = output.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}")))
}

#[test]
fn nothing_is_lost_repeated_or_out_of_order_under_preemption_and_migration() {
    if Lab::for_test("soak").is_none() {
        return;
    }
    let (status, soaked) = soak(&["--updates", "200000"]);
    println!("{soaked:#}");
    assert_eq!(status, Some(0), "{soaked:#}");
}

#[test]
fn a_switch_that_hands_nothing_over_is_found() {
    if Lab::for_test("planted soak").is_none() {
        return;
    }
    let (status, soaked) = soak(&["--updates", "200000", "--planted"]);
    let wrong = soaked["wrong"].as_array().unwrap();
    assert!(status == Some(1) && wrong.iter().any(|wrong| wrong["what"] == "lost"), "{soaked:#}");
    assert!(soaked["left_behind"].as_u64() > Some(0), "{soaked:#}");
}
