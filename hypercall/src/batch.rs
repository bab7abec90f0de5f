//! The multicall buffer: calls in order, their arguments in a fixed arena.
//!
//! Operations are pushed in the order in which they are to become effective. One that travels in
//! an array joins the last call when that is of its kind and about the same domain, and opens a
//! new call otherwise; nothing is ever placed before what was pushed earlier. A push that does not
//! fit changes nothing. Pointers are worked out by [`Batch::prepare`], so a batch may be moved
//! until then. The entries handed to the hypervisor are written by that and never read back but for
//! their results: whatever a hypervisor leaves in them (a preempted call leaves advanced arguments, a
//! debugging one overwrites them) reaches neither a later call nor a failure's description.

use crate::{
    DomId, MmuUpdate, MmuextOp, MmuextWords, Operation, Outcome, RawCall, Subject, VcpuMask,
    abi::multicall_entry,
    prepared::{ArgumentMemory, NOT_RUN, PreparedCall, PreparedCalls, outcome},
    span::{Entry, EntryKind, NO_MEMORY, REGISTERS, Span, registers},
};

/// What ran out when a push was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchFull {
    /// Room for updates.
    Updates,
    /// Room for calls.
    Calls,
    /// Room for `mmuext_op` operations, vCPU bitmaps and frame lists.
    Words,
}

/// Stands for the start of a call's own memory when it is read back; lower values mean something
/// else in the flags of `update_va_mapping`.
const RELATIVE: u64 = 8;
/// A buffer of at most `CALLS` calls with at most `UPDATES` page-table updates and an arena of
/// `WORDS` 8-byte words for `mmuext_op` operations (3 words each), vCPU bitmaps and frame lists.
///
/// ```
/// use hypercall::{Batch, DomId, Hypervisor, MmuUpdate, MmuextOp, Mfn, Null, Operation, Pte, PteSlot, Subject};
///
/// // Room for 8 updates in 4 calls, and 16 words for the rest.
/// let mut batch = Batch::<8, 4, 16>::new();
/// for index in 0..3 {
///     batch.push_update(MmuUpdate::new(PteSlot::of(Mfn::new(7), index), Pte::EMPTY), Subject::SELF).unwrap();
/// }
/// batch.push(&Operation::Mmuext { op: MmuextOp::TlbFlushAll, domain: DomId::SELF }).unwrap();
///
/// // Three updates are one array, the flush behind them a call of its own.
/// let mut xen = Null::new();
/// xen.multicall(&mut batch.prepare()).unwrap();
/// assert_eq!((batch.len(), xen.hypercalls(), xen.operations()), (2, 1, 4));
/// ```
#[derive(Debug)]
pub struct Batch<const UPDATES: usize, const CALLS: usize, const WORDS: usize> {
    /// Calls that have been opened. Where there are updates and none has been, they are the first: an array for the
    /// caller's own domain.
    calls: u16,
    update_count: u16,
    /// Words in use from the arena's start, by operations.
    low: u16,
    /// Words in use up to the arena's end, by bitmaps and frame lists.
    high: u16,
    spans: [Span; CALLS],
    done: [u32; CALLS],
    entries: [multicall_entry; CALLS],
    updates: [MmuUpdate; UPDATES],
    words: [u64; WORDS],
}

impl<const UPDATES: usize, const CALLS: usize, const WORDS: usize> Default for Batch<UPDATES, CALLS, WORDS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const UPDATES: usize, const CALLS: usize, const WORDS: usize> Batch<UPDATES, CALLS, WORDS> {
    const FITS: () = assert!(
        UPDATES < NO_MEMORY as usize && CALLS < NO_MEMORY as usize && WORDS < NO_MEMORY as usize,
        "a batch counts in 16 bits"
    );

    /// An empty batch.
    #[must_use]
    pub const fn new() -> Self {
        let () = Self::FITS;
        Self {
            calls: 0,
            update_count: 0,
            low: 0,
            high: 0,
            spans: [Span::EMPTY; CALLS],
            done: [0; CALLS],
            entries: [multicall_entry { op: 0, result: 0, args: [0; 6] }; CALLS],
            updates: [MmuUpdate::EMPTY; UPDATES],
            words: [0; WORDS],
        }
    }

    /// Number of calls.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        if self.is_unopened() { 1 } else { self.calls as usize }
    }

    /// Whether nothing is in it.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.calls == 0 && self.update_count == 0
    }

    /// Whether there is a first call that has not been opened.
    #[inline]
    const fn is_unopened(&self) -> bool {
        self.calls == 0 && self.update_count > 0
    }

    /// Forgets everything.
    pub const fn clear(&mut self) {
        (self.calls, self.update_count, self.low, self.high) = (0, 0, 0, 0);
    }

    /// Number of updates in it.
    #[must_use]
    pub const fn update_count(&self) -> usize {
        self.update_count as usize
    }

    /// The updates in it, in order.
    #[must_use]
    pub fn updates(&self) -> &[MmuUpdate] {
        self.updates.get(..self.update_count as usize).unwrap_or(&[])
    }

    /// Gives update `index` another value and command; the entry it is for stays the same.
    pub fn amend(&mut self, index: usize, update: MmuUpdate) {
        if let Some(place) = self.updates.get_mut(index)
            && place.slot.same_entry(update.slot)
        {
            *place = update;
        }
    }

    /// Call `index`.
    #[must_use]
    pub fn entry(&self, index: usize) -> Option<Entry> {
        if self.is_unopened() && index == 0 {
            return Some(self.grown(Self::FIRST.entry));
        }
        let entry = self.spans.get(..self.calls as usize)?.get(index)?.entry;
        Some(if index + 1 == self.calls as usize { self.grown(entry) } else { entry })
    }

    /// The first call, where nobody has opened one.
    const FIRST: Span = Span::array(EntryKind::Updates(Subject::SELF), 0);

    /// All updates and whom they are for, where there is nothing else.
    #[must_use]
    #[inline]
    pub fn array(&self) -> Option<(&[MmuUpdate], Subject)> {
        let subject = match (self.calls, self.spans.first()?.entry.kind) {
            (0, _) if self.update_count > 0 => Subject::SELF,
            (1, EntryKind::Updates(subject)) => subject,
            _ => return None,
        };
        Some((self.updates(), subject))
    }

    /// The last call as it is: an array of updates has all behind its start, and is not told of each.
    const fn grown(&self, entry: Entry) -> Entry {
        match entry.kind {
            EntryKind::Updates(_) => Entry { len: self.update_count - entry.start, ..entry },
            EntryKind::Mmuext(_) | EntryKind::Registers => entry,
        }
    }

    /// Writes down how long the last call has become: before it is laid out, or another is opened.
    fn close(&mut self) {
        if let (true, Some(first)) = (self.is_unopened(), self.spans.first_mut()) {
            *first = Self::FIRST;
            self.calls = 1;
        }
        let count = self.update_count;
        if let Some(Span { entry: Entry { kind: EntryKind::Updates(_), start, len }, .. }) = self.last_span() {
            *len = count - *start;
        }
    }

    /// The last call.
    #[must_use]
    pub fn last(&self) -> Option<Entry> {
        self.entry(self.len().checked_sub(1)?)
    }

    /// Whether there is room for an update, and for a call of its own where it needs one.
    #[must_use]
    #[inline]
    pub fn takes_update(&self, subject: Subject) -> bool {
        (self.update_count as usize) < UPDATES && (self.len() < CALLS || self.grows(EntryKind::Updates(subject)))
    }

    /// Whether the last call is of this kind.
    #[inline]
    fn grows(&self, kind: EntryKind) -> bool {
        match self.calls.checked_sub(1).and_then(|last| self.spans.get(last as usize)) {
            Some(last) => last.entry.kind == kind,
            None => self.is_unopened() && kind == Self::FIRST.entry.kind,
        }
    }

    /// Adds an update and answers with its index among [`Batch::updates`].
    ///
    /// # Errors
    /// [`BatchFull`] where it does not fit; nothing has changed then.
    #[inline]
    pub fn push_update(&mut self, update: MmuUpdate, subject: Subject) -> Result<usize, BatchFull> {
        let index = self.update_count;
        let Some(place) = self.updates.get_mut(index as usize) else { return Err(BatchFull::Updates) };
        *place = update;
        if !self.grows(EntryKind::Updates(subject)) {
            if self.len() == CALLS {
                return Err(BatchFull::Calls);
            }
            self.open(Span::array(EntryKind::Updates(subject), index));
        }
        self.update_count = index + 1;
        Ok(index as usize)
    }

    /// Adds an update to the last call, which the caller knows to be an array of them for the same subject, or, for the
    /// caller's own domain, as the first; `false` where it does not fit, and nothing has changed.
    #[inline]
    pub fn extend(&mut self, update: MmuUpdate) -> bool {
        debug_assert!(
            matches!(self.last(), None | Some(Entry { kind: EntryKind::Updates(_), .. })),
            "the last call is no array"
        );
        let Some(place) = self.updates.get_mut(self.update_count as usize) else { return false };
        *place = update;
        self.update_count += 1;
        true
    }

    /// Lets `write` put updates into the room that is left, from its start on, and takes as many as it answers.
    ///
    /// # Errors
    /// [`BatchFull::Calls`] where they need a call of their own and there is no room for it; `write` has not run
    /// then.
    #[inline]
    pub fn write_updates(
        &mut self,
        subject: Subject,
        write: impl FnOnce(&mut [MmuUpdate]) -> usize,
    ) -> Result<(), BatchFull> {
        let kind = EntryKind::Updates(subject);
        let grows = self.grows(kind);
        if !grows && self.len() == CALLS {
            return Err(BatchFull::Calls);
        }
        let start = self.update_count;
        let room = self.updates.get_mut(start as usize..).unwrap_or(&mut []);
        let most = room.len();
        let used = write(room).min(most) as u16;
        if !grows && used > 0 {
            self.open(Span::array(kind, start));
        }
        self.update_count = start + used;
        Ok(())
    }

    /// Adds an operation of any kind.
    ///
    /// # Errors
    /// [`BatchFull`] where it does not fit; nothing has changed then.
    pub fn push(&mut self, operation: &Operation) -> Result<(), BatchFull> {
        match *operation {
            Operation::Update { update, subject } => self.push_update(update, subject).map(drop),
            Operation::Mmuext { op, domain } => self.push_mmuext(&op, domain),
            _ => self.push_registers(operation),
        }
    }

    fn push_mmuext(&mut self, op: &MmuextOp, domain: DomId) -> Result<(), BatchFull> {
        let kind = EntryKind::Mmuext(domain);
        let grows = self.grows(kind);
        if !grows && self.len() == CALLS {
            return Err(BatchFull::Calls);
        }
        let bitmap_words = if op.vcpus().is_some() { VcpuMask::WORDS } else { 0 };
        if self.free_words() < MmuextWords::WORDS + bitmap_words {
            return Err(BatchFull::Words);
        }
        let bitmap = op.vcpus().map_or(NO_MEMORY, |vcpus| self.place(vcpus.words().iter().copied()));
        let mut words = op.encode(0);
        words.padding = bitmap.into();
        let start = self.append(words.to_memory());
        match self.last_span() {
            Some(last) if grows => last.entry.len += 1,
            _ => self.open(Span::array(kind, start)),
        }
        Ok(())
    }

    fn push_registers(&mut self, operation: &Operation) -> Result<(), BatchFull> {
        let Some(raw) = operation.encode(0) else { return Err(BatchFull::Calls) };
        if self.len() == CALLS {
            return Err(BatchFull::Calls);
        }
        let frames = if let Operation::SetGdt(table) = operation { table.frames() } else { &[] };
        let bitmap = operation.vcpus().map_or(&[][..], |vcpus| &vcpus.words()[..]);
        let listed = frames.len() + bitmap.len();
        if self.free_words() < REGISTERS + listed {
            return Err(BatchFull::Words);
        }
        let memory = if listed == 0 {
            NO_MEMORY
        } else {
            self.place(frames.iter().map(|frame| frame.number()).chain(bitmap.iter().copied()))
        };
        let [a, b, c, d, _] = raw.args;
        let start = self.append([a, b, c, d]);
        let entry = Entry { kind: EntryKind::Registers, start, len: 1 };
        self.open(Span { entry, number: raw.number as u16, memory });
        Ok(())
    }

    /// Takes back the last operation, which must be the last call's and an `mmuext_op`.
    pub fn pop_mmuext(&mut self) -> Option<MmuextOp> {
        let call = self.len().checked_sub(1)?;
        let last = self.entry(call)?;
        let op = self.mmuext(call, last.len.checked_sub(1)?)?;
        self.low -= MmuextWords::WORDS as u16;
        if op.vcpus().is_some() {
            self.high -= VcpuMask::WORDS as u16;
        }
        match self.last_span() {
            Some(span) if last.len > 1 => span.entry.len -= 1,
            _ => self.calls -= 1,
        }
        Some(op)
    }

    /// Operation `item` of call `index`, as an `mmuext_op`.
    #[must_use]
    pub fn mmuext(&self, index: usize, item: u16) -> Option<MmuextOp> {
        let Entry { kind: EntryKind::Mmuext(_), start, len } = self.entry(index)? else { return None };
        if item >= len {
            return None;
        }
        let at = start as usize + item as usize * MmuextWords::WORDS;
        let words =
            MmuextWords::from_memory([*self.words.get(at)?, *self.words.get(at + 1)?, *self.words.get(at + 2)?]);
        let bitmap = self.bitmap(words.padding as u16);
        MmuextOp::decode(words, |_| bitmap).ok()
    }

    /// Operation `item` of call `index`, of whatever kind.
    #[must_use]
    pub fn operation(&self, index: usize, item: u16) -> Option<Operation> {
        let entry = self.entry(index)?;
        match entry.kind {
            EntryKind::Updates(subject) if item < entry.len => {
                let update = *self.updates.get(entry.start as usize + item as usize)?;
                Some(Operation::Update { update, subject })
            }
            EntryKind::Updates(_) => None,
            EntryKind::Mmuext(domain) => Some(Operation::Mmuext { op: self.mmuext(index, item)?, domain }),
            EntryKind::Registers => {
                let span = self.spans.get(index)?;
                let read = |address: u64| {
                    let offset = address.checked_sub(RELATIVE)? as usize / 8;
                    self.words.get(span.memory as usize + offset).copied()
                };
                let raw = registers(&self.words, span, RELATIVE)?;
                Operation::decode(&raw, read).ok()
            }
        }
    }

    /// Lays out all calls for a hypervisor, done counts and results reset.
    pub fn prepare(&mut self) -> PreparedCalls<'_> {
        self.close();
        let len = self.len();
        (0..len).for_each(|index| self.point(index, 0));
        PreparedCalls {
            spans: self.spans.get(..len).unwrap_or(&[]),
            entries: self.entries.get_mut(..len).unwrap_or(&mut []),
            memory: ArgumentMemory { updates: &self.updates, words: &self.words, done: &mut self.done },
        }
    }

    /// Lays out call `index` without its first `skip` operations; `None` where nothing is left.
    pub fn prepare_call(&mut self, index: usize, skip: u16) -> Option<PreparedCall<'_>> {
        if skip >= self.entry(index)?.len {
            return None;
        }
        self.close();
        self.point(index, skip);
        let span = *self.spans.get(index)?;
        let memory = self.memory();
        Some(PreparedCall { raw: memory.call(&span, index, skip)?, memory })
    }

    /// What became of call `index` in a multicall; `None` for one that has not run. Of the entry only
    /// the result is looked at.
    #[must_use]
    pub fn outcome(&self, index: usize) -> Option<Outcome> {
        let kind = self.entry(index)?.kind;
        let done = match kind {
            EntryKind::Registers => None,
            EntryKind::Updates(_) | EntryKind::Mmuext(_) => Some(*self.done.get(index)?),
        };
        outcome(self.entries.get(index)?.result, done)
    }

    const fn free_words(&self) -> usize {
        WORDS - self.low as usize - self.high as usize
    }

    #[inline]
    fn last_span(&mut self) -> Option<&mut Span> {
        self.spans.get_mut((self.calls as usize).checked_sub(1)?)
    }

    /// Adds a call; the caller has seen that there is room, and adds its updates afterwards.
    fn open(&mut self, span: Span) {
        self.close();
        if let Some(place) = self.spans.get_mut(self.calls as usize) {
            *place = span;
            self.calls += 1;
        }
    }

    /// Puts words at the arena's start; the caller has seen that there is room.
    fn append<const N: usize>(&mut self, words: [u64; N]) -> u16 {
        let at = self.low;
        self.words.iter_mut().skip(at.into()).zip(words).for_each(|(place, word)| *place = word);
        self.low += N as u16;
        at
    }

    /// Takes room at the arena's end; the caller has seen that there is room.
    fn place(&mut self, words: impl Iterator<Item = u64> + Clone) -> u16 {
        self.high += words.clone().count() as u16;
        let at = WORDS - self.high as usize;
        self.words.iter_mut().skip(at).zip(words).for_each(|(place, word)| *place = word);
        at as u16
    }

    fn bitmap(&self, at: u16) -> Option<VcpuMask> {
        Some(VcpuMask::from_words([*self.words.get(at as usize)?, *self.words.get(at as usize + 1)?]))
    }

    const fn memory(&mut self) -> ArgumentMemory<'_> {
        ArgumentMemory { updates: &self.updates, words: &self.words, done: &mut self.done }
    }

    /// Writes the addresses into call `index`, whose first `skip` operations are left out.
    fn point(&mut self, index: usize, skip: u16) {
        let Some(span) = self.spans.get(index).copied() else { return };
        if let EntryKind::Mmuext(_) = span.entry.kind {
            self.point_bitmaps(span.entry);
        }
        if let Some(done) = self.done.get_mut(index) {
            *done = 0;
        }
        let raw = self.memory().call(&span, index, skip);
        if let (Some(entry), Some(RawCall { number, args: [a, b, c, d, e] })) = (self.entries.get_mut(index), raw) {
            *entry = multicall_entry { op: number.into(), result: NOT_RUN, args: [a, b, c, d, e, 0] };
        }
    }

    /// Writes the addresses of vCPU bitmaps into the operations that have one.
    fn point_bitmaps(&mut self, Entry { start, len, .. }: Entry) {
        let base = self.words.as_ptr().addr() as u64;
        let mut words = self.words.iter_mut().skip(start.into());
        for _ in 0..len {
            let (Some(head), Some(_), Some(arg2)) = (words.next(), words.next(), words.next()) else { break };
            let bitmap = (*head >> 32) as u16;
            if bitmap != NO_MEMORY {
                *arg2 = base + 8 * u64::from(bitmap);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Errno, MachAddr, VirtAddr};

    fn written(batch: &mut Batch<4, 2, 20>, subject: Subject, count: usize) -> Result<(), BatchFull> {
        batch.write_updates(subject, |room| {
            room.iter_mut().take(count).enumerate().for_each(|(n, place)| place.value = n as u64);
            count
        })
    }

    #[test]
    fn updates_written_into_the_room_are_one_call() {
        let mut batch = Batch::<4, 2, 20>::new();
        assert_eq!((written(&mut batch, Subject::SELF, 0), batch.len()), (Ok(()), 0));
        written(&mut batch, Subject::SELF, 2).unwrap();
        written(&mut batch, Subject::SELF, 1).unwrap();
        assert_eq!((batch.len(), batch.entry(0).unwrap().len), (1, 3));
        assert_eq!(batch.updates().iter().map(|update| update.value).collect::<std::vec::Vec<_>>(), [0, 1, 0]);
        // No more than there is room for, and in a call of their own for another subject.
        written(&mut batch, Subject::frames_of(DomId::IO), 7).unwrap();
        assert_eq!((batch.len(), batch.entry(1).unwrap().len, batch.updates().len()), (2, 1, 4));
        assert_eq!(written(&mut batch, Subject::SELF, 1), Err(BatchFull::Calls));
    }

    #[test]
    fn an_update_that_there_is_room_for_fits() {
        let update = MmuUpdate { slot: crate::PteSlot::from_bits(0), value: 0 };
        let subjects = [Subject::SELF, Subject::frames_of(DomId::IO)];
        for asked in 0..1_u32 << 6 {
            let mut batch = Batch::<4, 2, 20>::new();
            for subject in (0..6).map(|at| subjects[(asked >> at & 1) as usize]) {
                let fits = batch.takes_update(subject);
                assert_eq!(batch.push_update(update, subject).is_ok(), fits, "{asked:b}");
            }
        }
    }

    #[test]
    fn s50_a_hypervisor_that_overwrites_the_entries_spoils_nothing() {
        let mut batch = Batch::<4, 4, 20>::new();
        let asked = [
            Operation::Update { update: MmuUpdate::EMPTY, subject: Subject::SELF },
            Operation::UpdateDescriptor { address: MachAddr::new(0x1000).unwrap(), descriptor: 7 },
            Operation::StackSwitch { ss: 0xe02b, sp: VirtAddr::unchecked(0x5000) },
        ];
        asked.iter().for_each(|operation| batch.push(operation).unwrap());
        let mut prepared = batch.prepare();
        for (entry, result) in prepared.entries.iter_mut().zip([-22_i64, 0, -16]) {
            *entry = multicall_entry { op: 0xaaaa, result: result as u64, args: [0xaaaa_aaaa_aaaa_aaaa; 6] };
        }
        let read_back = [0, 1, 2].map(|call| prepared.call(call).unwrap().operation(0).unwrap());
        assert_eq!(read_back, asked);
        assert_eq!(prepared.outcome(0), Some(Outcome::refused(0, Errno::INVAL)));
        let read_back = [0, 1, 2].map(|call| batch.operation(call, 0).unwrap());
        assert_eq!(read_back, asked);
        let outcomes = [0, 1, 2].map(|call| batch.outcome(call).unwrap());
        let refused = |errno| Outcome::refused(0, errno);
        assert_eq!(outcomes, [refused(Errno::INVAL), Outcome::all(1), refused(Errno::BUSY)]);
    }
}
