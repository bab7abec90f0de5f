//! `mmu_update`'s unit: a slot, a command, a value.

use core::fmt;
use core::mem::{offset_of, size_of};

use crate::abi::{self, mmu_update};
use crate::{AddressError, MachAddr, Mfn, PAGE_SHIFT, PAGE_SIZE, Pte};

/// What is to be done with a slot. Xen takes the lowest three bits of the slot word and answers
/// the four unused values with `-ENOSYS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum UpdateCommand {
    /// Store the value after Xen's checks.
    Normal = abi::MMU_NORMAL_PT_UPDATE as u8,
    /// Store the value as a frame's entry in the machine-to-physical table.
    MachPhys = abi::MMU_MACHPHYS_UPDATE as u8,
    /// As `Normal`; accessed and dirty of what the entry held are merged into the new value in one
    /// atomic step, even when that is not present.
    PreserveAd = abi::MMU_PT_UPDATE_PRESERVE_AD as u8,
    /// As `Normal` for a PV guest.
    NoTranslate = abi::MMU_PT_UPDATE_NO_TRANSLATE as u8,
}

impl UpdateCommand {
    const fn from_bits(bits: u64) -> Option<Self> {
        match bits {
            0 => Some(Self::Normal),
            1 => Some(Self::MachPhys),
            2 => Some(Self::PreserveAd),
            3 => Some(Self::NoTranslate),
            _ => None,
        }
    }
}

/// The machine address of a page-table entry together with the command: the first word of an
/// update.
///
/// ```
/// use hypercall::{MachAddr, Mfn, PteSlot, UpdateCommand};
///
/// let slot = PteSlot::of(Mfn::new(0x101), 7);
/// assert_eq!((slot.table(), slot.index(), slot.address()), (Mfn::new(0x101), 7, 0x10_1038));
///
/// // The same entry, and another thing to do with it.
/// assert!(slot.same_entry(slot.with_command(UpdateCommand::PreserveAd)));
/// assert!(PteSlot::new(MachAddr::new(0x10_103c)?).is_err(), "entries have 8 bytes");
/// # Ok::<(), hypercall::AddressError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct PteSlot(u64);

impl PteSlot {
    const COMMAND: u64 = 7;

    /// The entry at `address`, to be updated with [`UpdateCommand::Normal`].
    ///
    /// # Errors
    /// [`AddressError::Unaligned`] where `address` is not a multiple of 8.
    pub const fn new(address: MachAddr) -> Result<Self, AddressError> {
        if address.value() & Self::COMMAND == 0 {
            Ok(Self(address.value()))
        } else {
            Err(AddressError::Unaligned(address.value()))
        }
    }

    /// Entry `index` (0 to 511, higher bits are cut off) of the table in frame `table`.
    #[must_use]
    pub const fn of(table: Mfn, index: usize) -> Self {
        Self((table.number() << PAGE_SHIFT) + (index as u64 * 8) % PAGE_SIZE)
    }

    /// The slot with this word, whatever it holds: for decoding and for asking on purpose.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The word.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The entry's machine address.
    #[must_use]
    pub const fn address(self) -> u64 {
        self.0 & !Self::COMMAND
    }

    /// The frame of the table the entry lies in.
    #[must_use]
    pub const fn table(self) -> Mfn {
        Mfn::new(self.0 >> PAGE_SHIFT)
    }

    /// The entry's index in its table, 0 to 511.
    #[must_use]
    pub const fn index(self) -> usize {
        (self.0 % PAGE_SIZE / 8) as usize
    }

    /// The command; `None` for the four values Xen does not know.
    #[must_use]
    pub const fn command(self) -> Option<UpdateCommand> {
        UpdateCommand::from_bits(self.0 & Self::COMMAND)
    }

    /// The same entry with another command.
    #[must_use]
    pub const fn with_command(self, command: UpdateCommand) -> Self {
        Self(self.address() | command as u64)
    }

    /// Whether both name one entry, whatever the commands.
    #[must_use]
    pub const fn same_entry(self, other: Self) -> bool {
        (self.0 ^ other.0) & !Self::COMMAND == 0
    }

    /// The entry `n` places further; `None` where that is in another table.
    #[must_use]
    pub const fn offset(self, n: usize) -> Option<Self> {
        if n < crate::ENTRIES_PER_TABLE - self.index() { Some(Self(self.0 + n as u64 * 8)) } else { None }
    }
}

impl fmt::Debug for PteSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {:#x}[{}]", self.table().number(), self.index())?;
        match self.command() {
            Some(UpdateCommand::Normal) => Ok(()),
            Some(command) => write!(f, " {command:?}"),
            None => write!(f, " command {}", self.0 & Self::COMMAND),
        }
    }
}

impl fmt::Display for PteSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One element of an `mmu_update` array.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct MmuUpdate {
    /// Where, and by which command.
    pub slot: PteSlot,
    /// The value: an entry, or a pfn for [`UpdateCommand::MachPhys`].
    pub value: u64,
}

const _: () = {
    assert!(size_of::<MmuUpdate>() == size_of::<mmu_update>());
    assert!(offset_of!(MmuUpdate, slot) == offset_of!(mmu_update, ptr));
    assert!(offset_of!(MmuUpdate, value) == offset_of!(mmu_update, val));
};

impl MmuUpdate {
    /// Sets the entry at `slot` to `pte`, by the slot's command.
    #[must_use]
    pub const fn new(slot: PteSlot, pte: Pte) -> Self {
        Self { slot, value: pte.bits() }
    }

    /// The value as an entry.
    #[must_use]
    pub const fn pte(&self) -> Pte {
        Pte::from_bits(self.value)
    }

    pub(crate) const EMPTY: Self = Self { slot: PteSlot(0), value: 0 };
}

impl fmt::Debug for MmuUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} := {:#x}", self.slot, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_and_command_share_a_word() {
        let slot = PteSlot::of(Mfn::new(0x123), 7);
        assert_eq!(slot.bits(), 0x12_3038);
        let preserving = slot.with_command(UpdateCommand::PreserveAd);
        assert_eq!((preserving.bits(), preserving.index(), preserving.table()), (0x12_303a, 7, Mfn::new(0x123)));
        assert!(slot.same_entry(preserving) && slot != preserving);
        assert_eq!(PteSlot::from_bits(5).command(), None);
    }

    #[test]
    fn offsets_stay_within_the_table() {
        let slot = PteSlot::of(Mfn::new(1), 510);
        assert_eq!(slot.offset(1).map(PteSlot::index), Some(511));
        assert_eq!((slot.offset(2), slot.offset(usize::MAX)), (None, None));
        assert!(PteSlot::new(MachAddr::new(0x1004).unwrap()).is_err());
    }
}
