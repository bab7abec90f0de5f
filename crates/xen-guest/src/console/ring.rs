//! The console of a domain that is not the first: a page shared with the console daemon of domain 0
//! (`struct xencons_interface` of `xen/include/public/io/console.h`).
//!
//! The kernel moves `out_prod` on, the daemon `out_cons`; what lies between is not yet read. Both count without end, and a byte's place
//! is its number modulo the ring's size.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

const IN_BYTES: usize = 1024;
const OUT_BYTES: usize = 2048;

/// The page.
#[repr(C)]
pub(super) struct Ring {
    input: [AtomicU8; IN_BYTES],
    output: [AtomicU8; OUT_BYTES],
    input_taken: AtomicU32,
    input_put: AtomicU32,
    output_taken: AtomicU32,
    output_put: AtomicU32,
}

const _: () = assert!(offset_of!(Ring, input_taken) == 3072 && size_of::<Ring>() == 3088);

impl Ring {
    /// Puts in as much of `bytes` as there is room for; answers what is left. The daemon has to be told.
    pub(super) fn put<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        let put = self.output_put.load(Ordering::Relaxed);
        // The daemon has read what it says it has before its place is used again.
        let unread = put.wrapping_sub(self.output_taken.load(Ordering::Acquire));
        let room = OUT_BYTES.saturating_sub(unread as usize);
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        for (number, byte) in (0u32..).zip(now) {
            let place = put.wrapping_add(number) as usize % OUT_BYTES;
            if let Some(cell) = self.output.get(place) {
                cell.store(*byte, Ordering::Relaxed);
            }
        }
        // The bytes are there before the daemon is told of them.
        self.output_put.store(put.wrapping_add(now.len() as u32), Ordering::Release);
        later
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn empty(count: u32) -> Ring {
        Ring {
            input: [const { AtomicU8::new(0) }; IN_BYTES],
            output: [const { AtomicU8::new(0) }; OUT_BYTES],
            input_taken: AtomicU32::new(0),
            input_put: AtomicU32::new(0),
            output_taken: AtomicU32::new(count),
            output_put: AtomicU32::new(count),
        }
    }

    /// The daemon's side.
    fn take(ring: &Ring, at_most: u32) -> Vec<u8> {
        let (taken, put) = (ring.output_taken.load(Ordering::Acquire), ring.output_put.load(Ordering::Acquire));
        let count = put.wrapping_sub(taken).min(at_most);
        let byte = |number: u32| ring.output[taken.wrapping_add(number) as usize % OUT_BYTES].load(Ordering::Relaxed);
        let bytes = (0..count).map(byte).collect();
        ring.output_taken.store(taken.wrapping_add(count), Ordering::Release);
        bytes
    }

    #[test]
    fn everything_arrives_in_order_however_slowly_it_is_read() {
        let text: Vec<u8> = (0..10_000u32).map(|number| (number % 251) as u8).collect();
        // From a count that runs over on the way.
        for (start, slow) in [(0, 7), (u32::MAX - 3000, 300), (u32::MAX, 2048)] {
            let (ring, mut rest, mut read) = (empty(start), &text[..], Vec::new());
            while read.len() < text.len() {
                rest = ring.put(rest);
                let unread =
                    ring.output_put.load(Ordering::Relaxed).wrapping_sub(ring.output_taken.load(Ordering::Relaxed));
                assert!(unread as usize <= OUT_BYTES, "nothing unread is written over");
                read.extend(take(&ring, slow));
            }
            assert_eq!(read, text);
        }
    }

    #[test]
    fn a_full_ring_takes_nothing() {
        let ring = empty(5);
        assert_eq!(ring.put(&[1; OUT_BYTES + 10]).len(), 10);
        assert_eq!(ring.put(b"more"), b"more");
        assert_eq!(take(&ring, 1), [1]);
        assert_eq!(ring.put(b"more"), b"ore");
    }

    /// A daemon that says it has taken more than was put in gets nothing written over.
    #[test]
    fn a_daemon_that_is_wrong_costs_output_only() {
        let ring = empty(5);
        ring.output_taken.store(9, Ordering::Relaxed);
        assert_eq!(ring.put(b"text"), b"text");
    }
}
