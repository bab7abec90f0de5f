//! The table, and the calls about one entry.

use std::collections::BTreeMap;

use crate::abi::{
    ANDCOND, AVPN, EXACT, FUNCTION, H_BLOCK_REMOVE, H_BULK_REMOVE, H_ENTER, H_PROTECT, H_READ, H_REMOVE, LARGE, MARK,
    NOT_FOUND, PARAMETER, PTEG_FULL, READ_4, SUCCESS, VALID,
};

/// Whose answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The standard's.
    Papr,
    /// Those of QEMU's pseries machine without KVM.
    QemuTcg,
}

/// A rule that is wrong on purpose, to show that tests find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An occupied place is entered again.
    ExactOverwrites,
    /// A full group is an invalid argument.
    FullIsParameter,
    /// Memory may be mapped with any storage attributes.
    AnyAttributes,
    /// The tag is not compared.
    TagIgnored,
    /// The condition is not looked at.
    ConditionIgnored,
    /// Places beyond the table are not found.
    BeyondIsNotFound,
    /// A removed entry is not answered with.
    RemovedNotTold,
    /// Changing rights drops "referenced" and "changed".
    ProtectDropsBits,
    /// Four entries are read from where is asked, not from a multiple of four.
    ReadUnaligned,
    /// The end of a bulk removal is not seen.
    EndIgnored,
    /// A bulk removal stops at what it does not find.
    StopsAtNotFound,
    /// A bulk removal undoes what came before an error.
    BulkIsAllOrNothing,
    /// A block removal takes pages of other blocks.
    BlockUnbounded,
    /// Nothing is flushed.
    NeverFlushes,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::ExactOverwrites,
        Self::FullIsParameter,
        Self::AnyAttributes,
        Self::TagIgnored,
        Self::ConditionIgnored,
        Self::BeyondIsNotFound,
        Self::RemovedNotTold,
        Self::ProtectDropsBits,
        Self::ReadUnaligned,
        Self::EndIgnored,
        Self::StopsAtNotFound,
        Self::BulkIsAllOrNothing,
        Self::BlockUnbounded,
        Self::NeverFlushes,
    ];
}

/// An entry's two doublewords.
pub(crate) type Entry = (u64, u64);

/// The machine.
#[derive(Clone, Debug)]
pub struct Papr {
    pub(crate) entries: BTreeMap<u64, Entry>,
    size: u64,
    memory: u64,
    pub(crate) dialect: Dialect,
    tlbs: Vec<BTreeMap<u64, Entry>>,
    /// An entry has been taken away or changed since the last flush.
    owed: bool,
    /// And the calling processor has taken no interrupt since.
    owed_to_caller: bool,
    planted: Option<Fault>,
}

/// Entries of a group, in which a free place is looked for.
const GROUP: u64 = 8;
/// The real page number of an entry.
const FRAME: u64 = 0x0fff_ffff_ffff_f000;

impl Papr {
    /// A table of so many entries, for a machine with so many bytes of memory and so many processors.
    #[must_use]
    pub fn new(size: u64, memory: u64, processors: usize, dialect: Dialect) -> Self {
        let tlbs = vec![BTreeMap::new(); processors];
        Self {
            entries: BTreeMap::new(),
            size,
            memory,
            dialect,
            tlbs,
            owed: false,
            owed_to_caller: false,
            planted: None,
        }
    }

    /// One with a rule that is wrong.
    #[must_use]
    pub fn planted(self, fault: Fault) -> Self {
        Self { planted: Some(fault), ..self }
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.planted == Some(fault)
    }

    /// The entry in a place, as `H_READ` would answer.
    #[must_use]
    pub fn entry(&self, place: u64) -> (u64, u64) {
        self.entries.get(&place).copied().unwrap_or(self.empty())
    }

    /// A processor uses the entry in a place, and may keep it.
    pub fn touch(&mut self, processor: usize, place: u64) {
        let entry = self.entry(place);
        if entry.0 & VALID != 0
            && let Some(tlb) = self.tlbs.get_mut(processor)
        {
            tlb.insert(place, entry);
        }
    }

    /// Entries that processors may use for what is in a place: what it holds, and what TLBs have kept of it.
    #[must_use]
    pub fn may_use(&self, place: u64) -> Vec<(u64, u64)> {
        let kept = self.tlbs.iter().filter_map(|tlb| tlb.get(&place).copied());
        let held = Some(self.entry(place)).filter(|entry| entry.0 & VALID != 0);
        let mut all: Vec<_> = held.into_iter().chain(kept).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Every TLB forgets everything, if there is anything to be forgotten.
    pub(crate) fn flush(&mut self) {
        if self.owed && !self.has(Fault::NeverFlushes) {
            self.tlbs.iter_mut().for_each(BTreeMap::clear);
        }
        (self.owed, self.owed_to_caller) = (false, false);
    }

    /// The processor that calls takes an interrupt, at which QEMU makes up, for this one, for a flush that a call has left out. It is still
    /// owed to the others, and the next call that flushes does so.
    pub fn interrupt(&mut self, caller: usize) {
        if self.owed_to_caller
            && !self.has(Fault::NeverFlushes)
            && let Some(tlb) = self.tlbs.get_mut(caller)
        {
            tlb.clear();
        }
        self.owed_to_caller = false;
    }

    /// One hypercall.
    pub fn call(&mut self, number: u64, registers: &mut [u64; 9]) -> i64 {
        match number {
            H_ENTER => self.enter(registers),
            H_READ => self.read(registers),
            H_REMOVE => self.remove(registers),
            H_PROTECT => self.protect(registers),
            H_BULK_REMOVE => self.bulk_remove(registers),
            H_BLOCK_REMOVE if self.dialect == Dialect::Papr => self.block_remove(registers),
            _ => FUNCTION,
        }
    }

    /// Whether there is such a place; what to answer where there is not.
    pub(crate) fn checked(&self, place: u64) -> Result<(), i64> {
        let answer = if self.has(Fault::BeyondIsNotFound) { NOT_FOUND } else { PARAMETER };
        if place < self.size { Ok(()) } else { Err(answer) }
    }

    /// What an empty place holds.
    const fn empty(&self) -> Entry {
        match self.dialect {
            Dialect::QemuTcg => (MARK, 0),
            Dialect::Papr => (0, 0),
        }
    }

    fn enter(&mut self, registers: &mut [u64; 9]) -> i64 {
        let [flags, place, first, second, ..] = *registers;
        if !is_page_size(first, second) || !self.are_attributes(second) {
            return PARAMETER;
        }
        if let Err(answer) = self.checked(place) {
            return answer;
        }
        let is_free = |place: &u64| self.entry(*place).0 & VALID == 0 || self.has(Fault::ExactOverwrites);
        let group = place & !(GROUP - 1);
        let free = if flags & EXACT != 0 { Some(place).filter(is_free) } else { (group..group + GROUP).find(is_free) };
        let Some(free) = free else { return if self.has(Fault::FullIsParameter) { PARAMETER } else { PTEG_FULL } };
        self.entries.insert(free, ((first & !0x60) | self.empty().0, second));
        registers[0] = free;
        SUCCESS
    }

    /// Memory is mapped coherent and cached, everything else uncached.
    fn are_attributes(&self, second: u64) -> bool {
        let (address, attributes) = (second & FRAME, (second >> 3) & 0xf);
        let is_memory = address < self.memory;
        if self.has(Fault::AnyAttributes) {
            return true;
        }
        if is_memory { attributes == 0b0010 } else { matches!(attributes & !1, 0b0100 | 0b0110) }
    }

    fn read(&self, registers: &mut [u64; 9]) -> i64 {
        let [flags, place, ..] = *registers;
        if let Err(answer) = self.checked(place) {
            return answer;
        }
        let (first, count) = match flags & READ_4 {
            0 => (place, 1),
            _ if self.has(Fault::ReadUnaligned) => (place, 4),
            _ => (place & !3, 4),
        };
        let (pairs, _) = registers.as_chunks_mut::<2>();
        for (pair, place) in pairs.iter_mut().zip(first..first + count) {
            *pair = self.entry(place).into();
        }
        SUCCESS
    }

    /// The valid entry of a place that meets the conditions of a call; what to answer where there is none.
    pub(crate) fn found(&self, place: u64, tag: u64, by_tag: bool, by_condition: bool) -> Result<Entry, i64> {
        self.checked(place)?;
        let entry = self.entry(place);
        let other_tag = by_tag && entry.0 & !0x7f != tag && !self.has(Fault::TagIgnored);
        let condition = by_condition && entry.0 & tag != 0 && !self.has(Fault::ConditionIgnored);
        if entry.0 & VALID == 0 || other_tag || condition { Err(NOT_FOUND) } else { Ok(entry) }
    }

    /// Takes an entry away; TLBs are not flushed yet.
    pub(crate) fn take(&mut self, place: u64) {
        self.entries.insert(place, self.empty());
        (self.owed, self.owed_to_caller) = (true, true);
    }

    fn remove(&mut self, registers: &mut [u64; 9]) -> i64 {
        let [flags, place, tag, ..] = *registers;
        match self.found(place, tag, flags & AVPN != 0, flags & ANDCOND != 0) {
            Err(answer) => answer,
            Ok((first, second)) => {
                self.take(place);
                self.flush();
                if !self.has(Fault::RemovedNotTold) {
                    (registers[0], registers[1]) = (first, second);
                }
                SUCCESS
            }
        }
    }

    fn protect(&mut self, registers: &[u64; 9]) -> i64 {
        let [flags, place, tag, ..] = *registers;
        match self.found(place, tag, flags & AVPN != 0, false) {
            Err(answer) => answer,
            Ok((first, second)) => {
                // Rights, no-execute and key: the bits of the second doubleword that the flags replace.
                let low = flags & 0xe07;
                let high = ((flags & 0x100) << 55) | ((flags & 0x3000) << 48);
                let kept = if self.has(Fault::ProtectDropsBits) { !0x180 } else { !0 };
                let second = (second & kept & !(0xe07 | 1 << 63 | 3 << 60)) | low | high;
                self.entries.insert(place, (first, second));
                (self.owed, self.owed_to_caller) = (true, true);
                self.flush();
                SUCCESS
            }
        }
    }
}

/// 4 KiB, or 64 KiB in a segment of 64 KiB pages; larger and mixed ones are for machines that say so.
const fn is_page_size(first: u64, second: u64) -> bool {
    first & LARGE == 0 || (second >> 12) & 0xf == 1
}
