//! The judgement of recorded traces, for a browser.

use maud::{Markup, Render as _, html};

use super::{Judged, flushes_by_cause, not_judged, warnings};
use crate::page::{Bars, Found, Row, columns, courses, heading, page};
use crate::sizes::BatchSizes;
use crate::style::grouped;
use crate::timeline::Timeline;
use crate::verdict::Verdict;

/// The page.
pub(super) fn of(judged: &[Judged]) -> String {
    let verdict = Verdict::of(judged.iter().all(|judged| judged.report.violations_total == 0));
    let names: Vec<String> = judged.iter().map(|judged| judged.name.clone()).collect();
    let subject = match names.as_slice() {
        [name] => name.clone(),
        names => format!("{} traces", names.len()),
    };
    let facts = ["regions, switches, batches, by the rules of the contract".to_owned()];
    let timelines: Vec<&Timeline> = judged.iter().filter_map(|judged| judged.course.as_ref()).collect();
    let found: Vec<Found> = judged.iter().enumerate().flat_map(|(series, judged)| found(series, judged)).collect();
    let body = html! {
        (heading("What a kernel did, judged", &subject, verdict, &facts))
        div.scroll { (figures(judged)) }
        @for judged in judged { @for note in notes(judged) { p { (judged.name) ": " (note) } } }
        section { h2 { "Flushes that made a hypercall, by cause" } div.scroll { (causes(judged, &names)) } }
        section { h2 { "How much a flush carries" } div.scroll { (sizes(judged, &names)) } }
        (courses(&timelines, &found))
    };
    page(&format!("{subject} \u{2013} pvmmu check"), &body)
}

fn found(series: usize, judged: &Judged) -> impl Iterator<Item = Found> {
    judged.report.violations.iter().map(move |violation| Found {
        kind: violation.what.rule().to_string(),
        at: Some((series, violation.line)),
        what: format!("{}, vcpu {}, task {}: {}", judged.name, violation.vcpu, violation.task, violation.what),
    })
}

fn notes(judged: &Judged) -> Vec<String> {
    let unlisted = judged.report.violations_total - judged.report.violations.len() as u64;
    let more = (unlisted > 0).then(|| format!("{} more violations are not listed", grouped(unlisted)));
    let left_out = not_judged(&judged.report.evidence).into_iter().map(|what| format!("not judged: {what}"));
    warnings(&judged.summary).into_iter().chain(left_out).chain(more).collect()
}

fn figures(judged: &[Judged]) -> Markup {
    html! {
        table {
            (columns(&["trace", "lines", "of unknown events", "events judged", "lost", "regions", "of them empty", "context switches", "violations"]))
            tbody { @for Judged { name, summary, report, .. } in judged {
                tr {
                    th scope="row" { (name) }
                    @for figure in [
                        summary.lines, summary.unknown_lines, report.events, summary.lost, report.regions, report.empty_regions,
                        report.switches, report.violations_total,
                    ] { td { (grouped(figure)) } }
                }
            } }
        }
    }
}

fn causes(judged: &[Judged], columns: &[String]) -> Markup {
    let all: Vec<_> = judged.iter().map(|judged| flushes_by_cause(&judged.report.flushes)).collect();
    let names = all.first().into_iter().flatten().map(|(_, name)| *name);
    let row = |(number, name): (usize, &str)| Row {
        name: name.into(),
        figures: all.iter().map(|causes| Some(causes[number].0)).collect(),
    };
    let rows = names.enumerate().map(row).collect();
    Bars { caption: "hypercalls of the recorder", rows_are: "cause", columns, rows }.render()
}

fn sizes(judged: &[Judged], columns: &[String]) -> Markup {
    let sizes = judged.iter().map(|judged| {
        let mut sizes = BatchSizes::default();
        let buckets = judged.report.operations_per_flush.buckets();
        (0..).zip(buckets).filter(|(_, count)| **count > 0).for_each(|(size, count)| sizes.count_all(size, *count));
        sizes
    });
    Bars::of_sizes("hypercalls, by how many operations each carries", columns, &sizes.map(Some).collect::<Vec<_>>())
        .render()
}
