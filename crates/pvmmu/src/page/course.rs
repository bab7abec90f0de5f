//! Timelines on a page: one canvas, a choice of whose course it shows, and the findings that lead into it.

use maud::{Markup, PreEscaped, html};
use serde_json::Value;

use super::columns;
use crate::style::grouped;
use crate::timeline::Timeline;

const SCRIPT: &str = include_str!("course.js");

/// One thing that was found.
pub(crate) struct Found {
    /// The rule's number, or what kind of finding it is.
    pub(crate) kind: String,
    /// Where: the timeline by its number, and the moment in it; nowhere if it has none.
    pub(crate) at: Option<(usize, u64)>,
    /// What was found.
    pub(crate) what: String,
}

/// The findings, and the timelines they lead into.
pub(crate) fn courses(timelines: &[&Timeline], found: &[Found]) -> Markup {
    html! {
        (findings(found))
        @if !timelines.is_empty() { (timeline(timelines)) }
    }
}

fn findings(found: &[Found]) -> Markup {
    html! {
        @if !found.is_empty() {
            section aria-labelledby="findings" {
                h2 id="findings" { "What was found" }
                table.findings {
                    (columns(&["rule", "what", "where"]))
                    tbody {
                        @for finding in found {
                            tr {
                                td { (finding.kind) }
                                td { (finding.what) }
                                td { @if let Some((series, at)) = finding.at {
                                    button type="button" data-series=(series) data-at=(at) { "show " (grouped(at)) }
                                } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn timeline(timelines: &[&Timeline]) -> Markup {
    let data: Vec<Value> = timelines.iter().map(|timeline| timeline.data()).collect();
    let left_out = timelines.iter().filter(|timeline| timeline.left_out() > 0);
    html! {
        section.course aria-labelledby="course" {
            h2 id="course" { "In the course of it" }
            fieldset {
                legend { "whose" }
                @for (number, timeline) in timelines.iter().enumerate() {
                    label { input type="radio" name="series" value=(number) checked[number == 0]; " " (timeline.name()) }
                }
            }
            p.legend aria-hidden="true" {
                span.key.region {} "in a region " span.key.depth {} "queued operations " span.key.hypercall {} "hypercall "
                span.key.switch {} "context switch " span.key.mark {} "found"
            }
            noscript { p { "The timeline is drawn by a script." } }
            canvas tabindex="0" role="application" aria-label="timeline, a lane for each vCPU" aria-describedby="keys" {}
            output aria-live="polite" {}
            p.keys id="keys" {
                    "Drag, wheel and click; or "
                    kbd { "\u{2190}" } " " kbd { "\u{2192}" } " move, with " kbd { "Shift" } " by pages; "
                    kbd { "+" } " " kbd { "\u{2212}" } " closer and farther; " kbd { "0" } " all of it; "
                    kbd { "n" } " " kbd { "p" } " next and previous finding; " kbd { "h" } " " kbd { "g" } " next and previous hypercall."
            }
            @for timeline in left_out {
                p { (timeline.name()) ": " (grouped(timeline.left_out())) " moments beyond what a page can hold are not drawn." }
            }
            script type="application/json" id="timelines" { (PreEscaped(embedded(&Value::from(data)))) }
            // A module runs when all of the page is there.
            script type="module" { (PreEscaped(SCRIPT)) }
        }
    }
}

/// JSON that no `</script>` within it can end.
fn embedded(data: &Value) -> String {
    data.to_string().replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_in_the_data_ends_its_element() {
        let data = json!(["</script><b>"]);
        assert!(!embedded(&data).contains('<'));
        assert_eq!(serde_json::from_str::<Value>(&embedded(&data)).expect("JSON"), data);
    }

    #[test]
    fn a_finding_leads_to_its_moment() {
        let found = [Found { kind: "R2".into(), at: Some((1, 1234)), what: "<late>".into() }];
        let page = courses(&[], &found).into_string();
        assert!(page.contains("data-series=\"1\" data-at=\"1234\"") && page.contains("&lt;late&gt;"), "{page}");
        assert!(!page.contains("canvas"));
    }
}
