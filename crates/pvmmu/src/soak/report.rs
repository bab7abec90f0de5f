//! What a soak came to.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::style::grouped;

/// Of this many updates, one preemption, and of the larger number one that finds something queued, one migration and one
/// interrupt: less would not have tried what it says.
const UPDATES_PER_PREEMPTION: u64 = 100;
const UPDATES_PER_EVENT: u64 = 1_000;

/// What was done, and what was wrong with it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Soaked {
    hypervisor: String,
    seed: u64,
    updates: u64,
    regions: u64,
    preemptions: u64,
    preemptions_with_queue: u64,
    migrations: u64,
    interrupts: u64,
    merged: u64,
    /// Operations left in a queue by a switch (R7).
    left_behind: u64,
    refused: u64,
    /// What the platform was told because no caller was there.
    reports: u64,
    /// By how much the library's counts do not add up, among themselves and with what reached Xen.
    unaccounted: u64,
    wrong: Vec<Wrong>,
    /// What there was less of than a soak of this length has to have.
    too_few: Vec<&'static str>,
}

/// Something that was wrong, and the first time it was.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Wrong {
    what: String,
    times: u64,
    entry: u64,
    /// Number of the write of that entry that was due.
    expected: u64,
    /// Number of the write that was there.
    found: u64,
}

impl Soaked {
    /// Of the kernel's answer.
    ///
    /// # Errors
    /// A line that is none of its lines, or one that is missing.
    pub(super) fn read(text: &str, asked: u64, seed: u64) -> Result<Self> {
        let value = |name: &str| -> Result<u64> {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            let value = value.with_context(|| format!("the kernel's answer has no `{name}`"))?;
            value.parse().with_context(|| format!("`{name}={value}` is no number"))
        };
        let hypervisor = text.lines().find_map(|line| line.strip_prefix("xen ")).context("no version of Xen")?;
        let wrong = text.lines().filter_map(|line| line.strip_prefix("wrong ")).map(Wrong::read);
        let mut soaked = Self {
            hypervisor: format!("Xen {hypervisor}"),
            seed,
            updates: value("updates")?,
            regions: value("regions")?,
            preemptions: value("preemptions")?,
            preemptions_with_queue: value("preemptions_with_queue")?,
            migrations: value("migrations")?,
            interrupts: value("interrupts")?,
            merged: value("merged")?,
            left_behind: value("left_behind")?,
            refused: value("refused")?,
            reports: value("reports")?,
            unaccounted: value("unaccounted")?,
            wrong: wrong.collect::<Result<_>>()?,
            too_few: Vec::new(),
        };
        soaked.wrong.retain(|wrong| wrong.times > 0);
        soaked.too_few = soaked.missing(asked);
        Ok(soaked)
    }

    fn missing(&self, asked: u64) -> Vec<&'static str> {
        let due = [
            ("updates", self.updates, asked),
            ("preemptions", self.preemptions, asked / UPDATES_PER_PREEMPTION),
            ("preemptions with something queued", self.preemptions_with_queue, asked / UPDATES_PER_EVENT),
            ("migrations", self.migrations, asked / UPDATES_PER_EVENT),
            ("interrupts", self.interrupts, asked / UPDATES_PER_EVENT),
        ];
        due.iter().filter(|(_, found, due)| found < due).map(|(name, ..)| *name).collect()
    }

    pub(super) fn is_clean(&self) -> bool {
        let counts = [self.left_behind, self.refused, self.reports, self.unaccounted];
        counts == [0; 4] && self.wrong.is_empty() && self.too_few.is_empty()
    }

    pub(super) fn text(&self) -> String {
        let mut out = format!("{}, seed {}\n", self.hypervisor, self.seed);
        let counts = [
            ("updates", self.updates),
            ("regions", self.regions),
            ("preemptions", self.preemptions),
            ("  with something queued", self.preemptions_with_queue),
            ("migrations", self.migrations),
            ("interrupts that wrote", self.interrupts),
            ("merged", self.merged),
            ("left behind at a switch", self.left_behind),
            ("refused", self.refused),
            ("reported to nobody", self.reports),
            ("not accounted for", self.unaccounted),
        ];
        for (name, count) in counts {
            let _infallible = writeln!(out, "{name:<24} {:>13}", grouped(count));
        }
        for Wrong { what, times, entry, expected, found } in &self.wrong {
            let first = format!("first entry {entry}: write {expected} was due, write {found} was there");
            let _infallible = writeln!(out, "WRONG: {what}, {} times; {first}", grouped(*times));
        }
        for name in &self.too_few {
            let _infallible = writeln!(out, "TOO FEW {name}: such a soak shows nothing");
        }
        out + if self.is_clean() { "nothing lost, repeated or out of order\n" } else { "NOT CLEAN\n" }
    }
}

impl Wrong {
    /// Of `what times entry expected found`.
    fn read(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let [what, numbers @ ..] = &*words else { bail!("`{line}` is empty") };
        let numbers = numbers.iter().map(|word| word.parse()).collect::<Result<Vec<u64>, _>>();
        let Ok([times, entry, expected, found]) = numbers.as_deref() else { bail!("`{line}` has not four numbers") };
        let (times, entry, expected, found) = (*times, *entry, *expected, *found);
        Ok(Self { what: what.replace('_', " "), times, entry, expected, found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "xen 4.17.7\nupdates=1000\nregions=9\npreemptions=10\npreemptions_with_queue=5\nleft_behind=0\n\
        migrations=1\ninterrupts=1\nmerged=3\nrefused=0\nreports=0\nunaccounted=0\nwrong lost 0 0 0 0\n";

    #[test]
    fn an_answer_without_findings_is_clean() {
        let soaked = Soaked::read(ANSWER, 1000, 7).unwrap();
        assert!(soaked.is_clean() && soaked.text().contains("nothing lost"), "{}", soaked.text());
    }

    #[test]
    fn everything_that_can_be_wrong_is_said() {
        for (right, wrong, said) in [
            ("lost 0 0 0 0", "flush_lost 2 7 5 4", "flush lost, 2 times; first entry 7: write 5 was due, write 4"),
            ("left_behind=0", "left_behind=1", "left behind at a switch              1"),
            ("refused=0", "refused=1", "NOT CLEAN"),
            ("reports=0", "reports=1", "NOT CLEAN"),
            ("unaccounted=0", "unaccounted=1", "NOT CLEAN"),
            ("migrations=1", "migrations=0", "TOO FEW migrations"),
            ("updates=1000", "updates=999", "TOO FEW updates"),
        ] {
            let soaked = Soaked::read(&ANSWER.replace(right, wrong), 1000, 7).unwrap();
            assert!(!soaked.is_clean() && soaked.text().contains(said), "{wrong}: {}", soaked.text());
        }
    }

    #[test]
    fn an_answer_that_is_none_is_an_error_that_says_where() {
        for (from, to, said) in [
            ("migrations=1", "", "`migrations`"),
            ("merged=3", "merged=x", "`merged=x`"),
            ("lost 0 0 0 0", "lost 0 0", "`lost 0 0`"),
        ] {
            let error = Soaked::read(&ANSWER.replace(from, to), 1000, 7).unwrap_err();
            assert!(format!("{error:#}").contains(said), "{error:#}");
        }
    }
}
