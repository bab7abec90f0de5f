//! A guest with a few frames for random programs to fight over.

use hypercall::{Errno, Level, Mfn, PteSlot, VcpuId, VirtAddr, issue_operation};
use mock_xen::{GuestBuilder, MockXen};

use crate::wish::Wish;

/// Frames in the fight.
pub(crate) const FRAMES: usize = 8;

pub(crate) struct Guest {
    pub(crate) xen: MockXen,
    pub(crate) frames: Vec<Mfn>,
    /// Their entries and addresses in the direct map, as they were at the start.
    pub(crate) slots: Vec<PteSlot>,
    pub(crate) addresses: Vec<u64>,
    pub(crate) root: Mfn,
}

impl Guest {
    pub(crate) fn new(vcpus: u32) -> Self {
        let mut builder = GuestBuilder::new(vcpus);
        let frames: Vec<_> = (0..FRAMES).map(|_| builder.new_frame()).collect();
        builder.spare(4);
        let xen = builder.build().expect("a guest without tables of its own is always right");
        let cpu = VcpuId::new(0);
        let address = |frame: &Mfn| xen.direct_map(*frame).expect("the frame is memory");
        let slot = |address: VirtAddr| xen.slot_of(cpu, address, Level::L1).expect("the frame is mapped");
        let slots = frames.iter().map(|frame| slot(address(frame))).collect();
        let addresses = frames.iter().map(|frame| address(frame).value()).collect();
        let root = xen.processor(cpu).base;
        Self { frames, slots, addresses, root, xen }
    }

    /// Runs one wish by typed calls.
    pub(crate) fn run(&self, vcpu: VcpuId, wish: &Wish) -> Result<(), Errno> {
        match wish.operation(self) {
            Some(operation) => issue_operation(&mut self.xen.vcpu(vcpu), &operation),
            None if wish.act(self) => Ok(()),
            None => Err(Errno::FAULT),
        }
    }
}
