//! `mmuext_op`: pins, base pointers, flushes, and whole-frame operations.
//!
//! There is no TLB here: a flush is checked and told to the witness, and changes nothing.

use std::sync::atomic::Ordering;

use hypercall::abi::{self, MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L4_TABLE};
use hypercall::{
    DomId, ENTRIES_PER_TABLE, Errno, Level, Mfn, MmuextOp, Operation, PAGE_SIZE, VcpuId, VcpuMask, VirtAddr,
};

use super::array::ArrayCall;
use super::decode::vcpus_at;
use super::owner::{NotStarted, of_mmuext};
use crate::MockXen;
use crate::frames::{Claim, FrameOwner, FrameType};
use crate::memory::{ArgumentSource, is_guest_address};
use crate::not_modelled::NotModelled;
use crate::validate::Applied;

/// Most descriptors a local table can have.
const LDT_ENTRIES: u64 = 8192;

/// The call.
pub(super) struct Extended;

/// An operation as its words say it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item {
    /// A command Xen knows, with arguments that can be read.
    Known(MmuextOp),
    /// A flush whose vCPU bitmap cannot be read.
    NoBitmap,
    /// A command Xen does not know.
    Unknown,
}

impl ArrayCall for Extended {
    type Item = Item;
    const SIZE: u64 = 24;

    fn owner(word: u32) -> Result<FrameOwner, NotStarted> {
        of_mmuext(word)
    }

    fn fetch<S: ArgumentSource>(xen: &MockXen, source: &S, address: u64) -> Option<Item> {
        let words = source.read::<3>(address)?;
        Some(decode(words, || vcpus_at(source, words[2], xen.vcpu_count())))
    }

    fn operation(item: &Item, owner: u32) -> Option<Operation> {
        let Item::Known(op) = *item else { return None };
        Some(Operation::Mmuext { op, domain: DomId::new(owner as u16) })
    }

    fn apply(xen: &MockXen, vcpu: VcpuId, item: &Item, owner: FrameOwner) -> Applied {
        match *item {
            Item::Known(op) => xen.extended(vcpu, op, owner),
            Item::NoBitmap => own_only(owner).and(Err(Errno::INVAL)).into(),
            Item::Unknown => Err(Errno::NOSYS).into(),
        }
    }
}

fn decode([command, arg1, arg2]: [u64; 3], bitmap: impl FnOnce() -> Option<VcpuMask>) -> Item {
    let (table, frame, address) = (Mfn::new(arg1), Mfn::new(arg1), VirtAddr::unchecked(arg1));
    let command = command as u32;
    Item::Known(match command {
        MMUEXT_PIN_L1_TABLE..=MMUEXT_PIN_L4_TABLE => {
            MmuextOp::Pin { level: Level::ALL[(command - MMUEXT_PIN_L1_TABLE) as usize], table }
        }
        abi::MMUEXT_UNPIN_TABLE => MmuextOp::Unpin { table },
        abi::MMUEXT_NEW_BASEPTR => MmuextOp::NewBaseptr { table },
        abi::MMUEXT_NEW_USER_BASEPTR => MmuextOp::NewUserBaseptr { table },
        abi::MMUEXT_TLB_FLUSH_LOCAL => MmuextOp::TlbFlushLocal,
        abi::MMUEXT_INVLPG_LOCAL => MmuextOp::InvlpgLocal { address },
        abi::MMUEXT_TLB_FLUSH_MULTI | abi::MMUEXT_INVLPG_MULTI => match bitmap() {
            None => return Item::NoBitmap,
            Some(vcpus) if command == abi::MMUEXT_TLB_FLUSH_MULTI => MmuextOp::TlbFlushMulti { vcpus },
            Some(vcpus) => MmuextOp::InvlpgMulti { address, vcpus },
        },
        abi::MMUEXT_TLB_FLUSH_ALL => MmuextOp::TlbFlushAll,
        abi::MMUEXT_INVLPG_ALL => MmuextOp::InvlpgAll { address },
        abi::MMUEXT_FLUSH_CACHE => MmuextOp::FlushCache,
        abi::MMUEXT_FLUSH_CACHE_GLOBAL => MmuextOp::FlushCacheGlobal,
        abi::MMUEXT_SET_LDT => MmuextOp::SetLdt { base: address, entries: u64::from(arg2 as u32) },
        abi::MMUEXT_CLEAR_PAGE => MmuextOp::ClearPage { frame },
        abi::MMUEXT_COPY_PAGE => MmuextOp::CopyPage { destination: frame, source: Mfn::new(arg2) },
        abi::MMUEXT_MARK_SUPER => MmuextOp::MarkSuper { frame },
        abi::MMUEXT_UNMARK_SUPER => MmuextOp::UnmarkSuper { frame },
        _ => return Item::Unknown,
    })
}

/// # Errors
/// `-EPERM` for an operation about a processor that names another domain.
fn own_only(owner: FrameOwner) -> Result<(), Errno> {
    if owner == FrameOwner::Domain { Ok(()) } else { Err(Errno::PERM) }
}

impl MockXen {
    fn extended(&self, vcpu: VcpuId, op: MmuextOp, owner: FrameOwner) -> Applied {
        match op {
            MmuextOp::Pin { level, table } => self.pin(table, level, owner),
            MmuextOp::Unpin { table } => self.unpin(table, owner),
            MmuextOp::ClearPage { frame } => self.fill_page(frame, None, owner).into(),
            MmuextOp::CopyPage { destination, source } => self.fill_page(destination, Some(source), owner).into(),
            MmuextOp::MarkSuper { .. } | MmuextOp::UnmarkSuper { .. } => Err(Errno::OPNOTSUPP).into(),
            _ => match own_only(owner) {
                Ok(()) => self.of_processor(vcpu, op),
                Err(errno) => Err(errno).into(),
            },
        }
    }

    fn of_processor(&self, vcpu: VcpuId, op: MmuextOp) -> Applied {
        match op {
            MmuextOp::NewBaseptr { table } => self.load_base(vcpu, table),
            MmuextOp::NewUserBaseptr { table } => self.load_user_base(vcpu, table),
            MmuextOp::SetLdt { base, entries } => self.set_ldt(vcpu, base, entries).into(),
            MmuextOp::FlushCache | MmuextOp::FlushCacheGlobal => Ok(()).into(),
            _ if op.is_tlb_flush() => Ok(()).into(),
            _ => Err(NotModelled::Hypercall.errno()).into(),
        }
    }

    /// Pins a frame of `owner` as a table of `level`: one reference of each kind, once per frame.
    pub(crate) fn pin(&self, table: Mfn, level: Level, owner: FrameOwner) -> Applied {
        self.frames.with_tables(|tables| {
            let frame = self.frames.owned(table, owner)?;
            self.frames.claim(tables, table, FrameType::Table(level))?;
            let pinned = std::mem::replace(&mut frame.state.lock().pinned, true);
            if pinned {
                self.frames.unclaim(tables, frame);
                return Err(Errno::INVAL);
            }
            Ok(())
        })
    }

    fn unpin(&self, table: Mfn, owner: FrameOwner) -> Applied {
        self.frames.with_tables(|tables| {
            let frame = self.frames.owned(table, owner)?;
            let pinned = std::mem::replace(&mut frame.state.lock().pinned, false);
            if !pinned {
                return Err(Errno::INVAL);
            }
            self.frames.unclaim(tables, frame);
            Ok(())
        })
    }

    /// Copies the frame `source`, or zeros where there is none, into a frame that is or may become
    /// writable.
    fn fill_page(&self, destination: Mfn, source: Option<Mfn>, owner: FrameOwner) -> Result<(), Errno> {
        let source = source.map(|source| self.frames.owned(source, owner)).transpose()?;
        let frame = self.frames.owned(destination, owner)?;
        let contents = source.map_or_else(|| Box::new([0; ENTRIES_PER_TABLE]), |source| source.contents());
        let _tables = self.frames.tables.read();
        if frame.state.lock().claim(FrameType::Writable) != Claim::Taken {
            return Err(Errno::INVAL);
        }
        for (index, word) in contents.iter().enumerate() {
            frame.word(index).store(*word, Ordering::SeqCst);
        }
        frame.state.lock().unclaim();
        Ok(())
    }

    fn set_ldt(&self, vcpu: VcpuId, base: VirtAddr, entries: u64) -> Result<(), Errno> {
        let address = base.value();
        let usable = address.is_multiple_of(PAGE_SIZE) && is_guest_address(address) && entries <= LDT_ENTRIES;
        if entries != 0 && !usable {
            return Err(Errno::INVAL);
        }
        self.vcpu_state(vcpu).lock().ldt = (entries != 0).then_some((base, entries));
        Ok(())
    }
}
