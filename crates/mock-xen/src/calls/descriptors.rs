//! `set_gdt` and `update_descriptor`: descriptor pages and what may be written into them.

use hypercall::{Errno, FlushScope, GdtFrames, MachAddr, Mfn, Operation, VcpuId};

use super::{Args, Caller};
use crate::MockXen;
use crate::domain::FrameOwner;
use crate::frames::FrameType;
use crate::machine::TableWork;
use crate::memory::ArgumentSource;
use crate::planted::Fault;
use crate::running::Running;
use crate::validate::Hold;
use crate::validate::descriptors::accepted;

/// Most descriptors of a guest's global table; the rest are Xen's.
const GDT_ENTRIES: u32 = 7168;
const PER_FRAME: u32 = 512;

impl MockXen {
    /// Loads a global descriptor table: each frame is a reference of both kinds on a descriptor
    /// page. The vCPU's TLB is flushed.
    ///
    /// # Errors
    /// `-EINVAL` for too many entries and for a frame that is not the guest's, in use as something
    /// else, or with a descriptor that is refused; `-EFAULT` where the list cannot be read. The old
    /// table stays loaded then.
    pub(super) fn set_gdt<S: ArgumentSource>(
        &self,
        caller: &mut Caller<'_>,
        [list, entries, ..]: Args,
        source: &S,
    ) -> Result<(), Errno> {
        let entries = entries as u32;
        if entries > GDT_ENTRIES {
            return Err(self.refusal(Fault::GdtLengthFault, Errno::FAULT, Errno::INVAL));
        }
        let read = |index: u32| source.read(list.wrapping_add(8 * u64::from(index))).map(|[frame]| Mfn::new(frame));
        let frames: Vec<Mfn> = (0..entries.div_ceil(PER_FRAME)).map(read).collect::<Option<_>>().ok_or(Errno::FAULT)?;
        let vcpu = caller.vcpu;
        let loaded = self.load_gdt(caller.running, vcpu, (&frames, entries));
        if loaded.is_ok() {
            self.machine.tlbs.flush(vcpu, FlushScope::Local);
        }
        self.tell(vcpu, || GdtFrames::new(&frames, entries).map(Operation::SetGdt), Some(loaded));
        loaded
    }

    /// Loads the table for `vcpu`.
    ///
    /// # Errors
    /// As [`MockXen::set_gdt`] with a list that was read.
    pub(super) fn load_gdt(
        &self,
        running: &mut Running,
        vcpu: VcpuId,
        (frames, entries): (&[Mfn], u32),
    ) -> Result<(), Errno> {
        if entries > GDT_ENTRIES {
            return Err(Errno::INVAL);
        }
        let mut work = self.machine.work(running);
        for (index, frame) in frames.iter().enumerate() {
            if self.machine.acquire(&mut work, *frame, FrameType::Descriptors, Hold::Operation).is_err() {
                self.machine.put_all(&mut work, &frames[..index]);
                return Err(Errno::INVAL);
            }
        }
        self.replace_gdt(&mut work, vcpu, (frames.to_vec(), entries));
        Ok(())
    }

    /// Puts a table whose frames are referenced into place of the old one.
    pub(super) fn replace_gdt(&self, work: &mut TableWork<'_>, vcpu: VcpuId, new: (Vec<Mfn>, u32)) {
        let (old, _) = std::mem::replace(&mut self.vcpu_state(vcpu).lock().gdt, new);
        self.machine.put_all(work, &old);
    }

    /// Writes one descriptor at a machine address: into a descriptor page, or into a frame that is
    /// or may become writable.
    pub(super) fn update_descriptor(
        &self,
        caller: &mut Caller<'_>,
        [address, descriptor, ..]: Args,
    ) -> Result<(), Errno> {
        let written = self.write_descriptor(caller.running, address, descriptor);
        let operation =
            || MachAddr::new(address).ok().map(|address| Operation::UpdateDescriptor { address, descriptor });
        self.tell(caller.vcpu, operation, Some(written));
        written
    }

    /// # Errors
    /// `-EINVAL` where the address is not a multiple of 8 or not in a frame of the guest's, where
    /// the frame is in use as something else, and for a descriptor that is refused.
    fn write_descriptor(&self, running: &mut Running, address: u64, descriptor: u64) -> Result<(), Errno> {
        if !address.is_multiple_of(8) {
            return Err(Errno::INVAL);
        }
        let stored = accepted(descriptor, self.machine.planted)?;
        let frame = self.machine.frames.owned(Mfn::new(address >> 12), FrameOwner::Domain)?;
        let index = (address % hypercall::PAGE_SIZE / 8) as usize;
        let mut work = self.machine.work(running);
        let kind = frame.state.lock().kind;
        if kind != FrameType::Descriptors {
            return self.machine.while_writable(frame, || frame.store(index, stored));
        }
        self.machine
            .acquire(&mut work, frame.mfn, FrameType::Descriptors, Hold::Operation)
            .map_err(|_| Errno::INVAL)?;
        frame.store(index, stored);
        self.machine.put_all(&mut work, &[frame.mfn]);
        Ok(())
    }
}
