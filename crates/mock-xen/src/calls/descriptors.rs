//! `set_gdt` and `update_descriptor`: descriptor pages and what may be written into them.

use hypercall::{Errno, GdtFrames, MachAddr, Mfn, Operation, VcpuId};

use super::Args;
use crate::MockXen;
use crate::frames::{FrameOwner, FrameType};
use crate::memory::ArgumentSource;
use crate::validate::descriptors::accepted;

/// Most descriptors of a guest's global table; the rest are Xen's.
const GDT_ENTRIES: u32 = 7168;
const PER_FRAME: u32 = 512;

impl MockXen {
    /// Loads a global descriptor table: each frame is a reference of both kinds on a descriptor
    /// page.
    ///
    /// # Errors
    /// `-EINVAL` for too many entries and for a frame that is not the guest's, in use as something
    /// else, or with a descriptor that is refused; `-EFAULT` where the list cannot be read. The old
    /// table stays loaded then.
    pub(super) fn set_gdt<S: ArgumentSource>(
        &self,
        vcpu: VcpuId,
        [list, entries, ..]: Args,
        source: &S,
    ) -> Result<(), Errno> {
        let entries = entries as u32;
        if entries > GDT_ENTRIES {
            return Err(Errno::INVAL);
        }
        let read = |index: u32| source.read(list.wrapping_add(8 * u64::from(index))).map(|[frame]| Mfn::new(frame));
        let frames: Vec<Mfn> = (0..entries.div_ceil(PER_FRAME)).map(read).collect::<Option<_>>().ok_or(Errno::FAULT)?;
        let loaded = self.load_gdt(vcpu, &frames, entries);
        self.tell(vcpu, || GdtFrames::new(&frames, entries).map(Operation::SetGdt), Some(loaded));
        loaded
    }

    fn load_gdt(&self, vcpu: VcpuId, frames: &[Mfn], entries: u32) -> Result<(), Errno> {
        let load = |tables: &mut _| {
            for (index, frame) in frames.iter().enumerate() {
                if let Err(errno) = self.frames.claim(tables, *frame, FrameType::Descriptors) {
                    self.frames.unclaim_all(tables, &frames[..index]);
                    return Err(errno);
                }
            }
            let new = (frames.to_vec(), entries);
            let (old, _) = std::mem::replace(&mut self.vcpu_state(vcpu).lock().gdt, new);
            self.frames.unclaim_all(tables, &old);
            Ok(())
        };
        self.frames.with_tables(load).result
    }

    /// Writes one descriptor at a machine address: into a descriptor page, or into a frame that is
    /// or may become writable.
    pub(super) fn update_descriptor(&self, vcpu: VcpuId, [address, descriptor, ..]: Args) -> Result<(), Errno> {
        let written = self.write_descriptor(address, descriptor);
        let operation =
            || MachAddr::new(address).ok().map(|address| Operation::UpdateDescriptor { address, descriptor });
        self.tell(vcpu, operation, Some(written));
        written
    }

    /// # Errors
    /// `-EINVAL` where the address is not a multiple of 8 or not in a frame of the guest's, where
    /// the frame is in use as something else, and for a descriptor that is refused.
    fn write_descriptor(&self, address: u64, descriptor: u64) -> Result<(), Errno> {
        if !address.is_multiple_of(8) {
            return Err(Errno::INVAL);
        }
        let stored = accepted(descriptor)?;
        let frame = self.frames.owned(Mfn::new(address >> 12), FrameOwner::Domain)?;
        let index = (address % hypercall::PAGE_SIZE / 8) as usize;
        let in_use = |tables: &mut _| {
            let kind = frame.state.lock().kind;
            if kind != FrameType::Descriptors {
                return frame.store_plain(index, stored);
            }
            self.frames.claim(tables, frame.mfn, FrameType::Descriptors)?;
            frame.word(index).store(stored, std::sync::atomic::Ordering::SeqCst);
            self.frames.unclaim(tables, frame);
            Ok(())
        };
        self.frames.with_tables(in_use).result
    }
}
