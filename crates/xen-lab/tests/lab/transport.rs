//! The way there and back.

use std::process::{Command, Stdio};
use std::time::Duration;

use xen_lab::{Clock, RunError};

use crate::bench::{lab, machine, number, processes_with, run, soon, values};

#[test]
fn the_kernel_boots_on_the_real_xen_and_says_hello() {
    let Some(lab) = lab("hello") else { return };
    let answer = run(lab, &machine("hello"), "hello", b"anything").unwrap();
    let text = String::from_utf8(answer.bytes).unwrap();
    assert!(text.contains("xen=4.17\n") && text.contains("arguments=test=hello\n"), "{text}");
    assert_eq!(answer.log, ["hello, 8 bytes of payload"]);
    println!("booted in {:.2?}, answered in {:.2?}", answer.boot, answer.run);
    assert!(answer.boot < Duration::from_secs(15), "{:?}", answer.boot);
}

#[test]
fn a_mebibyte_of_every_byte_comes_back() {
    let Some(lab) = lab("echo") else { return };
    let mut state = 1_u32;
    let payload: Vec<u8> = (0..1 << 20)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    let answer = run(lab, &machine("echo"), "echo", &payload).unwrap();
    assert!(answer.bytes == payload, "{} bytes came back", answer.bytes.len());
    println!("a MiB there and back in {:.2?}", answer.run);
}

#[test]
fn an_empty_payload_comes_back_empty() {
    let Some(lab) = lab("empty") else { return };
    assert_eq!(run(lab, &machine("empty"), "echo", b"").unwrap().bytes, b"");
}

#[test]
fn an_unknown_command_is_refused_by_the_kernel() {
    let Some(lab) = lab("unknown") else { return };
    let error = run(lab, &machine("unknown"), "no-such-command", b"").unwrap_err();
    assert!(matches!(&error, RunError::Refused { command, .. } if command == "no-such-command"), "{error}");
}

#[test]
fn with_instructions_for_a_clock_costs_are_counted_and_repeat() {
    let Some(lab) = lab("instructions") else { return };
    let mut machine = machine("instructions");
    machine.clock = Clock::Instructions;
    let values = values(lab, &machine, "hello", "");
    let cost = number(&values, "empty_hypercall");
    println!("an empty hypercall takes {cost} instructions");
    assert!((100..500).contains(&cost), "{values:?}");
    assert_eq!(number(&values, "empty_hypercall_again"), cost);
}

#[test]
fn a_killed_lab_leaves_no_qemu_behind() {
    if lab("killed").is_none() {
        return;
    }
    let mark = format!("test=killed-{}", std::process::id());
    let mut process = Command::new(env!("CARGO_BIN_EXE_xen-lab"))
        .args(["fail", "hang", &mark])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let qemu_runs = || {
        processes_with(&mark).iter().any(|process| process.contains("-serial stdio") && !process.starts_with("setpriv"))
    };
    let started = soon(qemu_runs);
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(started, "QEMU was seen running");
    assert!(soon(|| processes_with(&mark).is_empty()), "left behind: {:?}", processes_with(&mark));
}
