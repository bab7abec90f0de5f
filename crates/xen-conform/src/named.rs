//! The outcomes that are known of each operation, and which of them a run reached.

use crate::table::Outcomes;

/// A line per operation: its name and the outcomes that were measured of it on Xen 4.17.
const NAMED: &str = include_str!("../named-outcomes.txt");

/// How much of what is known a run reached.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Named {
    /// Pairs of an operation and an outcome that came up.
    pub reached: usize,
    /// Those that did not, as `operation outcome`.
    pub missed: Vec<String>,
}

/// Which of the known outcomes are among `outcomes`.
#[must_use]
pub fn named(outcomes: &Outcomes) -> Named {
    let (reached, missed): (Vec<_>, Vec<_>) =
        pairs().partition(|(operation, outcome)| outcomes.get(operation, outcome) > 0);
    let missed = missed.iter().map(|(operation, outcome)| format!("{operation} {outcome}")).collect();
    Named { reached: reached.len(), missed }
}

fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    NAMED.lines().filter(|line| !line.starts_with('#')).flat_map(|line| {
        let mut words = line.split_whitespace();
        let operation = words.next().unwrap_or_default();
        words.map(move |outcome| (operation, outcome))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use hypercall::Errno;
    use xen_program::{Mode, Report};

    use super::*;
    use crate::compare::outcome;
    use crate::running::Running;
    use crate::{Mock, cases};

    #[test]
    fn each_pair_is_named_once_and_is_an_outcome() {
        let errnos: HashSet<String> =
            (1..200).filter_map(|value| Errno::from_return(-value).err()).map(|errno| errno.to_string()).collect();
        let mut seen = HashSet::new();
        for (operation, outcome) in pairs() {
            assert!(["ok", "fault"].contains(&outcome) || errnos.contains(outcome), "{operation} {outcome}");
            assert!(seen.insert((operation, outcome)), "{operation} {outcome}");
        }
        assert!(seen.len() > 120, "{}", seen.len());
    }

    #[test]
    fn every_outcome_of_a_case_is_named() {
        let mut outcomes = Outcomes::default();
        let cases = cases().cases;
        let programs: Vec<Vec<u8>> = cases.iter().map(|case| case.program().to_bytes()).collect();
        let programs: Vec<&[u8]> = programs.iter().map(Vec::as_slice).collect();
        let ran = Running::new(&Mock::new(), Report::Full, Mode::None).all(&programs).expect("the mock runs");
        for (case, ran) in cases.iter().zip(&ran) {
            outcomes.add(&case.program(), &outcome(ran).expect("the mock answers every case"));
        }
        let all: HashSet<_> = pairs().collect();
        let unnamed = outcomes.iter().filter(|(operation, outcome, _)| !all.contains(&(*operation, *outcome)));
        let unnamed: Vec<_> = unnamed.collect();
        assert!(unnamed.is_empty(), "{unnamed:?}");
    }
}
