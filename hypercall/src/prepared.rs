//! Calls laid out in memory and ready to be issued.
//!
//! A [`PreparedCalls`] borrows the batch it was laid out in, and only the batch can make one: every
//! pointer among the argument words leads into that batch's memory and stays valid while the
//! borrow lasts. That is why issuing it needs no `unsafe` from the caller. Whoever has no use for
//! real addresses (a mock, a recorder) reads the memory through [`ArgumentMemory`] instead.

use core::mem::{size_of, size_of_val};

use crate::{
    DecodeError, DomId, Entry, EntryKind, Errno, MmuUpdate, MmuextOp, MmuextWords, Operation, Outcome, RawCall,
    Subject,
    abi::{self, multicall_entry},
    operation::read_bitmap,
    span::{Span, registers},
};

/// The result word of a call that has not run: no call returns it.
pub(crate) const NOT_RUN: u64 = i64::MIN as u64;

/// The memory that argument words point into, addressed as the hypervisor would.
#[derive(Debug)]
pub struct ArgumentMemory<'a> {
    pub(crate) updates: &'a [MmuUpdate],
    pub(crate) words: &'a [u64],
    pub(crate) done: &'a mut [u32],
}

/// The offset of `address` in the memory of `slice`, when all `bytes` from there lie in it.
fn offset_in<T>(slice: &[T], address: u64, bytes: usize) -> Option<usize> {
    let offset = usize::try_from(address.checked_sub(slice.as_ptr().addr() as u64)?).ok()?;
    (offset.checked_add(bytes)? <= size_of_val(slice)).then_some(offset)
}

impl ArgumentMemory<'_> {
    /// Lets the addresses among the argument words, which are numbers, lead to this memory as it is
    /// borrowed now. A hypervisor that hands them to the processor calls this right before.
    pub fn expose(&mut self) {
        self.updates.as_ptr().expose_provenance();
        self.words.as_ptr().expose_provenance();
        self.done.as_mut_ptr().expose_provenance();
    }

    /// The same memory for a shorter time. Calls hand out this and never themselves, so that what their
    /// registers lead to cannot be exchanged.
    const fn reborrow(&mut self) -> ArgumentMemory<'_> {
        ArgumentMemory { updates: self.updates, words: self.words, done: &mut *self.done }
    }

    /// The 8-byte word at `address`; `None` outside the memory or off a multiple of 8.
    #[must_use]
    pub fn read(&self, address: u64) -> Option<u64> {
        if !address.is_multiple_of(8) {
            return None;
        }
        if let Some(offset) = offset_in(self.words, address, 8) {
            return self.words.get(offset / 8).copied();
        }
        let offset = offset_in(self.updates, address, 8)?;
        let update = self.updates.get(offset / size_of::<MmuUpdate>())?;
        Some(if offset.is_multiple_of(size_of::<MmuUpdate>()) { update.slot.bits() } else { update.value })
    }

    /// The done count at `address`.
    #[must_use]
    pub fn read_done(&self, address: u64) -> Option<u32> {
        self.done.get(offset_in(self.done, address, 4)? / 4).copied()
    }

    /// Stores a done count; `None` where `address` is no done count's.
    pub fn write_done(&mut self, address: u64, value: u32) -> Option<()> {
        let offset = offset_in(self.done, address, 4)?;
        *self.done.get_mut(offset / 4)? = value;
        Some(())
    }

    /// The call that `span`, number `index` of its batch, stands for, without its first `skip`
    /// operations.
    pub(crate) fn call(&self, span: &Span, index: usize, skip: u16) -> Option<RawCall> {
        let Entry { kind, start, len } = span.entry;
        let words = self.words.as_ptr().addr() as u64;
        let (array, owner) = match kind {
            EntryKind::Registers => return registers(self.words, span, words + 8 * u64::from(span.memory)),
            EntryKind::Updates(subject) => {
                let updates = self.updates.as_ptr().addr() as u64;
                (updates + 16 * u64::from(start + skip), subject.bits().into())
            }
            EntryKind::Mmuext(domain) => {
                (words + 8 * u64::from(start + skip * MmuextWords::WORDS as u16), domain.number().into())
            }
        };
        let done = self.done.get(index)? as *const u32;
        let args = [array, u64::from(len) - u64::from(skip), done.addr() as u64, owner, 0];
        Some(RawCall { number: span.number.into(), args })
    }

    fn mmuext(&self, array: u64, item: u32) -> Result<MmuextOp, DecodeError> {
        let base = array.wrapping_add(u64::from(item) * size_of::<MmuextWords>() as u64);
        let word = |n: u64| self.read(base.wrapping_add(8 * n)).ok_or(DecodeError::Unreadable(base));
        let words = MmuextWords::from_memory([word(0)?, word(1)?, word(2)?]);
        MmuextOp::decode(words, |address| read_bitmap(address, |address| self.read(address)))
    }

    fn update(&self, array: u64, item: u32) -> Result<MmuUpdate, DecodeError> {
        let base = array.wrapping_add(u64::from(item) * size_of::<MmuUpdate>() as u64);
        let offset = offset_in(self.updates, base, size_of::<MmuUpdate>()).ok_or(DecodeError::Unreadable(base))?;
        self.updates.get(offset / size_of::<MmuUpdate>()).copied().ok_or(DecodeError::Unreadable(base))
    }

    fn operation(&self, call: &RawCall, item: u32) -> Result<Operation, DecodeError> {
        let [array, _, _, owner, _] = call.args;
        match call.number {
            abi::HYPERCALL_MMU_UPDATE => {
                let subject = Subject::from_bits(owner as u32);
                Ok(Operation::Update { update: self.update(array, item)?, subject })
            }
            abi::HYPERCALL_MMUEXT_OP => {
                Ok(Operation::Mmuext { op: self.mmuext(array, item)?, domain: DomId::new(owner as u16) })
            }
            _ => Operation::decode(call, |address| self.read(address)),
        }
    }
}

/// One call, ready to be issued directly.
///
/// ```
/// use hypercall::{Batch, Mfn, MmuUpdate, Operation, Pte, PteSlot, Subject, abi};
///
/// let update = MmuUpdate::new(PteSlot::of(Mfn::new(7), 0), Pte::EMPTY);
/// let mut batch = Batch::<1, 1, 0>::new();
/// batch.push_update(update, Subject::SELF).unwrap();
///
/// let mut calls = batch.prepare();
/// let call = calls.call(0).unwrap();
/// assert_eq!((call.raw().number, call.count()), (abi::HYPERCALL_MMU_UPDATE, 1));
/// // Read back from the words that a hypervisor would read.
/// assert_eq!(call.operation(0), Ok(Operation::Update { update, subject: Subject::SELF }));
/// ```
#[derive(Debug)]
pub struct PreparedCall<'a> {
    pub(crate) raw: RawCall,
    pub(crate) memory: ArgumentMemory<'a>,
}

impl PreparedCall<'_> {
    /// Number and argument registers; addresses lead into [`PreparedCall::memory`].
    #[must_use]
    pub const fn raw(&self) -> &RawCall {
        &self.raw
    }

    /// The memory behind the arguments.
    pub const fn memory(&mut self) -> ArgumentMemory<'_> {
        self.memory.reborrow()
    }

    /// Operations in the call: the length of its array, 1 where it has none.
    #[must_use]
    pub const fn count(&self) -> u32 {
        count(&self.raw)
    }

    /// The call with only its first `count` operations; `None` where that leaves none.
    pub fn shortened(&mut self, count: u32) -> Option<PreparedCall<'_>> {
        if count == 0 || count > self.count() {
            return None;
        }
        let mut raw = self.raw;
        if is_array(&raw) {
            raw.args[1] = count.into();
        }
        Some(PreparedCall { raw, memory: self.memory.reborrow() })
    }

    /// Stores the call's done count, as the hypervisor does; without effect on a call in registers.
    pub fn set_done(&mut self, done: u32) {
        if is_array(&self.raw) {
            self.memory.write_done(self.raw.args[2], done);
        }
    }

    /// Operation `item`, read back from the words.
    ///
    /// # Errors
    /// [`DecodeError`] where `item` is beyond the call's memory.
    pub fn operation(&self, item: u32) -> Result<Operation, DecodeError> {
        self.memory.operation(&self.raw, item)
    }

    /// What the return value `value` and the done count in memory say.
    #[must_use]
    pub fn outcome(&self, value: i64) -> Outcome {
        let done = if is_array(&self.raw) { self.memory.read_done(self.raw.args[2]) } else { None };
        read_answer(value, done)
    }
}

/// Several calls, ready to be issued as one multicall, in order.
#[derive(Debug)]
pub struct PreparedCalls<'a> {
    pub(crate) spans: &'a [Span],
    pub(crate) entries: &'a mut [multicall_entry],
    pub(crate) memory: ArgumentMemory<'a>,
}

impl PreparedCalls<'_> {
    /// Number of calls.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no call.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries as `multicall` takes them; addresses lead into [`PreparedCalls::memory`].
    #[must_use]
    pub const fn entries(&self) -> &[multicall_entry] {
        self.entries
    }

    /// The memory behind the arguments.
    pub const fn memory(&mut self) -> ArgumentMemory<'_> {
        self.memory.reborrow()
    }

    /// The address of the entries. It and the addresses in them, which are numbers, lead to what they lie in as it is
    /// borrowed now. A hypervisor that hands them to the processor calls this right before.
    pub fn expose(&mut self) -> u64 {
        self.memory.expose();
        self.entries.as_mut_ptr().expose_provenance() as u64
    }

    /// Call `index` by itself, as it was laid out, whatever the hypervisor has made of its entry since;
    /// `None` beyond the last.
    pub fn call(&mut self, index: usize) -> Option<PreparedCall<'_>> {
        let raw = self.memory.call(self.spans.get(index)?, index, 0)?;
        Some(PreparedCall { raw, memory: self.memory.reborrow() })
    }

    /// Writes call `index`'s return value into its entry, as `multicall` does.
    pub fn set_result(&mut self, index: usize, value: i64) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.result = value as u64;
        }
    }

    /// What became of call `index`; `None` beyond the last and for one that has not run. Of its entry
    /// only the result is looked at.
    #[must_use]
    pub fn outcome(&self, index: usize) -> Option<Outcome> {
        let done = match self.spans.get(index)?.entry.kind {
            EntryKind::Registers => None,
            EntryKind::Updates(_) | EntryKind::Mmuext(_) => Some(*self.memory.done.get(index)?),
        };
        outcome(self.entries.get(index)?.result, done)
    }
}

const fn is_array(call: &RawCall) -> bool {
    matches!(call.number, abi::HYPERCALL_MMU_UPDATE | abi::HYPERCALL_MMUEXT_OP)
}

const fn count(call: &RawCall) -> u32 {
    if is_array(call) { call.args[1] as u32 } else { 1 }
}

/// What a result word says, with the done count of a call that has one; `None` if it has not run.
pub(crate) fn outcome(result: u64, done: Option<u32>) -> Option<Outcome> {
    (result != NOT_RUN).then(|| read_answer(result as i64, done))
}

fn read_answer(value: i64, done: Option<u32>) -> Outcome {
    let result = Errno::from_return(value).map(drop);
    Outcome { done: done.unwrap_or(u32::from(result.is_ok())), result }
}
