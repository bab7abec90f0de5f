//! A result as one page for a browser.
//!
//! The page is whole in itself: style, script and figures are in it, and it asks nothing of any network (its own policy
//! forbids that to the browser). What can be read is there without the script; the script draws the timelines. Colours
//! are those the reader's system asks for, light or dark; all that the mouse can do, keys can do.

mod bars;
mod course;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::verdict::Verdict;

pub(crate) use bars::{Bars, Row, bar};
pub(crate) use course::{Found, courses};

const STYLE: &str = include_str!("style.css");

/// What a browser may do with the page: show it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// The page of this title.
pub(crate) fn page(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main { (body) }
                footer { "pvmmu " (env!("CARGO_PKG_VERSION")) }
            }
        }
    };
    page.into_string() + "\n"
}

/// The head of a page: what was done, to what, and, where something was judged, whether anything was found.
pub(crate) fn heading(what: &str, subject: &str, verdict: impl Into<Option<Verdict>>, facts: &[String]) -> Markup {
    let verdict = verdict.into().map(|verdict| match verdict {
        Verdict::Clean => ("clean", "clean"),
        Verdict::Found => ("found", "something was found"),
    });
    html! {
        header {
            p.what { (what) }
            h1 { (subject) " " @if let Some((class, word)) = verdict { span.verdict.(class) { (word) } } }
            ul.facts { @for fact in facts { li { (fact) } } }
        }
    }
}

/// The head of a table.
pub(crate) fn columns(names: &[&str]) -> Markup {
    html! { thead { tr { @for name in names { th scope="col" { (name) } } } } }
}
