//! `pvmmu`: replays and checks the page-table work of a paravirtualised guest, and measures what it costs.
//!
//! Exit status: 0 clean, 1 something was found, 2 bad use or unreadable input. A result is printed whole or not at all.
#![forbid(unsafe_code)]

mod bench;
mod campaign;
mod check;
mod cli;
mod conform;
mod cost;
#[cfg(test)]
mod documented;
mod explore;
mod input;
mod measured;
mod page;
mod programs;
mod replay;
mod scale;
mod sizes;
mod soak;
mod style;
mod suites;
mod timeline;
mod verdict;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use cli::{Cli, Command, ReplayArgs};
use verdict::Verdict;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(verdict) => verdict.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(Verdict::UNUSABLE)
        }
    }
}

fn run(cli: &Cli) -> Result<Verdict> {
    let (text, verdict) = match &cli.command {
        Some(Command::Replay(args)) => replay::run(args)?,
        Some(Command::Explore(args)) => explore::run(args)?,
        Some(Command::Check(args)) => check::run(args)?,
        Some(Command::Soak(args)) => soak::run(args)?,
        Some(Command::Conform(args)) => conform::run(args)?,
        Some(Command::Merge(args)) => campaign::merge::run(args)?,
        Some(Command::Run(args)) => programs::run(args)?,
        Some(Command::Bench(args)) => bench::run(args)?,
        Some(Command::Scale(args)) => scale::run(args)?,
        Some(Command::Cost(args)) => cost::run(args.format)?,
        None => replay::run(&ReplayArgs::default())?,
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(verdict),
        written => Ok(written.map(|()| verdict)?),
    }
}
