//! A trace of any length is read and judged in bounded memory. In a process of its own, for its peak is measured.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{self, Read};
use std::time::Instant;

use flate2::read::GzDecoder;
use mmu_trace::{BUNDLED, EventReader, check};

/// 1 GiB with optimisation, else what takes as long without.
const BYTES: u64 = if cfg!(debug_assertions) { 1 << 27 } else { 1 << 30 };

/// The bound, in KiB.
const RESIDENT: u64 = 64 * 1024;

/// Yields the same bytes again and again, whole rounds of them.
struct Rounds {
    body: Vec<u8>,
    at: usize,
    left: u64,
}

impl Read for Rounds {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.body.len() && self.left > 0 {
            self.left -= 1;
            self.at = 0;
        }
        let count = (&self.body[self.at..]).read(buffer)?;
        self.at += count;
        Ok(count)
    }
}

/// The most this process ever had resident, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the kernel says it");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number of kB")
}

#[test]
fn a_long_trace_stays_small() {
    let mut text = String::new();
    GzDecoder::new(BUNDLED[1].gzip).read_to_string(&mut text).expect("the bundled trace unpacks");
    // Each round is another buffer, so that its stamps may start anew.
    let events = text.split_inclusive('\n').filter(|line| !line.starts_with('#'));
    let body: String = std::iter::once("# tracer: nop\n").chain(events).collect();
    let rounds = BYTES.div_ceil(body.len() as u64);
    let length = rounds * body.len() as u64;
    let lines = rounds * body.lines().count() as u64;
    let start = Instant::now();
    let mut reader = EventReader::new(Rounds { body: body.into_bytes(), at: 0, left: rounds - 1 }).expect("it opens");
    let report = check::check(&mut reader).expect("it is whole");
    let seconds = start.elapsed().as_secs_f64();
    println!("{length} bytes in {seconds:.2} s, {:.0} MB/s, peak {} KiB", length as f64 / seconds / 1e6, peak());
    assert_eq!((reader.summary().lines, reader.summary().unknown_lines), (lines, 0));
    assert_eq!((report.regions, report.violations_total), (92 * rounds, 0));
    assert!(peak() < RESIDENT, "{} KiB were resident", peak());
}

/// Events of as many vCPUs and tasks as can be, as perf prints them.
struct Events {
    text: Vec<u8>,
    number: u64,
    left: u64,
}

impl Read for Events {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.text.is_empty() && self.left > 0 {
            (self.left, self.number) = (self.left - 1, self.number + 1);
            let (number, vcpu) = (self.number, self.number % u64::from(mmu_trace::event::MAX_VCPUS));
            let line = format!("sh {number:>20} [{vcpu}] 1.{number:09}: ftrace:print: ip=0 buf={:>900}\n", number);
            self.text = line.into_bytes();
        }
        let count = buffer.len().min(self.text.len());
        buffer[..count].copy_from_slice(&self.text[..count]);
        self.text.drain(..count);
        Ok(count)
    }
}

#[test]
fn vcpus_and_tasks_without_end_stay_small() {
    let left = BYTES / 8192;
    let mut reader = EventReader::new(Events { text: Vec::new(), number: 0, left }).expect("it opens");
    let report = check::check(&mut reader).expect("it is whole");
    assert_eq!((report.events, reader.summary().unknown_lines), (left, 0));
    assert!(peak() < RESIDENT, "{} KiB were resident", peak());
}
