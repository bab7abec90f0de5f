//! The text of trace-cmd and perf: what is read, and each thing that makes it unusable, by an error of its own.

use mmu_trace::{
    Event, EventKind, ExtendResult, FlushCause, LazyMode, Level, PrevState, ReadError, TextFault, TextReader,
};

fn read(text: &str) -> Result<Vec<Event>, ReadError> {
    TextReader::new(text.as_bytes()).collect()
}

fn fault(text: &str) -> TextFault {
    match read(text) {
        Err(ReadError::Text { fault, .. }) => fault,
        other => panic!("{text}: {other:?}"),
    }
}

fn kinds(text: &str) -> Vec<EventKind> {
    let events = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    events.into_iter().map(|event| event.kind).collect()
}

/// An event in the text of both tools.
fn both(name: &str, fields: &str) -> [String; 2] {
    [
        format!("cpus=2\n      sh-7       1d..2.       5: {name}:      {fields}\n"),
        format!("              sh     7 [001] d..2     1.000000005: xen:{name}: {fields}\n"),
    ]
}

fn kind(name: &str, fields: &str) -> EventKind {
    let [trace_cmd, perf] = both(name, fields).map(|text| kinds(&text));
    assert_eq!(trace_cmd, perf, "{name}");
    assert_eq!(perf.len(), 1, "{name}");
    perf.into_iter().next().expect("there is one")
}

#[test]
fn entries_are_their_machine_words() {
    let (slot, raw) = (0xffff_8880_0ab9_3668, 0x8000_0000_768e_2025);
    let wanted = EventKind::SetPte { slot, value: None, raw };
    assert_eq!(kind("xen_mmu_set_pte", "ptep=0xffff88800ab93668 pteval=9223372038843801637"), wanted);
    assert_eq!(kind("xen_mmu_set_pte", "ptep=0xffff88800ab93668 pteval=0x80000000768e2025"), wanted);
    let upper = EventKind::SetUpper { level: Level::L2, slot, value: None, raw };
    assert_eq!(kind("xen_mmu_set_pmd", "pmdp=0xffff88800ab93668 pmdval=9223372038843801637"), upper);
    let top = EventKind::SetL4 { slot, user_slot: 0, value: None, raw: 0xab8_d067 };
    assert_eq!(kind("xen_mmu_set_p4d", "p4dp=0xffff88800ab93668 user_p4dp=0x0 p4dval=179884135"), top);
    let prot = "mm=0x8 addr=0x7fffffffe000 ptep=0xffff88800ab93668 pteval=9223372038843801637";
    let (mm, address) = (8, 0x7fff_ffff_e000);
    let commit = EventKind::ProtCommit { mm, address, slot, value: None, raw };
    assert_eq!(kind("xen_mmu_ptep_modify_prot_commit", prot), commit);
    let start = EventKind::ProtStart { mm, address, slot, value: None, raw };
    assert_eq!(kind("xen_mmu_ptep_modify_prot_start", prot), start);
}

#[test]
fn tables_and_tlbs() {
    let alloc = EventKind::TableAlloc { mm: 8, pfn: 0xab8d, level: Level::L3, pinned: false };
    for pfn in ["ab8d", "0xab8d"] {
        assert_eq!(kind("xen_mmu_alloc_ptpage", &format!("mm=0x8 pfn={pfn} level=2 pinned=0")), alloc);
    }
    let release = EventKind::TableRelease { pfn: 0x10, level: Level::L1, pinned: true };
    assert_eq!(kind("xen_mmu_release_ptpage", "pfn=10 level=4 pinned=1"), release);
    assert_eq!(kind("xen_mmu_pgd_unpin", "mm=0x8 pgd=0x1000"), EventKind::Unpin { mm: 8, l4: 0x1000 });
    let user = EventKind::WriteCr3 { user: true, address: 0x558_c000 };
    assert_eq!(kind("xen_mmu_write_cr3", "kernel=0 cr3=558c000"), user);
    let multi = EventKind::TlbFlushMulti { cpus: 2, mm: 8, start: 0, end: u64::MAX };
    assert_eq!(kind("xen_mmu_flush_tlb_multi", "ncpus=2 mm=0x8 addr=0 end=ffffffffffffffff"), multi);
    assert_eq!(kind("xen_mmu_flush_tlb", "x=ARRAY[]"), EventKind::TlbFlushLocal);
    let old = both("xen_mmu_release_ptpage", "pfn=10 level=1 pinned=1").map(|text| fault(&text));
    assert!(old.iter().all(|fault| matches!(fault, TextFault::Level { level: 1, .. })));
}

#[test]
fn the_batcher_by_its_numbers() {
    for (number, mode) in [LazyMode::None, LazyMode::Mmu, LazyMode::Cpu].into_iter().enumerate() {
        assert_eq!(kind("xen_mc_batch", &format!("mode={number}")), EventKind::BatchBegin { mode });
        assert_eq!(kind("xen_mc_issue", &format!("mode={number:#x}")), EventKind::BatchIssue { mode });
    }
    for (number, result) in [ExtendResult::Ok, ExtendResult::BadOp, ExtendResult::NoSpace].into_iter().enumerate() {
        let wanted = EventKind::Extend { op: 26, bytes: 24, result };
        assert_eq!(kind("xen_mc_extend_args", &format!("op=26 args=24 res={number}")), wanted);
    }
    for (number, cause) in [FlushCause::None, FlushCause::Batch, FlushCause::Args].into_iter().enumerate() {
        assert_eq!(kind("xen_mc_flush_reason", &format!("reason={number}")), EventKind::FlushReason { cause });
    }
    let flush = EventKind::Flush { calls: 2, bytes: 40, callbacks: 0 };
    assert_eq!(kind("xen_mc_flush", "mcidx=2 argidx=40 cbidx=0"), flush);
    let bytes = "01, 00, 00, 00, 00, 00, 00, 80, ".to_owned() + &"00, ".repeat(39) + "07";
    let args = [0x8000_0000_0000_0001, 0, 0, 0, 0, 7 << 56];
    assert_eq!(kind("xen_mc_entry", &format!("op=26 nargs=4 args=ARRAY[{bytes}]")), EventKind::Entry { op: 26, args });
    assert_eq!(kind("sys_enter", &format!("id=-1 args=ARRAY[{bytes}]")), EventKind::SyscallEnter { nr: -1 });
    assert_eq!(kind("sys_exit", "id=0xe7 ret=-2"), EventKind::SyscallExit { nr: 231, ret: -2 });
}

#[test]
fn the_scheduler_by_its_numbers() {
    use PrevState::{Blocked, Dead, Preempted, Runnable};
    for (bits, prev_state) in [(0, Runnable), (1, Blocked), (0x80, Blocked), (0x20, Dead), (0x100, Preempted)] {
        let fields = format!(
            "prev_comm=a next_comm=b prev_pid=7 prev_prio=120 prev_state={bits} next_comm=x prev_state=1 next_pid=0x10 \
             next_prio=-1"
        );
        assert_eq!(kind("sched_switch", &fields), EventKind::SchedSwitch { prev: 7, next: 16, prev_state });
    }
}

#[test]
fn probes_go_by_their_names() {
    let at = "__probe_ip=ffffffff8107eb00";
    for name in ["enter", "paravirt_enter_lazy_mmu", "p_xen_enter_lazy_mmu_0"] {
        assert_eq!(kind(name, at), EventKind::RegionEnter, "{name}");
    }
    assert_eq!(kind("leave", at), EventKind::RegionLeave);
    assert_eq!(kind("switch_out", "__probe_ip=0xffffffff8107eb00"), EventKind::SwitchOut);
    for text in both("enter", "__probe_ip=1234").iter().chain(&both("novelty", at)) {
        let mut reader = TextReader::new(text.as_bytes());
        assert!(reader.next().is_none());
        assert_eq!(reader.summary().unknown_lines, 1, "{text}");
    }
}

/// As Debian 12's trace-cmd 3.1.6 and perf 6.1 print them: of mode 1, of result 0, of an entry.
#[test]
fn what_the_tools_make_of_fields_is_refused() {
    for (name, body) in [
        ("xen_mc_batch", "start batch LAZY_NONE"),
        ("xen_mc_extend_args", "extending op 26(mmuext_op) by 24 bytes res NO_SPACE"),
        ("xen_mmu_set_pte", "[FAILED TO PARSE] ptep=0xffff88800ab93668 pteval=9223372038843801637"),
        ("xen_mc_flush", "flushing 1 hypercalls, 24 arg bytes, 0 callbacks"),
        ("sched_switch", "trace-cmd:123 [120] S ==> swapper/0:0 [120]"),
        ("enter", "(ffffffff8107eb00)"),
    ] {
        for text in both(name, body) {
            let fault = fault(&text);
            assert!(matches!(&fault, TextFault::Rendered { event } if **event == *name), "{text}: {fault}");
            assert!(fault.to_string().contains("trace-cmd report -l -r '.*'"), "{fault}");
        }
    }
}

#[test]
fn a_text_without_trace_cmds_header_is_known_by_its_fields() {
    for (name, fields) in
        [("xen_mc_batch", "mode=1"), ("sys_exit", "id=1 ret=2"), ("enter", "__probe_ip=ffffffff8107eb00")]
    {
        let [trace_cmd, _] = both(name, fields);
        let headless = trace_cmd.strip_prefix("cpus=2\n").expect("it has a header").repeat(2);
        assert_eq!(kinds(&headless).len(), 2, "{headless}");
    }
}

#[test]
fn damaged_fields_are_named() {
    for (name, fields) in [
        ("xen_mmu_set_pte", "ptep=0xffff88800ab93668 pteval="),
        ("xen_mmu_set_pte", "ptep=0xffff88800ab93668 pteval=1 more=2"),
        ("xen_mc_batch", "mode=3"),
        ("xen_mc_entry", "op=26 nargs=4 args=ARRAY[00, 01]"),
        ("xen_mc_entry", "op=26 nargs=4 args=ARRAY[100]"),
        ("sched_switch", "prev_comm=a prev_pid=7 prev_prio=120 prev_state=S ==> next_comm=b next_pid=1 next_prio=1"),
        ("xen_mmu_alloc_ptpage", "mm=0x8 pfn=ab8d level=2 pinned=2"),
    ] {
        for text in both(name, fields) {
            let fault = fault(&text);
            assert!(matches!(&fault, TextFault::Field { event, .. } if **event == *name), "{text}: {fault}");
        }
    }
}

#[test]
fn a_missing_column_is_named() {
    for (line, column) in [
        ("            perf [001]   214.577: xen:xen_mc_batch: mode=1\n", "tid"),
        ("            perf   173   214.577: xen:xen_mc_batch: mode=1\n", "cpu"),
        ("            perf   173 [001] xen:xen_mc_batch: mode=1\n", "time"),
    ] {
        let fault = fault(line);
        assert!(matches!(fault, TextFault::Column { missing } if missing == column), "{line}: {fault}");
    }
    assert!(matches!(fault("cpus=2\n              sh-7       5: xen_mc_batch: mode=1\n"), TextFault::NoTask));
    assert!(matches!(fault("            perf   173 [001]   214.577: mode=1\n"), TextFault::NoForm));
}

#[test]
fn lost_events_are_seen_in_every_form() {
    let [trace_cmd, perf] = both("xen_mc_batch", "mode=0");
    let dropped = trace_cmd.replace("cpus=2\n", "cpus=2\nCPU:0 [131 EVENTS DROPPED]\nCPU:1 [EVENTS DROPPED]\n");
    let lost: Vec<_> = kinds(&dropped).into_iter().take(2).collect();
    assert_eq!(lost, [EventKind::EventsLost { count: 131 }, EventKind::EventsLost { count: 0 }]);
    let loss = "            perf   221 [001]   328.166154: PERF_RECORD_LOST lost 13\n";
    assert!(matches!(fault(loss), TextFault::Lost), "before anything else");
    assert!(matches!(fault(&(perf + loss)), TextFault::Lost));
    let mark = "  sh-7 [001] d..2. 5: tracing_mark_write: x: PERF_RECORD_LOST lost 13\n";
    assert_eq!(kinds(mark).len(), 1, "whoever writes that into the kernel's own trace");
    assert!(matches!(fault("cpus=1\nCPU:0 [131 EVENTS LOST]\n"), TextFault::LostCount));
}

/// A task that moves: what a clock that does not order vCPUs makes of it, and what is no fault.
#[test]
fn a_clock_that_does_not_order_vcpus_is_seen() {
    let line = |task: u32, vcpu: u32, body: &str| format!("  sh-{task} [{vcpu:03}] d..2. 5: {body}\n");
    let switch = |prev: u32, next: u32| {
        format!(
            "sched_switch: prev_comm=a prev_pid={prev} prev_prio=1 prev_state=R ==> next_comm=b next_pid={next} next_prio=1"
        )
    };
    let work = "sys_exit: NR 1 = 2";
    let (out, into) = (line(7, 0, &switch(7, 0)), line(0, 1, &switch(0, 7)));
    let moves = [line(7, 0, work), out.clone(), into.clone(), line(7, 1, work)].concat();
    assert_eq!(kinds(&moves).len(), 4);
    let torn = [line(7, 0, work), into, line(7, 1, work), out].concat();
    let fault = fault(&torn);
    assert!(matches!(fault, TextFault::TwoPlaces { task: 7, vcpu: 0, other: 1 }), "{fault}");
    assert!(fault.to_string().contains("`counter`"));
    let unseen = [line(7, 0, work), line(7, 1, work), line(7, 0, work)].concat();
    assert_eq!(kinds(&unseen).len(), 3, "without the scheduler's events nothing is known");
    let idle = [line(0, 0, &switch(0, 0)), line(0, 1, work), line(0, 0, work)].concat();
    assert_eq!(kinds(&idle).len(), 3, "every vcpu has an idle thread");
}

#[test]
fn an_event_that_perf_recorded_twice_is_refused() {
    let [trace_cmd, perf] = both("xen_mc_batch", "mode=0");
    let other = perf.replace("[001]", "[000]");
    assert_eq!(kinds(&[perf.as_str(), &other].concat()).len(), 2, "another vcpu, another event");
    assert!(matches!(fault(&[perf.as_str(), &other, &perf].concat()), TextFault::Repeated));
    let line = trace_cmd.lines().next_back().expect("there is one").to_owned() + "\n";
    assert_eq!(kinds(&[trace_cmd, line].concat()).len(), 2, "the tracer does not");
}

#[test]
fn hashed_pointers_are_counted() {
    for text in both("xen_mmu_set_pte", "ptep=0xdb1a2ec0 pteval=1") {
        let mut reader = TextReader::new(text.as_bytes());
        assert!(reader.next().is_some_and(|event| event.is_ok()));
        assert_eq!(reader.summary().hashed_slots, 1);
    }
}

#[test]
fn stacks_marks_and_headers() {
    let trace_cmd = "version = 6\ncpus=2\n      sh-7       1d..2.       5: print:    ip=0xffffffff8 buf=work begins\n\
                     => ksys_write (ffffffff81234)\n";
    assert_eq!(kinds(trace_cmd), [EventKind::Mark { text: "work begins".into() }]);
    let [_, perf] = both("xen_mc_batch", "mode=0");
    let stacked = format!("# cmdline : perf record\n#\n{perf}\tffffffff81022470 xen_mc_flush+0x1 ([kernel])\n\n");
    assert_eq!(kinds(&stacked).len(), 1);
}

#[test]
fn what_is_none_of_the_forms_names_them_all() {
    let text = read("a letter\n").expect_err("it is no trace").to_string();
    for form in ["tracing/trace", "trace-cmd report", "perf script", "native"] {
        assert!(text.contains(form), "{text}");
    }
}
