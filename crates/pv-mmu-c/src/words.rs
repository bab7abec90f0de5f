//! The words of the interface, one type for each, so that C does not take one for another either.

use hypercall::{MachAddr, PteFlags, VcpuMask, VirtAddr};

use crate::error::{Code, Refusal};

/// A page-table entry's place: its machine address, a multiple of 8.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Slot {
    /// The machine address.
    pub bits: u64,
}

/// A page-table entry, as the processor has it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Pte {
    /// The word.
    pub bits: u64,
}

/// A machine frame number: 4096 bytes each.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Mfn {
    /// The number.
    pub number: u64,
}

/// A virtual address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Va {
    /// The address.
    pub address: u64,
}

/// A set of vCPUs: vCPU n is bit n % 64 of word n / 64.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Vcpus {
    /// The bits.
    pub words: [u64; 2],
}

impl Slot {
    /// The slot of an update of an L1 entry.
    ///
    /// # Errors
    /// It is no multiple of 8, or beyond the machine's 52 bits.
    pub(crate) fn check(self) -> Result<hypercall::PteSlot, Refusal> {
        let slot = MachAddr::new(self.bits).and_then(hypercall::PteSlot::new);
        slot.map_err(|_| Refusal::of(Code::Slot, self.bits))
    }

    pub(crate) const fn of(slot: hypercall::PteSlot) -> Self {
        Self { bits: slot.address() }
    }
}

impl Pte {
    pub(crate) const fn native(self) -> hypercall::Pte {
        hypercall::Pte::from_bits(self.bits)
    }

    pub(crate) const fn of(pte: hypercall::Pte) -> Self {
        Self { bits: pte.bits() }
    }

    pub(crate) const fn flags(self) -> PteFlags {
        PteFlags::from_bits_truncate(self.bits)
    }
}

impl Mfn {
    pub(crate) const fn native(self) -> hypercall::Mfn {
        hypercall::Mfn::new(self.number)
    }

    pub(crate) const fn of(mfn: hypercall::Mfn) -> Self {
        Self { number: mfn.number() }
    }
}

impl Va {
    /// # Errors
    /// It is not canonical.
    pub(crate) fn check(self) -> Result<VirtAddr, Refusal> {
        VirtAddr::new(self.address).map_err(|_| Refusal::of(Code::Address, self.address))
    }

    pub(crate) const fn of(address: VirtAddr) -> Self {
        Self { address: address.value() }
    }
}

impl Vcpus {
    pub(crate) fn native(self) -> VcpuMask {
        let [low, high] = self.words;
        VcpuMask::from_words([low, if crate::is_planted!(VcpusDoubled) { low } else { high }])
    }

    pub(crate) const fn of(vcpus: &VcpuMask) -> Self {
        Self { words: *vcpus.words() }
    }
}
