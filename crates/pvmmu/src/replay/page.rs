//! The result of replays, for a browser.

use maud::{Markup, Render as _, html};

use super::cause::Cause;
use super::report::{Outcome, Subject};
use super::table::{self, on, percent, title, yes};
use crate::page::{Bars, Found, Row, columns, courses, heading, page};
use crate::style::grouped;
use crate::timeline::{Mark, Timeline};
use crate::verdict::Verdict;

/// The page for these outcomes.
///
/// Their courses must have been [dressed](dress).
pub(super) fn of(subject: &Subject, outcomes: &[Outcome]) -> String {
    let verdict = Verdict::of(outcomes.iter().all(Outcome::is_clean));
    let columns: Vec<String> = ["recorder".to_owned()].into_iter().chain(outcomes.iter().map(name)).collect();
    let timelines: Vec<&Timeline> =
        [&subject.course].into_iter().chain(outcomes.iter().filter_map(|outcome| outcome.course.as_ref())).collect();
    let body = html! {
        (heading("Replay of a recorded trace", &subject.name, verdict, &facts(subject)))
        (tiles(subject, outcomes))
        section aria-labelledby="causes" {
            h2 id="causes" { "Hypercalls by cause" }
            div.scroll { (causes(subject, outcomes, &columns)) }
        }
        section aria-labelledby="sizes" {
            h2 id="sizes" { "How much a hypercall carries" }
            div.scroll { (sizes(subject, outcomes, &columns)) }
        }
        section aria-labelledby="judged" {
            h2 id="judged" { "What was judged" }
            div.scroll { (judged(outcomes)) }
        }
        (courses(&timelines, &found(outcomes, &timelines)))
        section aria-labelledby="notes" {
            h2 id="notes" { "What has to be said" }
            pre { (table::notes(subject, outcomes).trim()) }
        }
    };
    page(&format!("{} \u{2013} pvmmu replay", subject.name), &body)
}

/// Gives each course its name and what was found in it.
pub(super) fn dress(outcome: &mut Outcome) {
    let name = name(outcome);
    let Some(mut course) = outcome.course.take() else { return };
    course.rename(name);
    for (kind, line, vcpu, what) in findings(outcome) {
        course.mark(Mark { at: line, vcpu, text: format!("{kind}: {what}") });
    }
    outcome.course = Some(course);
}

/// Kind, line, vCPU and words of everything that was found.
fn findings(outcome: &Outcome) -> Vec<(String, u64, Option<usize>, String)> {
    let kind = |rule: &str| if rule.is_empty() { "told".to_owned() } else { rule.to_owned() };
    let violations = outcome.violations.iter();
    let violations = violations.map(|found| (kind(&found.rule), found.line, None, found.what.clone()));
    let refused = outcome.refused.iter().map(|refused| {
        let what = format!("{}: {}", refused.operation, refused.errno);
        ("refused".to_owned(), refused.line, Some(refused.vcpu as usize), what)
    });
    let memory = outcome.oracle.first_mismatch.iter();
    let memory = memory.map(|line| ("memory".to_owned(), *line, None, "not what real Xen held".to_owned()));
    violations.chain(refused).chain(memory).collect()
}

fn found(outcomes: &[Outcome], timelines: &[&Timeline]) -> Vec<Found> {
    let of = |outcome: &Outcome| {
        let name = name(outcome);
        let series =
            outcome.course.as_ref().and_then(|_| timelines.iter().position(|timeline| timeline.name() == name));
        let beside = outcome.beside_mock.iter().flat_map(|beside| &beside.differences);
        let beside: Vec<Found> =
            beside.map(|what| Found { kind: "not as on the mock".into(), at: None, what: what.clone() }).collect();
        let found = findings(outcome).into_iter().map(move |(kind, line, _, what)| Found {
            kind,
            at: series.map(|series| (series, line)),
            what: format!("{name}, line {}: {what}", grouped(line)),
        });
        found.chain(beside).collect::<Vec<_>>()
    };
    outcomes.iter().flat_map(of).collect()
}

/// The outcome's column.
pub(super) fn name(outcome: &Outcome) -> String {
    let (policy, mode) = title(outcome);
    match outcome.beside_mock {
        Some(_) => format!("{policy}, {mode}, on Xen"),
        None => format!("{policy}, {mode}"),
    }
}

fn facts(subject: &Subject) -> Vec<String> {
    let trace = subject.trace;
    let fact = |number: u64, what: &str| format!("{} {what}", grouped(number));
    vec![
        fact(trace.events, "events"),
        fact(trace.unknown_lines, "lines of unknown events"),
        fact(trace.regions, "regions"),
        fact(trace.empty_regions, "of them empty"),
        fact(trace.pte_writes, "pte writes"),
        fact(trace.pte_writes_in_regions, "of them in regions"),
        fact(trace.tlb_flushes, "TLB flushes"),
        fact(subject.sync_points, "points where the contract forces a flush"),
    ]
}

fn tiles(subject: &Subject, outcomes: &[Outcome]) -> Markup {
    let before = subject.recorded.hypercalls();
    html! {
        div.tiles {
            div.tile.series0 { div { "recorder" } div.figure { (grouped(before)) } div.of { "hypercalls" } }
            @for (number, outcome) in (1..).zip(outcomes) {
                div.tile.{ "series" (number % 4) } {
                    div { (name(outcome)) }
                    div.figure { (grouped(outcome.hypercalls())) }
                    div.of { (percent(outcome.hypercalls(), before)) " of the recorder\u{2019}s" }
                }
            }
        }
    }
}

fn causes(subject: &Subject, outcomes: &[Outcome], columns: &[String]) -> Markup {
    let row = |cause: &Cause| {
        let all = [&subject.recorded.by_cause].into_iter().chain(outcomes.iter().map(|outcome| &outcome.by_cause));
        Row { name: cause.label().into(), figures: all.map(|by_cause| by_cause.get(cause).copied()).collect() }
    };
    let rows = Cause::ALL.iter().map(row).filter(|row| row.figures.iter().any(Option::is_some)).collect();
    Bars { caption: "hypercalls before and after, by what they were for", rows_are: "cause", columns, rows }.render()
}

fn sizes(subject: &Subject, outcomes: &[Outcome], columns: &[String]) -> Markup {
    let recorded = Some(subject.recorded.sizes.clone());
    let all: Vec<_> = [recorded].into_iter().chain(outcomes.iter().map(|outcome| outcome.sizes.clone())).collect();
    Bars::of_sizes("hypercalls, by how many operations each carries", columns, &all).render()
}

fn judged(outcomes: &[Outcome]) -> Markup {
    html! {
        table {
            (columns(&["policy", "on", "updates issued", "merged", "largest batch", "broken rules", "refused", "memory as recorded", "ends as without batching"]))
            tbody {
                @for outcome in outcomes {
                    tr {
                        th scope="row" { (name(outcome)) }
                        td { (on(outcome)) }
                        td { (grouped(outcome.updates_issued)) }
                        td { (grouped(outcome.updates_merged)) }
                        td { (grouped(outcome.largest_batch)) }
                        td { @if outcome.beside_mock.is_some() { "\u{2013}" } @else { (grouped(outcome.violations_total)) } }
                        td { (grouped(outcome.refused.len() as u64)) }
                        td { (grouped(outcome.oracle.matched)) " of " (grouped(outcome.oracle.compared)) }
                        td { (yes(outcome.final_state_matches_unbatched)) }
                    }
                }
            }
        }
    }
}
