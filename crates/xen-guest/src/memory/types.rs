//! What Xen has the domain's frames for, as it tells a privileged domain.

use hypercall::{Errno, Level, Mfn};

use crate::calls;

/// Frames that one call tells of.
pub const FRAMES_PER_CALL: usize = 1024;
/// Bits 28 to 30 of an answer: 1 to 4 for a table of that level (`XEN_DOMCTL_PFINFO_LTAB_MASK`).
const LEVEL_SHIFT: u32 = 28;
const LEVEL_MASK: u64 = 7;
/// Bit 31 (`XEN_DOMCTL_PFINFO_LPINTAB`).
const PINNED: u64 = 1 << 31;

/// A frame's type. Xen keeps the type of a frame that is no longer used as one until it needs another, so a level alone
/// does not mean that the frame is a table in use; a pin does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameType {
    /// A table, of this level.
    pub level: Option<Level>,
    /// Whether it is pinned.
    pub pinned: bool,
}

impl FrameType {
    fn of(answer: u64) -> Self {
        let number = answer >> LEVEL_SHIFT & LEVEL_MASK;
        let level = Level::ALL.into_iter().find(|level| u64::from(level.number()) == number);
        Self { level, pinned: level.is_some() && answer & PINNED != 0 }
    }
}

/// Asks Xen for the types of up to [`FRAMES_PER_CALL`] of domain 0's frames, and tells `each`, in order.
///
/// # Errors
/// The hypervisor's refusal; [`Errno::TOO_BIG`] for more frames.
pub fn types(
    frames: impl Iterator<Item = Mfn>,
    room: &mut [u64; FRAMES_PER_CALL],
    each: impl FnMut(FrameType),
) -> Result<(), Errno> {
    let mut count = 0;
    for frame in frames {
        *room.get_mut(count).ok_or(Errno::TOO_BIG)? = frame.number();
        count += 1;
    }
    let room = &mut room[..count];
    calls::frame_types(room)?;
    room.iter().map(|answer| FrameType::of(*answer)).for_each(each);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_pins_are_told_apart() {
        let of = |answer| FrameType::of(answer);
        assert_eq!(of(0x1234), FrameType { level: None, pinned: false });
        assert_eq!(of(0x1000_1234), FrameType { level: Some(Level::L1), pinned: false });
        assert_eq!(of(0xc000_0000), FrameType { level: Some(Level::L4), pinned: true });
        // Broken, or no frame.
        assert_eq!(of(0xf000_0000), FrameType { level: None, pinned: false });
    }
}
