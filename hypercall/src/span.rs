//! The shape of a call in a batch: what carries its operations, and where in the batch they lie.

use crate::{DomId, RawCall, Subject, abi};

/// How a call carries its operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// An `mmu_update` array.
    Updates(Subject),
    /// An `mmuext_op` array.
    Mmuext(DomId),
    /// One operation in registers.
    Registers,
}

/// One call of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its kind.
    pub kind: EntryKind,
    /// Index of its first update, for [`EntryKind::Updates`]; a position in the arena otherwise.
    pub start: u16,
    /// Operations in it.
    pub len: u16,
}

/// Position in the arena of a bitmap or frame list that is not there.
pub(crate) const NO_MEMORY: u16 = u16::MAX;

/// Argument registers a call in registers uses.
pub(crate) const REGISTERS: usize = 4;

/// A call: its number, and where its bitmap or frame list lies in the arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) entry: Entry,
    pub(crate) number: u16,
    pub(crate) memory: u16,
}

impl Span {
    pub(crate) const EMPTY: Self = Self::array(EntryKind::Registers, 0);

    /// A call with one operation at `start`.
    pub(crate) const fn array(kind: EntryKind, start: u16) -> Self {
        let number = match kind {
            EntryKind::Updates(_) => abi::HYPERCALL_MMU_UPDATE,
            EntryKind::Mmuext(_) | EntryKind::Registers => abi::HYPERCALL_MMUEXT_OP,
        };
        Self { entry: Entry { kind, start, len: 1 }, number: number as u16, memory: NO_MEMORY }
    }
}

/// A call in registers, with its bitmap or frame list, if it has one, at `address`.
pub(crate) fn registers(words: &[u64], span: &Span, address: u64) -> Option<RawCall> {
    let [a, b, c, d] = *words.get(span.entry.start as usize..)?.first_chunk()?;
    let mut args = [a, b, c, d, 0];
    if span.memory != NO_MEMORY {
        let pointer = if u32::from(span.number) == abi::HYPERCALL_SET_GDT { &mut args[0] } else { &mut args[2] };
        *pointer |= address;
    }
    Some(RawCall { number: span.number.into(), args })
}
