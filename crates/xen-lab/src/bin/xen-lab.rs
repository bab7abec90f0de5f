//! `xen-lab COMMAND [PAYLOAD [KERNEL-ARGUMENTS]]`: boots the lab kernel, or the one that `XEN_LAB_KERNEL` names,
//! once, has it carry out a command, and writes the answer to standard output; the kernel's log and the times go to
//! standard error.
#![forbid(unsafe_code)]

use std::env;
use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;

use xen_lab::{Answer, Lab, Machine};

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let [command, payload, arguments] = match words.as_slice() {
        [command] => [command, "", ""],
        [command, payload] => [command, payload.as_str(), ""],
        [command, payload, arguments] => [command, payload.as_str(), arguments.as_str()],
        _ => {
            eprintln!("usage: xen-lab COMMAND [PAYLOAD [KERNEL-ARGUMENTS]]");
            return ExitCode::from(2);
        }
    };
    match run(command, payload, arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xen-lab: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &str, payload: &str, arguments: &str) -> Result<(), Box<dyn Error>> {
    let mut machine = Machine::default();
    machine.kernel_arguments = arguments.to_owned();
    let Answer { bytes, log, boot, run, .. } = Lab::find()?.run(&machine, command, payload.as_bytes())?;
    log.iter().for_each(|line| eprintln!("> {line}"));
    eprintln!("booted in {boot:.2?}, answered in {run:.2?}");
    Ok(io::stdout().write_all(&bytes)?)
}
