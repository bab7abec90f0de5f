//! The columns of `perf script`: `task tid [cpu] context time: system:event: body`.
//!
//! Which columns are there is the user's choice (`-F`), so they are taken from the event's name backwards and the first
//! that misses is named. perf prints no context; `perf-fields.py` does. The task's name fills at least 16 columns, so no
//! event's name is looked for in it.

use super::super::cursor::leading_decimal;
use super::{Columns, Place, after_place};
use crate::error::TextFault;

/// The width perf pads a task's name to.
const NAME_WIDTH: usize = 16;

/// Takes a line apart.
pub(in super::super) fn split(line: &[u8]) -> Result<Columns<'_>, TextFault> {
    let mut fault = TextFault::Column { missing: "event" };
    for start in names(line, NAME_WIDTH).chain(names(line, 0)) {
        match at(line, start) {
            Ok(columns) => return Ok(columns),
            Err(reason) if matches!(fault, TextFault::Column { missing: "event" }) => fault = reason,
            Err(_) => {}
        }
    }
    Err(fault)
}

/// Whether perf can have printed a line: it has an event's name with its system's in front.
pub(in super::super) fn is_line(line: &[u8]) -> bool {
    names(line, 0).next().is_some()
}

/// Where words of the form `system:event:` begin, from `first` on.
fn names(line: &[u8], first: usize) -> impl Iterator<Item = usize> {
    let starts = (first..line.len()).filter(|&at| at == 0 || line[at - 1] == b' ');
    starts.filter(|&at| is_name(&line[at..]))
}

fn is_name(text: &[u8]) -> bool {
    word(text).is_some_and(|rest| word(rest).is_some_and(|rest| matches!(rest.first(), None | Some(b' '))))
}

/// What follows a word and its colon.
fn word(text: &[u8]) -> Option<&[u8]> {
    let length = text.iter().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')).count();
    text[length..].strip_prefix(b":").filter(|_| length > 0)
}

/// The line whose event's name begins at `start`.
fn at(line: &[u8], start: usize) -> Result<Columns<'_>, TextFault> {
    let (before, time) = last_word(&line[..start]);
    if !time.ends_with(b":") {
        return Err(TextFault::Column { missing: "time" });
    }
    let (place, context) = last_word(before);
    let (tasks, vcpu, from) = match number_in(context, b"[", b"]") {
        Some(vcpu) => (place, vcpu, before.len()),
        None => {
            let (tasks, column) = last_word(place);
            let vcpu = number_in(column, b"[", b"]").ok_or(TextFault::Column { missing: "cpu" })?;
            (tasks, vcpu, place.len())
        }
    };
    let (_, tid) = last_word(tasks);
    let tid = tid.rsplit(|&b| b == b'/').next().unwrap_or(tid);
    let task = number_in(tid, b"", b"").ok_or(TextFault::Column { missing: "tid" })?;
    let system = word(&line[start..]).map_or(start, |rest| line.len() - rest.len());
    let mut columns = after_place(Place { task, vcpu, rest: &line[from..] })?;
    let event = &line[system..];
    let length = event.iter().take_while(|&&b| b != b':').count();
    (columns.name, columns.body) = (&event[..length], &event[length + 1..]);
    Ok(columns)
}

/// The last word of a text that may end in blanks, and what is in front of it.
fn last_word(text: &[u8]) -> (&[u8], &[u8]) {
    let text = text.trim_ascii_end();
    text.split_at(text.iter().rposition(|&b| b == b' ').map_or(0, |blank| blank + 1))
}

fn number_in(word: &[u8], open: &[u8], close: &[u8]) -> Option<u32> {
    let inside = word.strip_prefix(open)?.strip_suffix(close)?;
    leading_decimal(inside).filter(|(_, rest)| rest.is_empty())?.0.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::{is_line, split};
    use crate::error::TextFault;

    #[test]
    fn the_columns_perf_prints() {
        let line = b"            perf   173 [001]   214.577495650:              raw_syscalls:sys_enter: NR 16";
        let columns = split(line).expect("it is whole");
        assert_eq!((columns.task, columns.vcpu, columns.stamp), (173, 1, 214_577_495_650));
        assert_eq!((columns.name, columns.body), (b"sys_enter".as_slice(), b" NR 16".as_slice()));
        assert!(!columns.flags.recorded);
        let both = split(b"a b [1] c: d:e: 4/5   [002]  1.000001: x:y:").expect("it is whole");
        assert_eq!((both.task, both.vcpu, both.name), (5, 2, b"y".as_slice()));
    }

    #[test]
    fn the_context_of_the_script() {
        let line = b"              sh   173 [001] dNh2. 214.577495650: xen:xen_mc_batch: mode=0x1";
        let columns = split(line).expect("it is whole");
        assert!(columns.flags.recorded && columns.flags.hardirq && columns.flags.irqs_off);
        assert_eq!(columns.flags.preempt_depth, 2);
    }

    #[test]
    fn names_that_look_like_columns() {
        for name in ["1 [000] 2.0: a:b", "x:y: z", "a:b: c:d:", "[000]", "7 [001]", "-"] {
            let line = format!("{name:>16}   173 [001]   2.500000: xen:xen_mc_batch: mode=0x1");
            let columns = split(line.as_bytes()).unwrap_or_else(|fault| panic!("{line}: {fault}"));
            assert_eq!((columns.task, columns.vcpu, columns.name), (173, 1, b"xen_mc_batch".as_slice()), "{line}");
        }
    }

    #[test]
    fn the_column_that_misses_is_named() {
        let missing = |line: &str| match split(line.as_bytes()) {
            Err(TextFault::Column { missing }) => missing,
            other => panic!("{line}: {:?}", other.err()),
        };
        assert_eq!(missing("            perf [001]   214.577: xen:xen_mc_batch: mode=0x1"), "tid");
        assert_eq!(missing("            perf   173   214.577: xen:xen_mc_batch: mode=0x1"), "cpu");
        assert_eq!(missing("            perf   173 [001] xen:xen_mc_batch: mode=0x1"), "time");
        assert_eq!(missing("            perf   173 [001]   214.577: mode=0x1"), "event");
        assert!(!is_line(b"            perf   173 [001]   214.577: mode=0x1"));
    }
}
