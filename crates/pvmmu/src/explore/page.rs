//! What was explored, for a browser: the verdicts, and each way that was found or gone, moment by moment.

use guest_model::{Moment, who};
use maud::{Markup, html};

use super::course;
use super::report::Explored;
use crate::page::{Found, columns, courses, heading, page};
use crate::style::grouped;
use crate::timeline::Timeline;
use crate::verdict::Verdict;

/// The page.
pub(super) fn of(explored: &[Explored], command: &str) -> String {
    let verdict = Verdict::of(explored.iter().all(|explored| explored.fault.is_none()));
    let subject = match explored {
        [one] => one.name(),
        [one, other] if one.scenario.name == other.scenario.name => one.scenario.name.into(),
        _ => format!("{} explorations", explored.len()),
    };
    let shown: Vec<&Explored> = explored.iter().filter(|explored| !explored.moments.is_empty()).collect();
    let courses_of: Vec<Timeline> = shown.iter().map(|explored| course::of(explored)).collect();
    let timelines: Vec<&Timeline> = courses_of.iter().collect();
    let found: Vec<Found> = shown.iter().enumerate().filter_map(|(series, explored)| found(series, explored)).collect();
    let body = html! {
        (heading("Every interleaving of a scenario", &subject, verdict, &facts(explored)))
        p { code { (command) } }
        (courses(&timelines, &found))
        @for (series, explored) in shown.iter().enumerate() { (way(series, explored)) }
        section aria-labelledby="explored" {
            h2 id="explored" { "What was explored" }
            div.scroll { (table(explored)) }
        }
    };
    page(&format!("{subject} \u{2013} pvmmu explore"), &body)
}

fn facts(explored: &[Explored]) -> Vec<String> {
    let all = |of: fn(&Explored) -> u64| grouped(explored.iter().map(of).sum());
    let found = explored.iter().filter(|explored| explored.fault.is_some()).count();
    vec![
        format!("{} found wrong", found),
        format!("{} states", all(|explored| explored.seen.states)),
        format!("{} schedules", all(|explored| explored.seen.schedules)),
    ]
}

fn found(series: usize, explored: &Explored) -> Option<Found> {
    let fault = explored.fault.as_ref()?;
    Some(Found {
        kind: fault.found.rule().map_or_else(|| "no end".into(), |rule| rule.to_string()),
        at: Some((series, explored.moments.len() as u64)),
        what: format!("{}: {}", explored.name(), fault.found),
    })
}

fn table(explored: &[Explored]) -> Markup {
    html! {
        table {
            (columns(&["scenario", "design", "what is done", "verdict", "states", "schedules", "seconds"]))
            tbody {
                @for one in explored {
                    tr {
                        th scope="row" { (one.scenario.name) }
                        td.name { (one.policy.name()) }
                        td { (one.scenario.about) }
                        td { (one.verdict()) }
                        td { (grouped(one.seen.states)) }
                        td { (grouped(one.seen.schedules)) }
                        td { (format!("{:.2}", one.time.as_secs_f64())) }
                    }
                }
            }
        }
    }
}

fn way(series: usize, explored: &Explored) -> Markup {
    let (tasks, vcpus) = (explored.scenario.tasks(), explored.moments.first().map_or(0, |moment| moment.queues.len()));
    let last = explored.moments.len();
    html! {
        section {
            h2 { (explored.name()) ", moment by moment" }
            p { (explored.scenario.about) }
            @if let Some(fault) = &explored.fault {
                div.finding {
                    strong { (fault.found) }
                    p { "Schedule " code { (fault.schedule) } ". To go it again:" }
                    pre { (explored.again()) }
                }
            }
            div.scroll { table.way {
                thead { tr { th scope="col" { "" } @for vcpu in 0..vcpus { th scope="col" { "vcpu " (vcpu) } } } }
                tbody {
                    @for (number, moment) in (1..).zip(&explored.moments) {
                        tr.found[number == last && explored.fault.is_some()] data-series=(series) data-at=(number) {
                            td { (number) }
                            @for vcpu in 0..vcpus { td { (cell(moment, vcpu, tasks)) } }
                        }
                    }
                }
            } }
        }
    }
}

/// What ran on the vCPU, and what waits there.
fn cell(moment: &Moment, vcpu: usize, tasks: usize) -> Markup {
    let queue = &moment.queues[vcpu];
    html! {
        @if vcpu == moment.vcpu {
            span.idle[moment.fiber >= tasks] { (who(moment.fiber, tasks)) ": " (moment.text) } " "
        }
        @if !queue.is_empty() { span.queue title="waits in the queue" { "[" (queue.join(" ")) "]" } }
    }
}
