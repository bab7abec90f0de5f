//! Holds the mock against the machine, for as many calls as one likes.

use std::process::ExitCode;

use clap::Parser;
use papr_lab::{Compared, Kind, LabError, Machine, compare, mock};

/// Gives QEMU's pseries machine and its mock the same hypercalls, up to the first that they answer differently.
#[derive(Parser)]
struct Arguments {
    /// Hypercalls to make.
    #[arg(long, default_value_t = 100_000)]
    ops: usize,
    /// What they are made up from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Loads through the page table between hypercalls, to show what is flushed.
    #[arg(long)]
    loads: bool,
}

fn run(Arguments { ops, seed, loads }: &Arguments) -> Result<Compared, LabError> {
    let kind = if *loads { Kind::Loads } else { Kind::Hypercalls };
    let mut machine = Machine::boot()?;
    let compared = compare(&mut machine, mock(), (kind, *seed), *ops)?;
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
    compared.answers.iter().for_each(|((call, status), times)| println!("{call:#18x} {status:>10} {times:>9}"));
    println!("{} calls of seed {} answered alike", compared.calls, arguments.seed);
    compared.divergence.map_or(ExitCode::SUCCESS, |divergence| {
        println!("{divergence}");
        ExitCode::FAILURE
    })
}
