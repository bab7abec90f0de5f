//! What a run has judged, thing by thing, for pipelines that keep account of tests.
//!
//! A command lists all it has looked at, whatever came of it, and says why where it could not look: a list of the
//! failures alone would be empty both where nothing is wrong and where nothing was judged.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use quick_xml::Writer;
use quick_xml::events::BytesText;

/// Things that belong together.
#[derive(Debug, PartialEq)]
pub(crate) struct Suite {
    /// What they are of.
    pub(crate) name: String,
    /// The things.
    pub(crate) cases: Vec<Case>,
}

/// One thing that was to be judged.
#[derive(Debug, PartialEq)]
pub(crate) struct Case {
    /// What it is.
    pub(crate) name: String,
    /// What came of it.
    pub(crate) ending: Ending,
    /// How long that took, where it was measured.
    pub(crate) took: Duration,
}

/// What came of looking at a thing.
#[derive(Debug, PartialEq)]
pub(crate) enum Ending {
    /// Nothing was found.
    Clean,
    /// Something was found.
    Found(Finding),
    /// It was not looked at, for this reason.
    NotJudged(String),
}

/// Something that was found.
#[derive(Debug, PartialEq)]
pub(crate) struct Finding {
    /// Its kind: the rule's number where a rule was broken.
    pub(crate) kind: String,
    /// What it is, in a line.
    pub(crate) what: String,
    /// All that is known of it.
    pub(crate) detail: String,
}

impl Case {
    /// Where what was found, if anything, is said line by line.
    pub(crate) fn of(name: &str, kind: &str, found: &[String]) -> Self {
        let ending = match found {
            [] => Ending::Clean,
            [first, ..] => Ending::Found(Finding { kind: kind.into(), what: first.clone(), detail: found.join("\n") }),
        };
        Self { name: name.into(), ending, took: Duration::ZERO }
    }
}

impl Suite {
    fn count(&self, of: fn(&Ending) -> bool) -> usize {
        self.cases.iter().filter(|case| of(&case.ending)).count()
    }

    fn took(&self) -> Duration {
        self.cases.iter().map(|case| case.took).sum()
    }
}

/// The suites as JUnit's XML: valid both by the schema of Jenkins' reader, and with what Ant's demands beside.
///
/// # Errors
/// The clock stands before 1970.
pub(crate) fn junit(suites: &[Suite]) -> Result<String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("the clock stands before 1970")?;
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.create_element("testsuites").write_inner_content(|writer| {
        suites.iter().enumerate().try_for_each(|(id, suite)| suite.write(id, now, writer))
    })?;
    let text = String::from_utf8(writer.into_inner())?;
    Ok(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{text}\n"))
}

type Written = std::io::Result<()>;

impl Suite {
    fn write(&self, id: usize, now: Duration, writer: &mut Writer<Vec<u8>>) -> Written {
        let is_found = |ending: &Ending| matches!(ending, Ending::Found(_));
        let is_left_out = |ending: &Ending| matches!(ending, Ending::NotJudged(_));
        // Ant's schema knows seconds without a zone.
        let stamp = humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + now).to_string();
        let element = writer
            .create_element("testsuite")
            .with_attribute(("id", &*id.to_string()))
            .with_attribute(("package", "pvmmu"))
            .with_attribute(("name", &*plain(&self.name)))
            .with_attribute(("timestamp", stamp.trim_end_matches('Z')))
            .with_attribute(("hostname", "localhost"))
            .with_attribute(("tests", &*self.cases.len().to_string()))
            .with_attribute(("failures", &*self.count(is_found).to_string()))
            .with_attribute(("errors", "0"))
            .with_attribute(("skipped", &*self.count(is_left_out).to_string()))
            .with_attribute(("time", &*seconds(self.took())));
        element.write_inner_content(|writer| {
            writer.create_element("properties").write_empty()?;
            self.cases.iter().try_for_each(|case| case.write(&self.name, writer))?;
            writer.create_element("system-out").write_empty()?;
            writer.create_element("system-err").write_empty().map(|_| ())
        })?;
        Ok(())
    }
}

impl Case {
    fn write(&self, suite: &str, writer: &mut Writer<Vec<u8>>) -> Written {
        let element = writer
            .create_element("testcase")
            .with_attribute(("classname", &*plain(suite)))
            .with_attribute(("name", &*plain(&self.name)))
            .with_attribute(("time", &*seconds(self.took)));
        match &self.ending {
            Ending::Clean => element.write_empty()?,
            Ending::Found(Finding { kind, what, detail }) => element.write_inner_content(|writer| {
                writer
                    .create_element("failure")
                    .with_attribute(("type", &*plain(kind)))
                    .with_attribute(("message", &*plain(what)))
                    .write_text_content(BytesText::new(&plain(detail)))
                    .map(|_| ())
            })?,
            Ending::NotJudged(why) => element.write_inner_content(|writer| {
                writer.create_element("skipped").with_attribute(("message", &*plain(why))).write_empty().map(|_| ())
            })?,
        };
        Ok(())
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

/// The text without the characters that no XML may hold, however they are written.
fn plain(text: &str) -> Cow<'_, str> {
    let is_forbidden =
        |c: char| (c.is_control() && !matches!(c, '\t' | '\n' | '\r')) || matches!(c, '\u{fffe}' | '\u{ffff}');
    if text.contains(is_forbidden) { text.replace(is_forbidden, "\u{fffd}").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_there_and_counted_by_what_came_of_it() {
        let found = ["line 3: <broken> & \"worse\"\u{1b}".to_owned(), "line 9".to_owned()];
        let skipped = Case { name: "c".into(), ending: Ending::NotJudged("no events".into()), took: Duration::ZERO };
        let cases = vec![Case::of("a", "R1", &[]), Case::of("b", "R2", &found), skipped];
        let xml = junit(&[Suite { name: "a 'trace'".into(), cases }]).unwrap();
        for part in [
            "tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\"",
            "name=\"a\" time=\"0.000\"/>",
            "<failure type=\"R2\" message=\"line 3: &lt;broken&gt; &amp; &quot;worse&quot;\u{fffd}\">",
            "\nline 9</failure>",
            "<skipped message=\"no events\"/>",
        ] {
            assert!(xml.contains(part), "no `{part}` in:\n{xml}");
        }
    }
}
