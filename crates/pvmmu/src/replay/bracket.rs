//! What one bracket of the recorded kernel asks for.
//!
//! The arguments of `mmuext_op` are not recorded; the announcement and the remappings beside it tell them. A table is made
//! read-only just before its pin, and becomes writable after its unpin.

use hypercall::{Level, Pfn, abi};

use super::error::ReplayError;
use super::request::{GuestOp, Source, TaskKey, TlbFlush, Work, frame_at};

/// What an event said the next bracket of its task will be for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Announced {
    /// A write that is queued in any case.
    Write {
        /// The write.
        op: GuestOp,
        /// Who asked.
        source: Source,
        /// Where.
        line: u64,
    },
    /// A write that was taken for a direct one. It has a bracket all the same if its region began before the trace.
    Direct,
    /// A write that is queued if its table is pinned: the request at this position was taken for a plain store.
    Upper {
        /// The position.
        request: usize,
    },
    /// A table joins a pinned address space.
    Joins {
        /// Its level.
        level: Level,
    },
    /// A table leaves a pinned address space.
    Parts,
    /// An address space is pinned.
    Pin {
        /// The kernel's L4.
        l4: Pfn,
    },
    /// An address space is unpinned.
    Unpin {
        /// The kernel's L4.
        l4: Pfn,
    },
    /// A TLB flush.
    Tlb(TlbFlush),
}

/// An operation in a bracket: a new entry, or one more in the array of the last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queued {
    /// The hypercall's number.
    pub(crate) call: u32,
    /// Its words; of no meaning for one more in an array.
    pub(crate) args: [u64; 6],
}

/// One bracket of the recorded kernel.
#[derive(Debug)]
pub(crate) struct Bracket {
    /// Line at which it begins.
    pub(crate) line: u64,
    /// The task that opened it.
    pub(crate) task: TaskKey,
    /// What was announced before it.
    pub(crate) announced: Option<Announced>,
    /// What was queued in it.
    pub(crate) queued: Vec<Queued>,
    /// Base pointers written in it: whether user mode's, and the table's address.
    pub(crate) bases: Vec<(bool, u64)>,
}

impl Bracket {
    /// What the bracket asks for; `None` for an empty one, and where it has been asked already.
    ///
    /// # Errors
    /// [`ReplayError`] where that cannot be told.
    pub(crate) fn work(&self) -> Result<Option<Work>, ReplayError> {
        let Some(first) = self.queued.first() else { return self.empty() };
        if matches!(self.announced, Some(Announced::Direct)) && first.call == abi::HYPERCALL_MMU_UPDATE {
            return Ok(None);
        }
        let (source, operations) = match self.announced {
            Some(Announced::Write { op, source, .. }) => (source, self.only(abi::HYPERCALL_MMU_UPDATE, op)?),
            Some(Announced::Tlb(flush)) => (Source::Tlb, self.only(abi::HYPERCALL_MMUEXT_OP, GuestOp::Tlb(flush))?),
            Some(Announced::Joins { level }) => (Source::Table, self.pins(|_| level)?),
            Some(Announced::Parts) => (Source::Table, self.unpins(None)?),
            Some(Announced::Pin { l4 }) => (Source::PinWalk, self.pin_walk(l4)?),
            Some(Announced::Unpin { l4 }) => (Source::UnpinWalk, self.unpins(Some(l4))?),
            Some(Announced::Upper { .. } | Announced::Direct) | None => self.loose()?,
        };
        Ok(Some(Work { source, operations }))
    }

    /// A plain store and a direct write need no bracket, so the one that follows them may be a context switch's that
    /// found nothing to do.
    fn empty(&self) -> Result<Option<Work>, ReplayError> {
        match self.announced {
            Some(Announced::Upper { .. } | Announced::Direct) | None if self.bases.is_empty() => Ok(None),
            _ => Err(ReplayError::EmptyBatch { line: self.line }),
        }
    }

    /// The operation of a bracket in which there is exactly one, by hypercall `call`.
    fn only(&self, call: u32, op: GuestOp) -> Result<Vec<GuestOp>, ReplayError> {
        match self.queued.as_slice() {
            [queued] if queued.call == call => Ok(vec![op]),
            _ => Err(self.unknown()),
        }
    }

    /// A bracket nobody announced: base pointers, a stack switch, or a flush of this vCPU's TLB.
    fn loose(&self) -> Result<(Source, Vec<GuestOp>), ReplayError> {
        if !self.bases.is_empty() {
            let loads = self.queued.iter().all(|queued| queued.call == abi::HYPERCALL_MMUEXT_OP);
            return if loads && self.queued.len() == self.bases.len() {
                Ok((Source::BasePointer, self.bases()?))
            } else {
                Err(self.unknown())
            };
        }
        match *self.queued.as_slice() {
            [Queued { call: abi::HYPERCALL_MMUEXT_OP, .. }] => Ok((Source::Tlb, vec![GuestOp::Tlb(TlbFlush::Local)])),
            [Queued { call: abi::HYPERCALL_STACK_SWITCH, args: [ss, sp, ..] }] => {
                Ok((Source::StackSwitch, vec![GuestOp::StackSwitch { ss, sp }]))
            }
            _ => Err(self.unknown()),
        }
    }

    fn bases(&self) -> Result<Vec<GuestOp>, ReplayError> {
        let base = |&(user, address): &(bool, u64)| {
            let address = aligned(self.line, address, hypercall::PAGE_SIZE)?;
            let table = (address != 0).then(|| Pfn::new(address >> hypercall::PAGE_SHIFT));
            Ok(GuestOp::Base { user, table })
        };
        self.bases.iter().map(base).collect()
    }

    /// The tables up to the kernel's L4 that are pinned by themselves are L1; the user's L4 comes last.
    fn pin_walk(&self, l4: Pfn) -> Result<Vec<GuestOp>, ReplayError> {
        let mut reached = false;
        self.pins(|table| {
            reached |= table == l4;
            if reached { Level::L4 } else { Level::L1 }
        })
    }

    fn pins(&self, mut level: impl FnMut(Pfn) -> Level) -> Result<Vec<GuestOp>, ReplayError> {
        let mut last = None;
        let mut operation = |queued: &Queued| match queued.call {
            abi::HYPERCALL_UPDATE_VA_MAPPING => {
                let (frame, remap) = self.remapped(queued)?;
                last = Some(frame);
                Ok(remap)
            }
            abi::HYPERCALL_MMUEXT_OP => {
                let table = last.ok_or_else(|| self.unknown())?;
                Ok(GuestOp::Pin { table, level: level(table) })
            }
            _ => Err(self.unknown()),
        };
        self.queued.iter().map(&mut operation).collect()
    }

    /// A table is unpinned before it becomes writable. Only `l4` is so long before that the order does not tell: it is
    /// the first to be unpinned and the last to become writable. What is unpinned with it is the user's L4.
    fn unpins(&self, mut l4: Option<Pfn>) -> Result<Vec<GuestOp>, ReplayError> {
        let mut level = if l4.is_some() { Level::L4 } else { Level::L1 };
        let mut operations = Vec::with_capacity(self.queued.len());
        for (index, queued) in self.queued.iter().enumerate() {
            operations.push(match queued.call {
                abi::HYPERCALL_UPDATE_VA_MAPPING => {
                    level = Level::L1;
                    self.remapped(queued)?.1
                }
                abi::HYPERCALL_MMUEXT_OP => {
                    let table = l4.take().map_or_else(|| self.next_remapped(index), Ok)?;
                    GuestOp::Unpin { table, level }
                }
                _ => return Err(self.unknown()),
            });
        }
        Ok(operations)
    }

    fn next_remapped(&self, index: usize) -> Result<Pfn, ReplayError> {
        let next = self.queued[index..].iter().find(|queued| queued.call == abi::HYPERCALL_UPDATE_VA_MAPPING);
        Ok(self.remapped(next.ok_or_else(|| self.unknown())?)?.0)
    }

    fn remapped(&self, queued: &Queued) -> Result<(Pfn, GuestOp), ReplayError> {
        let [address, raw, flags, ..] = queued.args;
        if queued.call != abi::HYPERCALL_UPDATE_VA_MAPPING || flags > abi::UVMF_TLB_FLUSH {
            return Err(self.unknown());
        }
        let address = aligned(self.line, address, hypercall::PAGE_SIZE)?;
        let frame = frame_at(address).ok_or(ReplayError::NotDirectMapped { line: self.line, address })?;
        Ok((frame, GuestOp::Remap { frame, raw, flush: flags == abi::UVMF_TLB_FLUSH }))
    }

    /// It does something that no caller does.
    pub(crate) fn unknown(&self) -> ReplayError {
        let calls: Vec<String> = self.queued.iter().map(|queued| queued.call.to_string()).collect();
        let what = format!("{} queues hypercalls {} after {:?}", self.task, calls.join(", "), self.announced);
        ReplayError::UnknownBatch { line: self.line, what }
    }
}

/// `address`, which has to be a multiple of `align`.
///
/// # Errors
/// [`ReplayError::Misaligned`].
pub(crate) fn aligned(line: u64, address: u64, align: u64) -> Result<u64, ReplayError> {
    if address.is_multiple_of(align) { Ok(address) } else { Err(ReplayError::Misaligned { line, address, align }) }
}
