//! Linux's text, line by line: what each event means, what other kernels call it, and what is refused.

use mmu_trace::{
    CallbackKind, Event, EventKind, ExtendResult, FlushCause, LazyMode, Level, ReadError, Summary, TextFault,
    TextReader,
};

/// What a line of task 7 on vCPU 1 with this event reads as.
fn read(body: &str) -> Result<Vec<Event>, ReadError> {
    TextReader::new(format!("              sh-7       [001] d..2.  5: {body}\n").as_bytes()).collect()
}

fn kind(body: &str) -> EventKind {
    let mut events = read(body).unwrap_or_else(|error| panic!("{body}: {error}"));
    assert_eq!(events.len(), 1, "{body}");
    events.remove(0).kind
}

fn fault(body: &str) -> TextFault {
    match read(body) {
        Err(ReadError::Text { line: 1, fault }) => fault,
        other => panic!("{body}: {other:?}"),
    }
}

fn summary(text: &str) -> Summary {
    let mut reader = TextReader::new(text.as_bytes());
    for event in &mut reader {
        event.expect("the text is whole");
    }
    reader.summary().clone()
}

#[test]
fn page_table_writes() {
    let slot = 0xffff_8880_05ac_62c0;
    let value = 0x8000_0000_0680_e063;
    let raw = 0x8000_0000_7680_e063;
    let written = "ffff888005ac62c0 pteval 800000000680e063 (raw 800000007680e063)";
    assert_eq!(kind(&format!("xen_mmu_set_pte: ptep {written}")), EventKind::SetPte { slot, value: Some(value), raw });
    let at = format!("xen_mmu_set_pte_at: mm ffff888004c61b00 addr 4b6000 ptep {written}");
    assert_eq!(kind(&at), EventKind::SetPte { slot, value: Some(value), raw });
    let (mm, address) = (0xffff_8880_04c6_1b00, 0x4b_6000);
    let prot = format!("mm ffff888004c61b00 addr 4b6000 ptep {written}");
    let start = EventKind::ProtStart { mm, address, slot, value: Some(value), raw };
    assert_eq!(kind(&format!("xen_mmu_ptep_modify_prot_start: {prot}")), start);
    let commit = EventKind::ProtCommit { mm, address, slot, value: Some(value), raw };
    assert_eq!(kind(&format!("xen_mmu_ptep_modify_prot_commit: {prot}")), commit);
}

#[test]
fn upper_levels() {
    let line = "xen_mmu_set_pmd: pmdp ffff88800685f010 pmdval 0000000006522067 (raw 0000000076522067)";
    let (slot, value, raw) = (0xffff_8880_0685_f010, 0x652_2067, 0x7652_2067);
    assert_eq!(kind(line), EventKind::SetUpper { level: Level::L2, slot, value: Some(value), raw });
    let line = "xen_mmu_set_pud: pudp ffff88800685f010 pudval 0000000006522067 (raw 0000000076522067)";
    assert_eq!(kind(line), EventKind::SetUpper { level: Level::L3, slot, value: Some(value), raw });
    let wanted = EventKind::SetL4 { slot, user_slot: 0, value: Some(0x66), raw: 0x1969_4067 };
    for (event, p) in [("set_p4d", "p4d"), ("set_pgd", "pgd")] {
        let line = format!(
            "xen_mmu_{event}: {p}p ffff88800685f010 user_{p}p           (null) {p}val 0000000000000066 (raw 0000000019694067)"
        );
        assert_eq!(kind(&line), wanted, "{line}");
    }
}

#[test]
fn tables_and_spaces() {
    let mm = 0xffff_8880_055d_8480;
    for (number, level) in [(4, Level::L1), (3, Level::L2), (2, Level::L3), (0, Level::L4)] {
        let line = format!("xen_mmu_alloc_ptpage: mm ffff8880055d8480  pfn 19694  level {number}  unpinned");
        assert_eq!(kind(&line), EventKind::TableAlloc { mm, pfn: 0x19694, level, pinned: false });
        let line = format!("xen_mmu_release_ptpage: pfn 19694  level {number}  pinned");
        assert_eq!(kind(&line), EventKind::TableRelease { pfn: 0x19694, level, pinned: true });
    }
    let old = fault("xen_mmu_release_ptpage: pfn 19694  level 1  pinned");
    assert!(matches!(old, TextFault::Level { level: 1, .. }) && old.to_string().contains("before 4.12"));
    let l4 = 0xffff_8880_05b0_0000;
    assert_eq!(kind("xen_mmu_pgd_pin: mm ffff8880055d8480 pgd ffff888005b00000"), EventKind::Pin { mm, l4 });
    assert_eq!(kind("xen_mmu_pgd_unpin: mm ffff8880055d8480 pgd ffff888005b00000"), EventKind::Unpin { mm, l4 });
    let (kernel, user) = ("xen_mmu_write_cr3: kernel cr3 5b00000", "xen_mmu_write_cr3: user cr3 0");
    assert_eq!(kind(kernel), EventKind::WriteCr3 { user: false, address: 0x5b0_0000 });
    assert_eq!(kind(user), EventKind::WriteCr3 { user: true, address: 0 });
}

#[test]
fn tlb_flushes_by_all_their_names() {
    for name in ["xen_mmu_flush_tlb_one_user", "xen_mmu_flush_tlb_single"] {
        assert_eq!(kind(&format!("{name}: addr 7ffd0000")), EventKind::TlbFlushOne { address: 0x7ffd_0000 });
    }
    for name in ["xen_mmu_flush_tlb_multi", "xen_mmu_flush_tlb_others"] {
        let line = format!("{name}: ncpus 2 mm ffff888004c61680 addr 0, end ffffffffffffffff");
        let all = EventKind::TlbFlushMulti { cpus: 2, mm: 0xffff_8880_04c6_1680, start: 0, end: u64::MAX };
        assert_eq!(kind(&line), all);
    }
    assert_eq!(kind("xen_mmu_flush_tlb: "), EventKind::TlbFlushLocal);
    assert_eq!(kind("xen_mmu_flush_tlb_all: "), EventKind::TlbFlushAll);
}

#[test]
fn the_batcher() {
    for (word, mode) in [("NONE", LazyMode::None), ("MMU", LazyMode::Mmu), ("CPU", LazyMode::Cpu)] {
        assert_eq!(kind(&format!("xen_mc_batch: start batch LAZY_{word}")), EventKind::BatchBegin { mode });
        assert_eq!(kind(&format!("xen_mc_issue: start batch LAZY_{word}")), EventKind::BatchIssue { mode });
    }
    assert_eq!(kind("xen_mc_entry_alloc: alloc entry 24 arg bytes"), EventKind::EntryAlloc { bytes: 24 });
    let entry = EventKind::Entry { op: 3, args: [0x18, 0xffff_c900_4008_4000, 0, 0, 0, 9] };
    assert_eq!(kind("xen_mc_entry: op 3(stack_switch) args [18, ffffc90040084000, 0, 0, 0, 9]"), entry);
    assert_eq!(kind("xen_mc_entry: op 3 args [18, ffffc90040084000, 0, 0, 0, 9]"), entry);
    let words = [("OK", ExtendResult::Ok), ("BAD_OP", ExtendResult::BadOp), ("NO_SPACE", ExtendResult::NoSpace)];
    for (word, result) in words {
        let line = format!("xen_mc_extend_args: extending op 1(mmu_update) by 16 bytes res {word}");
        assert_eq!(kind(&line), EventKind::Extend { op: 1, bytes: 16, result });
    }
    let words = [FlushCause::None, FlushCause::Batch, FlushCause::Args, FlushCause::Callback];
    for (word, cause) in ["NONE", "BATCH", "ARGS", "CALLBACK"].into_iter().zip(words) {
        assert_eq!(kind(&format!("xen_mc_flush_reason: flush reason {word}")), EventKind::FlushReason { cause });
    }
    let flush = EventKind::Flush { calls: 13, bytes: 496, callbacks: 2 };
    assert_eq!(kind("xen_mc_flush: flushing 13 hypercalls, 496 arg bytes, 2 callbacks"), flush);
    let other = CallbackKind::Other("do_it [xen_x]".into());
    let callbacks = [("xen_pte_unlock", CallbackKind::PteUnlock), ("set_current_cr3", CallbackKind::SetCurrentBase)];
    for (name, callback) in callbacks.into_iter().chain([("do_it [xen_x]", other)]) {
        let line = format!("xen_mc_callback: callback {name}, data 0000000005b00000");
        assert_eq!(kind(&line), EventKind::Callback { callback, data: 0x5b0_0000 });
    }
}

#[test]
fn the_kernel_around_it() {
    use mmu_trace::PrevState::{Blocked, Dead, Preempted, Runnable};
    let states = [("R", Runnable), ("R+", Preempted), ("S", Blocked), ("D|K", Blocked), ("Z", Dead), ("X", Dead)];
    for (word, prev_state) in states {
        let line = format!(
            "sched_switch: prev_comm=a prev_pid=9 ==> next_comm=b prev_pid=12 prev_prio=120 prev_state={word} \
             ==> next_comm=c next_pid=1 next_prio=1 next_pid=115 next_prio=-1"
        );
        assert_eq!(kind(&line), EventKind::SchedSwitch { prev: 12, next: 115, prev_state });
    }
    assert_eq!(kind("sys_enter: NR 33 (b, 1, 2a0a96f0, fed5dc4f3e0a1fd0, 7, 0)"), EventKind::SyscallEnter { nr: 33 });
    assert_eq!(kind("sys_exit: NR -1 = -14"), EventKind::SyscallExit { nr: -1, ret: -14 });
    let user = EventKind::PageFault { address: Some(0x46_10d3), error_code: 0x14, user: true };
    assert_eq!(kind("page_fault_user: address=0x4610d3 ip=0x4610d3 error_code=0x14"), user);
    let symbol = EventKind::PageFault { address: None, error_code: 2, user: false };
    assert_eq!(kind("page_fault_kernel: address=init_task ip=copy_user_short_string error_code=0x2"), symbol);
    assert_eq!(kind("tracing_mark_write: work begins: 1"), EventKind::Mark { text: "work begins: 1".into() });
}

#[test]
fn probes_are_known_by_their_function_whatever_they_are_called() {
    for function in ["paravirt_enter_lazy_mmu", "xen_enter_lazy_mmu"] {
        assert_eq!(kind(&format!("p_{function}_0: ({function}+0x0/0x30)")), EventKind::RegionEnter);
    }
    assert_eq!(kind("x: (xen_leave_lazy_mmu+0x0/0x30)"), EventKind::RegionLeave);
    assert_eq!(kind("x: (paravirt_flush_lazy_mmu+0x0/0x30) a=1"), EventKind::RegionFlush);
    assert_eq!(kind("x: (xen_start_context_switch+0x0/0x60)"), EventKind::SwitchOut);
    assert_eq!(kind("x: (xen_end_context_switch+0x0/0x20)"), EventKind::SwitchIn);
    assert_eq!(read("x: (some_function+0x0/0x20)").expect("unknown is no error"), []);
}

#[test]
fn the_second_probe_of_one_leave_counts_only_where_it_is_the_only_one() {
    let line = |function: &str| format!("              sh-7       [001] d..2.  5: x: ({function}+0x0/0x30)\n");
    for [outer, inner] in
        [["xen_leave_lazy_mmu", "paravirt_leave_lazy_mmu"], ["xen_end_context_switch", "paravirt_end_context_switch"]]
    {
        let both = summary(&[outer, inner, outer, inner].map(line).concat());
        assert_eq!((both.events, both.ignored), (2, 2), "{outer}");
        let alone = summary(&[inner, inner].map(line).concat());
        assert_eq!((alone.events, alone.ignored), (2, 0), "{inner}");
    }
}

#[test]
fn unknown_and_unneeded_events_are_counted_apart() {
    let line = |body: &str| format!("              sh-7       [001] d..2.  5: {body}\n");
    let bodies = ["xen_cpu_load_idt: addr 1", "<stack trace>", "novelty: x=1", "vfs_read <-ksys_read"];
    let text = bodies.map(line).concat() + " => __schedule\n# comment\n\n";
    let summary = summary(&text);
    assert_eq!((summary.lines, summary.notes, summary.events), (7, 3, 0));
    assert_eq!((summary.ignored, summary.unknown_lines), (2, 2));
    let samples: Vec<_> = summary.unknown.iter().map(|sample| (sample.line, &*sample.name)).collect();
    assert_eq!(samples, [(3, "novelty"), (4, "vfs_read")]);
}

#[test]
fn samples_of_unknown_events_are_bounded() {
    let summary = summary(&"              sh-7       [001] d..2.  5: novelty: 1\n".repeat(1000));
    assert_eq!((summary.unknown_lines, summary.unknown.len()), (1000, mmu_trace::summary::MAX_SAMPLES));
}

#[test]
fn a_known_event_with_other_fields_is_refused_with_its_name() {
    for body in [
        "xen_mmu_set_pte: ptep ffff888005ac62c0 pteval 800000000680e063 (raw 80000000768",
        "xen_mmu_set_pte: ptep ffff888005ac62c0 pteval 800000000680e063 (raw 800000007680e063) more",
        "xen_mmu_set_pte: ptep (____ptrval____) pteval 800000000680e063 (raw 800000007680e063)",
        "xen_mmu_set_pte: ptep ffff888005ac62c0 pteval 800000000680e063 (raw 0000000)",
        "xen_mmu_set_pte: ptep ffff888005ac62c0 pteval 80000000680e063 (raw 800000007680e063)",
        "xen_mmu_set_pmd: pmdp ffff88800685f010 pmdval 0000000006522067 (raw 000000076522067)",
        "xen_mmu_set_p4d: p4dp ffff88800685f010 user_p4dp (null) p4dval 66 (raw 0000000019694067)",
        "xen_mc_flush: flushing 4294967296 hypercalls, 0 arg bytes, 0 callbacks",
        "xen_mc_batch: start batch LAZY_GPU",
        "xen_mc_entry: op 1 args [1, 2, 3, 4, 5]",
        "xen_mc_callback: callback , data 0",
        "sched_switch: prev_comm=a prev_pid=1 prev_prio=120 prev_state=Q ==> next_comm=b next_pid=2 next_prio=3",
        "sched_switch: prev_comm=a prev_pid=1 prev_prio=120 prev_state=R ==> next_comm=b next_pid=2",
        "sys_exit: NR 1 = 99999999999999999999",
        "sys_enter: NR 33 (b, 1, 2a0a96f0",
        "page_fault_user: address=0x1 ip=0x2",
    ] {
        let fault = fault(body);
        let name = body.split(':').next().expect("a name");
        assert!(matches!(&fault, TextFault::Field { event, .. } if **event == *name), "{body}: {fault}");
    }
}

#[test]
fn the_line_of_a_fault_is_named_and_reading_ends_there() {
    let good = "              sh-7       [001] d..2.  5: sys_exit: NR 1 = 2\n";
    let text = format!("# tracer: nop\n{good}garbage\n{good}");
    let mut reader = TextReader::new(text.as_bytes());
    assert!(reader.next().is_some_and(|event| event.is_ok()));
    let error = reader.next().expect("an error").expect_err("garbage is no event");
    assert!(matches!(error, ReadError::Text { line: 3, fault: TextFault::NoTask }));
    assert!(error.to_string().starts_with("line 3: "));
    assert!(reader.next().is_none());
}

#[test]
fn lines_that_come_again_are_refused() {
    let line = |stamp: u64| format!("              sh-7       [001] d..2.  {stamp}: sys_exit: NR 1 = 2\n");
    let text = [line(5), line(6), line(6), line(5)].concat();
    let read: Result<Vec<_>, _> = TextReader::new(text.as_bytes()).collect();
    let error = read.expect_err("the last line is older than the one before it");
    assert!(matches!(error, ReadError::Text { line: 4, fault: TextFault::Backward { stamp: 5, before: 6 } }));
    let unknown = ["  sh-7 [001] d..2. 6: novelty: 1\n", "  sh-7 [001] d..2. 5: novelty: 1\n"].concat();
    assert!(TextReader::new(unknown.as_bytes()).any(|event| event.is_err()), "whatever the event is");
    let two = [line(6), "# tracer: nop\n".into(), line(5)].concat();
    assert_eq!(summary(&two).events, 2, "another buffer has a clock of its own");
}

#[test]
fn a_cut_trace_is_refused() {
    let header = "# entries-in-buffer/entries-written: 2/2   #P:2\n";
    let line = "              sh-7       [001] d..2.  5: sys_exit: NR 1 = 25\n";
    let whole = format!("{header}{line}{line}");
    assert_eq!(summary(&whole).entries(), 2);
    for length in header.len() + 1..whole.len() {
        let read: Result<Vec<_>, _> = TextReader::new(&whole.as_bytes()[..length]).collect();
        let fault = match read {
            Err(ReadError::Text { fault, .. }) => fault,
            other => panic!("cut after {length} bytes: {other:?}"),
        };
        assert!(matches!(fault, TextFault::Cut | TextFault::Missing { promised: 2, .. }), "{length}: {fault}");
    }
}

#[test]
fn a_last_line_that_just_stops_is_cut_unless_it_is_whole() {
    let line = "              sh-7       [001] d..2.  5: sys_exit: NR 1 = 25";
    assert_eq!(summary(line).events, 1);
    let read: Result<Vec<_>, _> = TextReader::new(&line.as_bytes()[..line.len() - 4]).collect();
    assert!(matches!(read, Err(ReadError::Text { line: 1, fault: TextFault::Cut })));
}

#[test]
fn lost_events_are_reported() {
    let text = "# entries-in-buffer/entries-written: 0/17   #P:2\n\
                CPU:1 [LOST 12 EVENTS]\nCPU:0 [LOST EVENTS]\n";
    let mut reader = TextReader::new(text.as_bytes());
    let events: Vec<_> = reader.by_ref().map(|event| event.expect("the text is whole")).collect();
    let lost: Vec<_> = events.iter().map(|event| (event.vcpu, event.kind.clone())).collect();
    assert_eq!(lost, [(1, EventKind::EventsLost { count: 12 }), (0, EventKind::EventsLost { count: 0 })]);
    let summary = reader.summary();
    assert_eq!((summary.lost, summary.overwritten, summary.complete()), (13, 17, false));
    let unknown = TextReader::new(b"CPU:1 [MISLAID 1 EVENTS]\n".as_slice()).next().expect("an error");
    assert!(matches!(unknown, Err(ReadError::Text { line: 1, fault: TextFault::LostCount })));
    let counts = TextReader::new(b"# entries-in-buffer/entries-written: many\n".as_slice()).next().expect("an error");
    assert!(matches!(counts, Err(ReadError::Text { line: 1, fault: TextFault::EntryCounts })));
}

#[test]
fn hashed_pointers_are_counted() {
    let line =
        |slot: &str| format!("  sh-7 [001] d..2. 5: xen_mmu_set_pte: ptep {slot} pteval {0:016x} (raw {0:016x})\n", 0);
    let text = [line("00000000db1a2ec0"), line("ffff888005ac62c0")].concat();
    assert_eq!(summary(&text).hashed_slots, 1);
}

#[test]
fn a_line_without_end_takes_no_memory() {
    let mut reader = TextReader::new(std::io::BufReader::new(std::io::repeat(b'x')));
    let error = reader.next().expect("an error");
    assert!(matches!(error, Err(ReadError::Text { line: 1, fault: TextFault::TooLong { .. } })));
}

#[test]
fn a_line_may_end_in_both_characters() {
    assert_eq!(summary("  sh-7 [001] d..2. 5: sys_exit: NR 1 = 2\r\n").events, 1);
}
