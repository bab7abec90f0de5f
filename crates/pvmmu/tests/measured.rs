//! What is measured on the real Xen, against what is kept of it.
//!
//! Figures are instructions, which repeat exactly: what they may differ by is what another compiler or
//! emulator makes of the kernel's own few instructions around a call.

use std::fs;
use std::path::Path;
use std::process::Command;

use pv_mmu::VcpuQueue;
use pv_mmu::table::{rewrite_cost, update_cost};
use serde_json::Value;
use xen_lab::Lab;

/// How far a cost may be from the one kept: a hundredth, and some instructions of the kernel's own.
fn is_near(kept: u64, found: u64) -> bool {
    kept.abs_diff(found) <= kept / 100 + 10
}

fn measured(args: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_pvmmu")).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn kept(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench/results").join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Operation, number and cost, of every row of a table.
fn rows(table: &Value) -> Vec<(&str, u64, u64)> {
    let operations = table["operations"].as_array().unwrap();
    let rows = operations.iter().flat_map(|operation| {
        let costs = operation["costs"].as_array().unwrap().iter();
        costs.map(|cost| {
            (operation["operation"].as_str().unwrap(), cost[0].as_u64().unwrap(), cost[1].as_u64().unwrap())
        })
    });
    rows.collect()
}

/// What is not as it is kept.
fn differing(kept: &Value, found: &Value) -> Vec<String> {
    let (kept, found) = (rows(kept), rows(found));
    let same = |(kept, found): &(&(&str, u64, u64), &(&str, u64, u64))| {
        (kept.0, kept.1) == (found.0, found.1) && is_near(kept.2, found.2)
    };
    let pairs = kept.iter().zip(&found);
    let mut differing: Vec<_> = pairs.filter(|pair| !same(pair)).map(|pair| format!("{pair:?}")).collect();
    if kept.len() != found.len() {
        differing.push(format!("{} rows are kept, {} were found", kept.len(), found.len()));
    }
    differing
}

#[test]
fn costs_are_those_that_are_kept() {
    if Lab::for_test("costs").is_none() {
        return;
    }
    let (kept, found) = (kept("xen-4.17-cost.json"), measured(&["cost", "--format", "json"]));
    assert_eq!(kept["unit"], found["unit"]);
    assert_eq!(
        differing(&kept, &found),
        [""; 0],
        "measured on {}, kept of {}",
        found["hypervisor"],
        kept["hypervisor"]
    );
    assert!(rows(&found).len() > 400, "{} rows", rows(&found).len());
}

/// A figure of a table: the operation's fixed part and the part per operation.
fn line(table: &Value, operation: &str) -> (f64, f64) {
    let operations = table["operations"].as_array().unwrap().iter();
    let line = operations.clone().find(|row| row["operation"] == operation).map(|row| &row["line"]);
    let line = line.unwrap_or_else(|| panic!("no operation `{operation}`"));
    (line["fixed"].as_f64().unwrap(), line["per_operation"].as_f64().unwrap())
}

/// The library's break-evens are those of the costs.
#[test]
fn the_constants_of_the_library_agree_with_the_costs() {
    let kept = kept("xen-4.17-cost.json");
    let near = |library: usize, measured: f64, what: &str| {
        let library = library as f64;
        assert!(
            (library - measured).abs() <= measured / 50.0,
            "{what}: the library says {library}, measured is {measured}"
        );
    };
    let (array, update) = line(&kept, "mmu_update/normal/remap-ro");
    (1..=512).for_each(|entries| near(update_cost(entries), array + update * entries as f64, "updates"));
    let (validated, given_up) = (line(&kept, "mmuext_op/pin_l1/ro").1, line(&kept, "mmuext_op/unpin_l1/ro").1);
    let present = rewrite_cost(512) - rewrite_cost(0);
    near(present, (validated + given_up) * 512.0, "the present entries of a rewritten table");
    let bench = self::kept("xen-4.17-bench.json");
    let whole = |row: &&Value| row["workload"] == "rewrite-512" && row["policy"] == "pv-mmu";
    let whole = bench_rows(&bench).iter().find(whole).unwrap()["cost"].as_f64().unwrap();
    near(rewrite_cost(512), whole, "rewriting");
}

#[test]
fn a_cost_that_has_changed_is_found() {
    let kept = kept("xen-4.17-cost.json");
    let mut changed = kept.clone();
    let cost = &mut changed["operations"][0]["costs"][6][1];
    *cost = (cost.as_u64().unwrap() * 102 / 100).into();
    assert_eq!(differing(&kept, &changed).len(), 1);
    changed["operations"].as_array_mut().unwrap().pop();
    assert!(differing(&kept, &changed).len() > 1);
}

const BENCH: [&str; 5] = ["bench", "--on", "xen", "--format", "json"];

fn bench_rows(bench: &Value) -> &[Value] {
    bench["rows"].as_array().unwrap()
}

/// What a policy may cost at most, by workload: the ratio, and to what.
const LIMITS: [(&str, &str, f64); 17] = [
    ("fill-512", "ratio_to_raw", 1.066),
    ("fill-64", "ratio_to_raw", 1.075),
    ("fill-8", "ratio_to_raw", 1.125),
    ("fill-range-512", "ratio_to_raw", 1.022),
    ("fill-512", "ratio_to_linux", 0.98),
    ("mprotect-2x512", "ratio_to_linux", 0.92),
    ("fork-2x512", "ratio_to_linux", 0.40),
    ("munmap-tlb", "ratio_to_linux", 0.40),
    ("mremap", "ratio_to_linux", 0.47),
    ("fault-around-16", "ratio_to_linux", 0.62),
    ("cow", "ratio_to_linux", 0.93),
    ("switch", "ratio_to_linux", 1.06),
    ("zap-512", "ratio_to_linux", 0.305),
    ("wrprotect-512", "ratio_to_linux", 0.335),
    ("build-512", "ratio_to_raw", 0.35),
    ("retire-512", "ratio_to_raw", 0.30),
    ("rewrite-512", "ratio_to_raw", 0.50),
];

/// Workloads in which a policy costs more than is allowed.
fn too_dear(bench: &Value, policy: &str) -> Vec<&'static str> {
    let ratio = |workload: &str, ratio: &str| {
        let mut rows = bench_rows(bench).iter();
        let row = rows.find(|row| row["workload"] == workload && row["policy"] == policy);
        row.expect("every policy has every workload")[ratio].as_f64().expect("compared with others")
    };
    let exceeding = LIMITS.iter().filter(|(workload, of, limit)| ratio(workload, of) > *limit);
    exceeding.map(|(workload, ..)| *workload).collect()
}

#[test]
fn the_library_is_as_cheap_as_it_has_to_be() {
    if Lab::for_test("bench").is_none() {
        return;
    }
    let bench = measured(&BENCH);
    assert_eq!(too_dear(&bench, "pv-mmu"), [""; 0], "{bench:#}");
    as_kept("xen-4.17-bench.json", &bench);
}

/// Every row is the one that is kept.
fn as_kept(name: &str, bench: &Value) {
    let kept = kept(name);
    for (kept, found) in bench_rows(&kept).iter().zip(bench_rows(bench)) {
        let same = ["workload", "policy", "updates", "hypercalls"].iter().all(|key| kept[*key] == found[*key]);
        assert!(same && is_near(cost(kept), cost(found)), "kept {kept}, found {found}");
    }
    assert_eq!(bench_rows(&kept).len(), bench_rows(bench).len());
}

fn cost(row: &Value) -> u64 {
    row["cost"].as_u64().unwrap()
}

fn row<'b>(bench: &'b Value, workload: &str, policy: &str) -> &'b Value {
    let found = bench_rows(bench).iter().find(|row| row["workload"] == workload && row["policy"] == policy);
    found.unwrap_or_else(|| panic!("no row of {workload} by {policy}"))
}

/// The guest's own instructions, on a hypervisor that does nothing.
#[test]
fn a_queued_write_costs_what_it_may() {
    if Lab::for_test("null").is_none() {
        return;
    }
    let bench = measured(&["bench", "--on", "null", "--format", "json"]);
    as_kept("null-bench.json", &bench);
    // Between 8 and 512, so that what a region costs by itself is out; eight of them are the caller's loop.
    let each = |policy| (cost(row(&bench, "fill-512", policy)) - cost(row(&bench, "fill-8", policy))) / 504;
    println!("guest instructions for each write: {:?}", PEERS.map(|policy| (policy, each(policy))));
    assert!(each("pv-mmu") <= 31, "{} for each write", each("pv-mmu"));
    assert!(cost(row(&bench, "empty", "pv-mmu")) <= 70, "{}", row(&bench, "empty", "pv-mmu"));
    let outside = cost(row(&bench, "outside", "pv-mmu")) - cost(row(&bench, "outside", "single"));
    assert!(outside <= 20, "{outside} above a bare hypercall");
}

const PEERS: [&str; 6] = ["pv-mmu", "linux", "netbsd", "freebsd", "libxc", "single"];

/// Where this library is dearer than a peer by more than that, by how much it may be; why is in
/// `docs/decisions/costs.md`.
const DEARER: [(&str, &str, f64); 11] = [
    ("fill-8", "netbsd", 1.05),
    ("fill-8", "freebsd", 1.05),
    ("fill-8", "libxc", 1.06),
    ("fill-512", "freebsd", 1.01),
    ("vmap-10000", "netbsd", 1.02),
    ("vmap-10000", "freebsd", 1.01),
    ("vmap-10000", "libxc", 1.03),
    ("switch", "linux", 1.06),
    ("switch", "netbsd", 1.06),
    ("switch", "freebsd", 1.06),
    ("switch", "libxc", 1.06),
];

/// Peers that this library does not reach, of all workloads: where the hypercalls are the same, beyond 20 instructions for
/// each update and 30 for the region.
fn dearer(bench: &Value) -> Vec<String> {
    let mut dearer = Vec::new();
    for own in bench_rows(bench).iter().filter(|row| row["policy"] == "pv-mmu") {
        let workload = own["workload"].as_str().unwrap();
        for peer in &PEERS[1..] {
            let row = row(bench, workload, peer);
            let allowed = if row["hypercalls"] == own["hypercalls"] {
                cost(row) + 20 * own["updates"].as_u64().unwrap() + 30
            } else {
                cost(row)
            };
            let known = DEARER.iter().find(|(of, policy, _)| *of == workload && policy == peer);
            let allowed = known.map_or(allowed, |(.., factor)| (cost(row) as f64 * factor) as u64);
            if cost(own) > allowed {
                dearer.push(format!("{workload}: {} and {peer} {}", cost(own), cost(row)));
            }
        }
    }
    dearer
}

/// A single hypercall of this library's costs more than the bare one by what the queue's look at itself takes.
const ALONE: [&str; 4] = ["fill-1", "outside", "cow", "empty"];

#[test]
fn no_peer_is_cheaper_but_where_it_is_said() {
    let bench = kept("xen-4.17-bench.json");
    let dearer: Vec<_> =
        dearer(&bench).into_iter().filter(|row| !ALONE.iter().any(|one| row.starts_with(one))).collect();
    assert_eq!(dearer, [""; 0]);
    // A batcher that has become slower is seen.
    let mut slower = bench;
    for row in slower["rows"].as_array_mut().unwrap().iter_mut().filter(|row| row["policy"] == "pv-mmu") {
        row["cost"] = (cost(row) * 112 / 100).into();
    }
    assert!(self::dearer(&slower).len() > 20);
}

/// What is handed over at once is bounded by the queue and not by the region.
#[test]
fn the_longest_masked_stretch_does_not_grow_with_the_region() {
    let bench = kept("xen-4.17-bench.json");
    let longest = |workload| row(&bench, workload, "pv-mmu")["longest_masked"].as_u64().unwrap();
    assert!(
        longest("vmap-10000") <= longest("fill-512") + 500,
        "{} and {}",
        longest("vmap-10000"),
        longest("fill-512")
    );
}

/// A policy without a queue is what a queue that is slow would look like.
#[test]
fn a_slow_policy_is_seen() {
    let kept = kept("xen-4.17-bench.json");
    assert!(too_dear(&kept, "single").len() >= LIMITS.len() - 2, "{:?}", too_dear(&kept, "single"));
    assert!(too_dear(&kept, "linux").len() >= LIMITS.len() - 1, "{:?}", too_dear(&kept, "linux"));
}

#[test]
fn one_row_can_be_had_with_its_ratios() {
    if Lab::for_test("one row").is_none() {
        return;
    }
    let bench = measured(&[&BENCH[..], &["--workload", "build-512", "--policy", "pv-mmu"]].concat());
    let [row] = bench_rows(&bench) else { panic!("{bench:#}") };
    let mut keys: Vec<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let agreed = "cost cost_per_update hypercalls longest_masked policy ratio_to_linux ratio_to_raw updates workload";
    assert_eq!(keys.join(" "), agreed);
    assert!(row["ratio_to_raw"].as_f64().unwrap() < 0.35 && row["hypercalls"] == 1, "{row}");
    assert_eq!(bench["unit"], "instructions");
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}

#[test]
fn the_document_says_what_is_kept() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/decisions/costs.md");
    let document = fs::read_to_string(document).unwrap();
    let bench = kept("xen-4.17-bench.json");
    for row in bench_rows(&bench).iter().filter(|row| row["policy"] == "pv-mmu") {
        let workload = row["workload"].as_str().unwrap();
        let line = document.lines().find(|line| line.starts_with(&format!("| {workload} |"))).unwrap();
        for policy in ["pv-mmu", "linux", "raw"] {
            let cost = grouped(cost(self::row(&bench, workload, policy)));
            assert!(line.contains(&format!("| {cost} |")), "{policy} takes {cost}: {line}");
        }
    }
}

/// Bytes of a vCPU's queue, by its capacity.
#[test]
fn the_document_says_how_large_a_queue_is() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/decisions/costs.md");
    let document = fs::read_to_string(document).unwrap();
    for (capacity, bytes) in [
        ("64 / 8 / 32", size_of::<VcpuQueue<64, 8, 32>>()),
        ("128 / 16 / 64", size_of::<VcpuQueue<128, 16, 64>>()),
        ("512 / 32 / 128", size_of::<VcpuQueue>()),
        ("1024 / 32 / 128", size_of::<VcpuQueue<1024, 32, 128>>()),
    ] {
        let line = format!("| {capacity} | {} |", grouped(bytes as u64));
        assert!(document.contains(&line), "not in the document: {line}");
    }
    assert!(size_of::<VcpuQueue>() <= 16 << 10);
}

/// Hypercalls of a trace's replay.
fn hypercalls(trace: &str, mode: &str) -> (u64, u64) {
    let report = measured(&["replay", trace, "--mode", mode, "--format", "json"]);
    (report["recorded"]["hypercalls"].as_u64().unwrap(), report["hypercalls"].as_u64().unwrap())
}

#[test]
fn the_document_says_what_the_traces_take() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/decisions/costs.md");
    let document = fs::read_to_string(document).unwrap();
    for trace in mmu_trace::BUNDLED {
        let ((recorded, as_recorded), (_, ported)) =
            (hypercalls(trace.name, "as-recorded"), hypercalls(trace.name, "ported"));
        let short = trace.name.trim_start_matches("linux-6.1-2vcpu-");
        let row = format!("| {short} | all | {} | {} | {} |", grouped(recorded), grouped(as_recorded), grouped(ported));
        assert!(document.contains(&row), "not in the document: {row}");
    }
}
