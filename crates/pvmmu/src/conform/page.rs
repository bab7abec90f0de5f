//! What the mock and real Xen answer differently, for a browser.

use maud::html;

use crate::page::{heading, page};
use crate::verdict::Verdict;

/// The page: the figures, and the title and text of each difference.
pub(super) fn of(
    subject: &str,
    verdict: Verdict,
    facts: &[String],
    command: &str,
    found: &[(String, String)],
) -> String {
    let body = html! {
        (heading("The mock held against real Xen", subject, verdict, facts))
        p { code { (command) } }
        @for (title, text) in found {
            section { h2 { (title) } pre { (text) } }
        }
        @if found.is_empty() { p { "Both answered alike." } }
    };
    page(&format!("{subject} \u{2013} pvmmu conform"), &body)
}
