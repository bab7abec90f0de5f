//! `docs/perf-fields.py`, as perf runs it: what perf hands to a script is stood in for, what it prints is read.

use std::fs;
use std::path::Path;
use std::process::Command;

use mmu_trace::{Event, EventKind, EventReader, ReadError, TextFault};

/// perf's module for scripts, and perf itself: it calls the script with every event, in the order of the file.
const PERF: &str = r#"
import runpy, sys
script = runpy.run_path(sys.argv[1])

def event(time, cpu, name, fields, flags=0, count=0):
    sample = {"time": time, "cpu": cpu, "tid": -1, "pid": -1}
    fields = {"common_cpu": cpu, "common_pid": 7, **fields}
    script["trace_unhandled"](name.replace(":", "__"), (flags, count), fields,
                              {"ev_name": name, "comm": "a b", "sample": sample})

batch = ("xen:xen_mc_batch", {"mode": 1})
event(2_000_000_001, 1, *batch, flags=0x1, count=2)
event(2_000_000_001, 0, *batch, flags=0x8, count=0x10001)
event(2_000_000_001, 1, *batch, flags=0x1, count=2)
event(1_999_999_999, 0, "raw_syscalls:sys_exit", {"id": -1, "ret": -14})
event(2_000_000_002, 1, "xen:xen_mmu_set_pte", {"ptep": 0xffff88800ab93668, "pteval": 0x80000000768e2025})
event(2_000_000_003, 1, "xen:xen_mc_entry", {"op": 26, "nargs": 4, "args": bytearray(range(48))})
event(2_000_000_004, 1, "sched:sched_switch", {
    "prev_comm": "a\nb", "prev_pid": 7, "prev_prio": 120, "prev_state": 256,
    "next_comm": "c", "next_pid": 9, "next_prio": -1})
script["trace_end"]()
"#;

const CONTEXT: &str = "def common_flags(context): return context[0]\ndef common_pc(context): return context[1]\n";

fn printed() -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let modules = folder.path().join("scripts/python/Perf-Trace-Util/lib/Perf/Trace");
    fs::create_dir_all(&modules).expect("the folder can be written");
    fs::write(modules.join("perf_trace_context.py"), CONTEXT).expect("the folder can be written");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/perf-fields.py");
    let mut python = Command::new("python3");
    python.arg("-c").arg(PERF).arg(script).env("PERF_EXEC_PATH", folder.path()).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = python.output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text")
}

fn read(text: &str) -> Result<Vec<Event>, ReadError> {
    EventReader::new(text.as_bytes())?.collect()
}

#[test]
fn what_the_script_prints_is_what_happened() {
    let text = printed();
    let events = read(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let kinds: Vec<_> = events.iter().map(|event| (event.vcpu, event.kind.clone())).collect();
    let [first, one, other, pte, entry, _] = &kinds[..] else {
        panic!("six events, one of seven is there twice:\n{text}")
    };
    assert_eq!(*first, (0, EventKind::SyscallExit { nr: -1, ret: -14 }), "the late one found its place");
    let mode = mmu_trace::LazyMode::Mmu;
    assert_eq!([one, other], [&(1, EventKind::BatchBegin { mode }), &(0, EventKind::BatchBegin { mode })]);
    let raw = 0x8000_0000_768e_2025;
    assert_eq!(pte.1, EventKind::SetPte { slot: 0xffff_8880_0ab9_3668, value: None, raw });
    assert!(matches!(entry.1, EventKind::Entry { op: 26, args } if args[0] == 0x0706_0504_0302_0100));
    let [masked, handler] = [events[1].flags, events[2].flags];
    assert!(masked.recorded && masked.irqs_off && !masked.hardirq && masked.preempt_depth == 2);
    assert!(handler.hardirq && !handler.irqs_off && handler.preempt_depth == 1);
}

#[test]
fn without_the_script_it_would_be_refused() {
    let text = printed();
    let mut lines: Vec<&str> = text.lines().collect();
    let double = [&lines[..3], &lines[1..2]].concat().join("\n") + "\n";
    assert!(matches!(read(&double), Err(ReadError::Text { line: 4, fault: TextFault::Repeated })));
    lines.rotate_left(1);
    let late = lines.join("\n") + "\n";
    assert!(matches!(read(&late), Err(ReadError::Text { fault: TextFault::Backward { .. }, .. })));
}
