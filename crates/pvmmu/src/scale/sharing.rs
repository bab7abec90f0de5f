//! Whether vCPUs slow each other down by data that lies side by side.
//!
//! Two threads at once, once with what they write side by side in memory, once with it far apart. A pair of counters in one cache
//! line is there to show that this machine would tell.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use hypercall::{ENTRIES_PER_TABLE, Mfn, Null, Pte};
use pv_mmu::VcpuQueue;
use serde::Serialize;

use super::vcpus::Own;

/// ns for each update, or each count.
#[derive(Debug, Serialize)]
pub(super) struct Sharing {
    pub(super) what: &'static str,
    pub(super) side_by_side: f64,
    pub(super) apart: f64,
    /// Of the first to the second: 1 where nothing is shared.
    pub(super) ratio: f64,
}

const REGIONS: usize = 65_536;
const COUNTS: usize = 40_000_000;

/// Measures both.
pub(super) fn measure() -> Vec<Sharing> {
    vec![
        sharing("queues of two vCPUs", VcpuQueue::new, REGIONS * ENTRIES_PER_TABLE, fill),
        sharing(
            "counters, for comparison",
            || AtomicU64::new(0),
            COUNTS,
            |counter, _| {
                (0..COUNTS).for_each(|_| _ = counter.fetch_add(1, Relaxed));
            },
        ),
    ]
}

fn fill(queue: &mut VcpuQueue, number: usize) {
    Own::new(queue, Null::new()).fill(Mfn::new(0x100 + number as u64), Pte::from_bits(0x63), REGIONS);
}

/// Enough between two of them that no processor fetches both.
const GAP: usize = 1 << 16;

fn sharing<T: Send>(what: &'static str, new: impl Fn() -> T, times: usize, work: fn(&mut T, usize)) -> Sharing {
    let mut beside: Vec<T> = (0..2).map(|_| new()).collect();
    let mut far = [(); 2].map(|()| Box::new((new(), [0u8; GAP])));
    let lowest = |run: &mut dyn FnMut() -> f64| (0..3).map(|_| run()).fold(f64::INFINITY, f64::min);
    let side_by_side = lowest(&mut || both(beside.iter_mut(), work)) / times as f64;
    let apart = lowest(&mut || both(far.iter_mut().map(|far| &mut far.0), work)) / times as f64;
    Sharing { what, side_by_side, apart, ratio: side_by_side / apart }
}

/// ns until both are done.
fn both<'t, T: Send + 't>(data: impl Iterator<Item = &'t mut T>, work: fn(&mut T, usize)) -> f64 {
    let begun = Instant::now();
    thread::scope(|scope| {
        for (number, datum) in data.enumerate() {
            scope.spawn(move || work(datum, number));
        }
    });
    begun.elapsed().as_nanos() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of 64 bytes, taken in pairs as processors fetch them, that hold some of each.
    fn shared<T>(data: &[T; 2]) -> usize {
        let lines = |datum: &T| {
            let first = std::ptr::from_ref(datum).addr();
            first / 128..=(first + size_of::<T>() - 1) / 128
        };
        let [first, second] = [&data[0], &data[1]].map(lines);
        first.filter(|line| second.contains(line)).count()
    }

    #[test]
    fn queues_side_by_side_share_no_cache_line() {
        assert_eq!(shared(&[VcpuQueue::<64, 8, 32>::new(), VcpuQueue::new()]), 0);
        assert_eq!(shared(&[VcpuQueue::<512, 32, 128>::new(), VcpuQueue::new()]), 0);
        // What would be found otherwise.
        assert!(shared(&[[0u64; 17], [0; 17]]) > 0);
    }
}
