//! Holds the mock against the machine, for as many calls as one likes.

use std::process::ExitCode;

use clap::Parser;
use papr_lab::{Compared, LabError, Machine, compare, mock};

/// Gives QEMU's pseries machine and its mock the same hypercalls, up to the first that they answer differently.
#[derive(Parser)]
struct Arguments {
    /// Hypercalls to make.
    #[arg(long, default_value_t = 100_000)]
    ops: usize,
    /// What they are made up from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn run(Arguments { ops, seed }: &Arguments) -> Result<Compared, LabError> {
    let mut machine = Machine::boot()?;
    let compared = compare(&mut machine, mock(), *seed, *ops)?;
    machine.off()?;
    Ok(compared)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let compared = match run(&arguments) {
        Ok(compared) => compared,
        Err(error) => {
            eprintln!("papr-lab: {error}");
            return ExitCode::from(2);
        }
    };
    compared.answers.iter().for_each(|((call, status), times)| println!("{call:#6x} {status:>3} {times:>9}"));
    println!("{} hypercalls of seed {} answered alike", compared.calls, arguments.seed);
    compared.divergence.map_or(ExitCode::SUCCESS, |divergence| {
        println!("{divergence}");
        ExitCode::FAILURE
    })
}
