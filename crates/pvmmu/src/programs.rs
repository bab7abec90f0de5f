//! `pvmmu run`: programs of hypercalls, from a file, on one hypervisor.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use xen_conform::{CaseVerdict, Executor, Mock, Verdict as Answered, Xen, run_cases};
use xen_lab::Lab;
use xen_program::{Case, parse};

use crate::cli::{On, RunArgs};
use crate::verdict::Verdict;

/// Runs the programs of a file and renders each step with what it came to.
///
/// # Errors
/// The file cannot be read or holds no program; the hypervisor cannot be had.
pub(crate) fn run(args: &RunArgs) -> Result<(String, Verdict)> {
    let cases = read(&args.program)?;
    let executor: Box<dyn Executor> = match args.on {
        On::Mock => Box::new(Mock::new()),
        On::Xen => Box::new(Xen::new(Lab::find()?)),
    };
    let verdicts = run_cases(&*executor, args.preempt.into(), cases)?;
    let clean = verdicts.iter().all(|case| case.verdict == Answered::Met);
    Ok((verdicts.iter().map(text).collect::<Vec<_>>().join("\n"), Verdict::of(clean)))
}

/// The programs of a file.
///
/// # Errors
/// It cannot be read, is not in the text form, or holds none.
pub(crate) fn read(path: &Path) -> Result<Vec<Case>> {
    let shown = || path.display().to_string();
    let text = fs::read_to_string(path).with_context(shown)?;
    let cases = parse(&text).with_context(shown)?.cases;
    ensure!(cases.iter().any(|case| !case.steps.is_empty()), "{}: no program in it, see `xen_program::text`", shown());
    Ok(cases)
}

fn text(CaseVerdict { case, answer, verdict, .. }: &CaseVerdict) -> String {
    let mut text = String::new();
    if !case.name.is_empty() {
        let _ = writeln!(text, "case {}: {}", case.name, case.title);
    }
    let steps = case.steps.iter().map(|step| Some(&step.step)).chain(std::iter::repeat(None));
    for (step, answer) in steps.zip(answer) {
        let _ = match step {
            Some(step) => writeln!(text, "    {step}\n        # {answer}"),
            None => writeln!(text, "    # {answer}"),
        };
    }
    let _ = match verdict {
        Answered::Unmet(why) => writeln!(text, "    # ! not as expected: {why}"),
        Answered::Unmodelled(what) => writeln!(text, "    # ! the mock does not model this: {what}"),
        _ => Ok(()),
    };
    text
}
