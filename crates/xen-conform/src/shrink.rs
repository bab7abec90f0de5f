//! From a program that the two answer differently to a small one.
//!
//! In each round every way of leaving something out is tried, all in one run, and the smallest program
//! that still shows a difference goes into the next. What it shows in the end may be another difference
//! than at first; it is one all the same.

use std::collections::HashSet;

use hypercall::abi::{HYPERCALL_MMU_UPDATE, HYPERCALL_MMUEXT_OP, HYPERCALL_MULTICALL};
use xen_program::numbers::CONTINUED;
use xen_program::{Buffer, Mode, Program, Step, Value};

use crate::compare::{Difference, Pair, compare};
use crate::running::RunningError;

/// Rounds after which a program is small enough.
const ROUNDS: usize = 24;

/// Makes the program of a difference smaller as long as there is one. Answers with the boots it took.
pub(crate) fn shrink(pair: Pair<'_>, mode: Mode, mut found: Difference) -> Result<(Difference, u64), RunningError> {
    let mut boots = 0;
    for _ in 0..ROUNDS {
        let compared = compare(pair, mode, &smaller(&found.program))?;
        boots += compared.boots;
        let differences = compared.differences.into_iter().map(|(_, difference)| difference);
        match differences.min_by_key(|difference| size(&difference.program)) {
            Some(smaller) => found = smaller,
            None => break,
        }
    }
    Ok((found, boots))
}

fn size(program: &Program) -> (usize, usize) {
    (program.operations(), program.to_bytes().len())
}

/// Every program with something left out.
fn smaller(program: &Program) -> Vec<Program> {
    let steps = &program.steps;
    let mut all = Vec::new();
    let mut length = steps.len() / 2;
    while length > 0 {
        for start in (0..steps.len()).step_by(length) {
            let kept = steps[..start].iter().chain(steps.iter().skip(start + length));
            all.push(Program { steps: kept.cloned().collect() });
        }
        length /= 2;
    }
    for (place, step) in steps.iter().enumerate() {
        for smaller in smaller_steps(step) {
            let mut steps = steps.clone();
            steps[place] = smaller;
            all.push(Program { steps });
        }
    }
    let mut seen = HashSet::new();
    all.retain(|program| seen.insert(program.clone()));
    all
}

fn smaller_steps(step: &Step) -> Vec<Step> {
    let Step::Call { interrupt, number, args } = step else { return Vec::new() };
    let call = |args| Step::Call { interrupt: *interrupt, number: *number, args };
    let mut all: Vec<Step> = smaller_calls(*number, args).into_iter().map(call).collect();
    if interrupt.is_some() {
        all.push(Step::Call { interrupt: None, number: *number, args: args.clone() });
    }
    all
}

/// The registers of a call with an element of its array, or a part of one, left out.
fn smaller_calls(number: u32, args: &[Value]) -> Vec<Vec<Value>> {
    let words = match number {
        HYPERCALL_MMU_UPDATE => 2,
        HYPERCALL_MMUEXT_OP => 3,
        HYPERCALL_MULTICALL => 8,
        _ => return Vec::new(),
    };
    let Some(Value::Buffer(Buffer { words: all, edge })) = args.first() else { return Vec::new() };
    let with = |words: Vec<Value>, count: Option<Value>| {
        let mut args = args.to_vec();
        args[0] = Value::Buffer(Buffer { words, edge: *edge });
        if let (Some(place), Some(count)) = (args.get_mut(1), count) {
            *place = count;
        }
        args
    };
    let without = |element: usize| {
        let kept = all.iter().enumerate().filter(|(index, _)| index / words != element);
        with(kept.map(|(_, word)| word.clone()).collect(), args.get(1).map(one_less))
    };
    let mut smaller: Vec<_> = (0..all.len() / words).map(without).collect();
    if number == HYPERCALL_MULTICALL {
        smaller.extend(smaller_entries(all).into_iter().map(|words| with(words, None)));
    }
    smaller
}

/// The entries of a multicall with one of its calls made smaller.
fn smaller_entries(words: &[Value]) -> Vec<Vec<Value>> {
    let mut all = Vec::new();
    for start in (0..words.len()).step_by(8) {
        let (Some(Value::Literal(number)), Some(args)) = (words.get(start), words.get(start + 2..start + 7)) else {
            continue;
        };
        for smaller in smaller_calls(*number as u32, args) {
            let mut words = words.to_vec();
            words[start + 2..start + 7].clone_from_slice(&smaller);
            all.push(words);
        }
    }
    all
}

fn one_less(count: &Value) -> Value {
    match count {
        Value::Literal(count) if count & !u64::from(CONTINUED) != 0 => Value::Literal(count - 1),
        other => other.clone(),
    }
}
