//! The columns of `tracing/trace` and of `trace-cmd report`: `task-pid (tgid) [cpu] context stamp: event: body`; with
//! trace-cmd's `-l` `task-pid cpucontext stamp: event: body`.
//!
//! The task's name is padded to 16 columns, to 8 by `-l`. The dash of a name and the dash before the number are told
//! apart by what must follow the latter; the padded place is tried first.

use super::super::cursor::leading_decimal;
use super::{Columns, Place, after_place, skip_blanks};
use crate::error::TextFault;

/// The width Linux pads a task's name to.
const NAME_WIDTH: usize = 16;

/// Takes a line apart.
pub(in super::super) fn split(line: &[u8]) -> Result<Columns<'_>, TextFault> {
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

/// `-pid (tgid) [cpu] ` at `dash`, where the number of the thread group may be missing or be dashes.
fn place_at(line: &[u8], dash: usize) -> Option<Place<'_>> {
    let rest = line.get(dash..)?.strip_prefix(b"-")?;
    let (task, rest) = leading_decimal(rest)?;
    let rest = skip_group(skip_blanks(rest.strip_prefix(b" ")?))?;
    let (vcpu, rest) = bracketed(rest).or_else(|| latency(rest))?;
    Some(Place { task: task.try_into().ok()?, vcpu: vcpu.try_into().ok()?, rest })
}

fn bracketed(text: &[u8]) -> Option<(u64, &[u8])> {
    let (vcpu, rest) = leading_decimal(text.strip_prefix(b"[")?)?;
    Some((vcpu, rest.strip_prefix(b"] ")?))
}

/// A number that the context follows without a blank.
fn latency(text: &[u8]) -> Option<(u64, &[u8])> {
    leading_decimal(text).filter(|(_, rest)| rest.first().is_some_and(|first| b".dbDX".contains(first)))
}

/// Skips `( 123) ` or `(-----) ` if it is there; `None` if a parenthesis holds something else.
fn skip_group(text: &[u8]) -> Option<&[u8]> {
    let Some(inside) = text.strip_prefix(b"(") else { return Some(text) };
    let width = inside.iter().take_while(|b| b.is_ascii_digit() || matches!(b, b' ' | b'-')).count();
    inside[width..].strip_prefix(b")").map(skip_blanks)
}

#[cfg(test)]
mod tests {
    use super::super::Columns;
    use super::split;
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
    fn the_latency_columns_of_trace_cmd() {
        let columns = parts("trace-cm-123     0...1.       13565: xen_mmu_set_pte:       ptep=0x8");
        assert_eq!((columns.task, columns.vcpu, columns.stamp, columns.flags.preempt_depth), (123, 0, 13_565, 1));
        assert_eq!(columns.name, b"xen_mmu_set_pte");
        assert!(parts("  <idle>-0      12dNh2.   7.000001: e: b").flags.hardirq);
        let fault = split(b"    sh-123     0 13565: e: b").err();
        assert!(matches!(fault, Some(TextFault::NoTask)), "without a context that number is not a cpu");
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
