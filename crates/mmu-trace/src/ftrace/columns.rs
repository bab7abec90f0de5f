//! The columns in front of every event: `task-pid (tgid) [cpu] context stamp: event: body`.
//!
//! The task's name is arbitrary bytes, blanks, dashes and brackets included, padded to 16 columns. The dash of a name
//! and the dash before the number are told apart by what must follow the latter; the padded place is tried first.

use super::cursor::leading_decimal;
use crate::error::TextFault;
use crate::event::{EntryFlags, MAX_VCPUS};

/// The width Linux pads a task's name to.
const NAME_WIDTH: usize = 16;

/// One event line, taken apart.
pub(super) struct Columns<'a> {
    pub(super) task: u32,
    pub(super) vcpu: u32,
    pub(super) flags: EntryFlags,
    pub(super) stamp: u64,
    /// The event's name, without its colon.
    pub(super) name: &'a [u8],
    /// What follows the name.
    pub(super) body: &'a [u8],
}

/// Takes a line apart.
pub(super) fn split(line: &[u8]) -> Result<Columns<'_>, TextFault> {
    let mut fault = TextFault::NoTask;
    for dash in std::iter::once(NAME_WIDTH).chain(1..line.len()) {
        let Some(place) = place_at(line, dash) else { continue };
        match after_place(place) {
            Ok(columns) => return Ok(columns),
            Err(reason) if matches!(fault, TextFault::NoTask) => fault = reason,
            Err(_) => {}
        }
    }
    Err(fault)
}

/// The task and vCPU columns, and what follows them.
struct Place<'a> {
    task: u32,
    vcpu: u32,
    rest: &'a [u8],
}

/// `-pid (tgid) [cpu] ` at `dash`, where the number of the thread group may be missing or be dashes.
fn place_at(line: &[u8], dash: usize) -> Option<Place<'_>> {
    let rest = line.get(dash..)?.strip_prefix(b"-")?;
    let (task, rest) = leading_decimal(rest)?;
    let rest = skip_group(skip_blanks(rest.strip_prefix(b" ")?))?;
    let (vcpu, rest) = leading_decimal(rest.strip_prefix(b"[")?)?;
    let rest = rest.strip_prefix(b"] ")?;
    Some(Place { task: task.try_into().ok()?, vcpu: vcpu.try_into().ok()?, rest })
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|&&b| b == b' ').count();
    &text[blanks..]
}

/// Skips `( 123) ` or `(-----) ` if it is there; `None` if a parenthesis holds something else.
fn skip_group(text: &[u8]) -> Option<&[u8]> {
    let Some(inside) = text.strip_prefix(b"(") else { return Some(text) };
    let width = inside.iter().take_while(|b| b.is_ascii_digit() || matches!(b, b' ' | b'-')).count();
    inside[width..].strip_prefix(b")").map(skip_blanks)
}

fn after_place(place: Place<'_>) -> Result<Columns<'_>, TextFault> {
    let Place { task, vcpu, rest } = place;
    if vcpu >= MAX_VCPUS {
        return Err(TextFault::Vcpu { vcpu });
    }
    let (flags, rest) = context(skip_blanks(rest))?;
    let (stamp, rest) = stamp(rest).ok_or(TextFault::NoStamp)?;
    let rest = skip_blanks(rest);
    let length = rest.iter().take_while(|&&b| b != b':' && b != b' ').count();
    if length == 0 {
        return Err(TextFault::NoEvent);
    }
    let (name, body) = rest.split_at(length);
    Ok(Columns { task, vcpu, flags, stamp, name, body: body.strip_prefix(b":").unwrap_or(body) })
}

/// The context characters, if the recorder was told to print them, and the delay mark that may follow them.
fn context(text: &[u8]) -> Result<(EntryFlags, &[u8]), TextFault> {
    let length = text.iter().take_while(|&&b| b != b' ').count();
    let (column, rest) = text.split_at(length);
    if column.last() == Some(&b':') {
        return Ok((EntryFlags::default(), text));
    }
    let flags = flags(column).ok_or_else(|| TextFault::Flags { found: String::from_utf8_lossy(column).into() })?;
    let rest = skip_blanks(rest);
    let delay = rest.iter().take_while(|b| b"$@*#!+".contains(b)).count();
    Ok((flags, skip_blanks(&rest[delay..])))
}

/// Four characters, or five since Linux 5.13: masked, reschedule, handler, preempt depth, migrate depth.
fn flags(column: &[u8]) -> Option<EntryFlags> {
    let (&[masked, resched, handler, preempt], migrate) = column.split_first_chunk()?;
    let migrate_depth = match *migrate {
        [] => 0,
        [depth] => depth_of(depth)?,
        _ => return None,
    };
    if !b".dbDX".contains(&masked) || !b".NnpBbLl".contains(&resched) || !b".ZzHhs".contains(&handler) {
        return None;
    }
    Some(EntryFlags {
        recorded: true,
        irqs_off: matches!(masked, b'd' | b'D'),
        bh_off: matches!(masked, b'b' | b'D'),
        need_resched: resched != b'.',
        hardirq: matches!(handler, b'Z' | b'H' | b'h'),
        softirq: matches!(handler, b'H' | b's'),
        nmi: matches!(handler, b'Z' | b'z'),
        preempt_depth: depth_of(preempt)?,
        migrate_depth,
    })
}

fn depth_of(character: u8) -> Option<u8> {
    match character {
        b'.' => Some(0),
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

/// `count:` or `seconds.fraction:`; the latter with its point taken out, so that the unit is the fraction's last digit.
fn stamp(text: &[u8]) -> Option<(u64, &[u8])> {
    let (whole, rest) = leading_decimal(text)?;
    let Some(fraction) = rest.strip_prefix(b".") else { return Some((whole, rest.strip_prefix(b":")?)) };
    let (low, after) = leading_decimal(fraction)?;
    let digits = u32::try_from(fraction.len() - after.len()).ok()?;
    let scale = 10u64.checked_pow(digits)?;
    Some((whole.checked_mul(scale)?.checked_add(low)?, after.strip_prefix(b":")?))
}

#[cfg(test)]
mod tests {
    use super::{Columns, split};
    use crate::error::TextFault;

    fn parts(line: &str) -> Columns<'_> {
        split(line.as_bytes()).unwrap_or_else(|fault| panic!("{line}: {fault}"))
    }

    #[test]
    fn the_columns_of_linux_6_1() {
        let columns = parts("     ksoftirqd/0-14      [001] dNh3.           24: sched_switch: prev_comm=a");
        assert_eq!((columns.task, columns.vcpu, columns.stamp), (14, 1, 24));
        assert_eq!((columns.name, columns.body), (b"sched_switch".as_slice(), b" prev_comm=a".as_slice()));
        let flags = columns.flags;
        assert!(flags.recorded && flags.irqs_off && flags.need_resched && flags.hardirq && !flags.softirq);
        assert_eq!((flags.preempt_depth, flags.migrate_depth), (3, 0));
    }

    #[test]
    fn other_columns_of_other_kernels() {
        let four = parts("           <...>-123   [002] d.s1   123.456789: e: b");
        assert_eq!((four.task, four.vcpu, four.stamp), (123, 2, 123_456_789));
        assert!(four.flags.softirq && four.flags.in_interrupt());
        let group = parts("            bash-99      (   1234) [000] D..ab  7: e: b");
        assert_eq!((group.task, group.flags.preempt_depth, group.flags.migrate_depth), (99, 10, 11));
        assert!(group.flags.irqs_off && group.flags.bh_off);
        assert_eq!(parts("            bash-99      (-------) [000] ..... +  7: e: b").stamp, 7);
        let bare = parts("            bash-99      [000]     7.000001: e: b");
        assert!(!bare.flags.recorded);
        assert_eq!(bare.stamp, 7_000_001);
    }

    #[test]
    fn names_with_blanks_dashes_and_brackets() {
        for name in
            ["a-1 [000] .....", "x - y", "-7 [001] d..1.", "web [3] -2", "<idle>", "1: e: b-9 [0] ", "a-1 [0] 1: e: b"]
        {
            let padded = format!("{name:>16}-42      [003] .....           11: e: b");
            let columns = parts(&padded);
            assert_eq!((columns.task, columns.vcpu, columns.stamp), (42, 3, 11), "{padded}");
            if !name.contains('[') {
                let loose = format!("  {name}-42 [003] ..... 11: e: b");
                assert_eq!(parts(&loose).task, 42, "{loose}");
            }
        }
    }

    #[test]
    fn damaged_columns_are_named() {
        let fault = |line: &str| split(line.as_bytes()).err().expect("the line is damaged");
        assert!(matches!(fault("garbage"), TextFault::NoTask));
        assert!(matches!(fault("            init-1       [001] .....           4"), TextFault::NoStamp));
        assert!(matches!(fault("            init-1       [001] .....           4:"), TextFault::NoEvent));
        assert!(matches!(fault("            init-1       [001] ..Q..           4: e: b"), TextFault::Flags { .. }));
        assert!(matches!(
            fault("            init-1       [9999] .....          4: e: b"),
            TextFault::Vcpu { vcpu: 9999 }
        ));
        let vast = "            init-1       [001] ..... 99999999999.999999999: e: b";
        assert!(matches!(fault(vast), TextFault::NoStamp));
    }
}
