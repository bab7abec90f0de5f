//! `mmuext_op`: pins, base pointers, flushes, and whole-frame operations.

use hypercall::abi::{self, MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L4_TABLE};
use hypercall::{DomId, Errno, FlushScope, Level, Mfn, MmuextOp, Operation, PAGE_SIZE, VcpuId, VcpuMask, VirtAddr};

use super::Caller;
use super::array::ArrayCall;
use super::decode::vcpus_at;
use super::owner::NotStarted;
use crate::MockXen;
use crate::domain::FrameOwner;
use crate::memory::{ArgumentSource, is_guest_address};
use crate::not_modelled::NotModelled;
use crate::planted::Fault;
use crate::validate::{Applied, Stop};

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

    fn owner(xen: &MockXen, word: u32) -> Result<FrameOwner, NotStarted> {
        xen.owner_of_extended(word)
    }

    fn fetch<S: ArgumentSource>(xen: &MockXen, source: &S, address: u64) -> Option<Item> {
        let words = source.read::<3>(address)?;
        Some(decode(words, || vcpus_at(source, words[2], xen.vcpu_count())))
    }

    fn operation(item: &Item, owner: u32) -> Option<Operation> {
        let Item::Known(op) = *item else { return None };
        Some(Operation::Mmuext { op, domain: DomId::new(owner as u16) })
    }

    fn apply(xen: &MockXen, caller: &mut Caller<'_>, item: &Item, owner: FrameOwner) -> Applied {
        match *item {
            Item::Known(op) => xen.extended(caller, op, owner).into(),
            Item::NoBitmap => {
                let errno = xen.refusal(Fault::BitmapFault, Errno::FAULT, Errno::INVAL);
                own_only(owner).and(Err(errno)).into()
            }
            Item::Unknown => Err(xen.refusal(Fault::UnknownExtendedInvalid, Errno::INVAL, Errno::NOSYS)).into(),
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
    fn extended(&self, caller: &mut Caller<'_>, op: MmuextOp, owner: FrameOwner) -> Result<(), Stop> {
        match op {
            MmuextOp::Pin { level, table } => self.pin(caller.running, table, level, owner),
            MmuextOp::Unpin { table } => self.unpin(caller.running, table, owner),
            MmuextOp::ClearPage { frame } => Ok(self.fill_page(frame, None, owner)?),
            MmuextOp::CopyPage { destination, source } => Ok(self.fill_page(destination, Some(source), owner)?),
            MmuextOp::MarkSuper { .. } | MmuextOp::UnmarkSuper { .. } => {
                Err(self.refusal(Fault::SuperpageMarkUnknown, Errno::NOSYS, Errno::OPNOTSUPP).into())
            }
            _ => {
                let accepted = op.is_tlb_flush() && self.planted(Fault::ForeignFlushAccepted);
                own_only(owner).or(if accepted { Ok(()) } else { Err(Errno::PERM) })?;
                self.of_processor(caller, op)
            }
        }
    }

    fn of_processor(&self, caller: &mut Caller<'_>, op: MmuextOp) -> Result<(), Stop> {
        let vcpu = caller.vcpu;
        match op {
            MmuextOp::NewBaseptr { table } => self.load_base(caller.running, vcpu, table),
            MmuextOp::NewUserBaseptr { table } => self.load_user_base(caller.running, vcpu, table),
            MmuextOp::SetLdt { base, entries } => Ok(self.set_ldt(vcpu, base, entries)?),
            MmuextOp::FlushCache => Ok(self.io_only(Errno::ACCES)?),
            MmuextOp::FlushCacheGlobal => Ok(self.io_only(Errno::INVAL)?),
            _ => Ok(self.flush(vcpu, op)?),
        }
    }

    /// What only a domain with I/O memory may do; otherwise refused with `errno`.
    fn io_only(&self, errno: Errno) -> Result<(), Errno> {
        if self.machine.domain.is_privileged() { Ok(()) } else { Err(errno) }
    }

    /// Drops TLB entries. An address that the guest may not name, or that is not one, is no error and
    /// drops nothing.
    ///
    /// # Errors
    /// None of Xen's; whatever else `op` may be is not modelled.
    fn flush(&self, by: VcpuId, op: MmuextOp) -> Result<(), Errno> {
        let tlbs = &self.machine.tlbs;
        let (scope, address) = match op {
            MmuextOp::TlbFlushLocal => (FlushScope::Local, None),
            MmuextOp::TlbFlushMulti { vcpus } => (FlushScope::Vcpus(vcpus), None),
            MmuextOp::TlbFlushAll => (FlushScope::All, None),
            MmuextOp::InvlpgLocal { address } => (FlushScope::Local, Some(address)),
            MmuextOp::InvlpgMulti { address, vcpus } => (FlushScope::Vcpus(vcpus), Some(address)),
            MmuextOp::InvlpgAll { address } => (FlushScope::All, Some(address)),
            _ => return Err(NotModelled::Hypercall.errno()),
        };
        match address {
            None => tlbs.flush(by, scope),
            Some(address) if address.is_canonical() && is_guest_address(address.value()) => {
                tlbs.invalidate(by, scope, address);
            }
            Some(_) if self.planted(Fault::InvlpgAddressChecked) => return Err(Errno::INVAL),
            Some(_) => {}
        }
        Ok(())
    }

    fn set_ldt(&self, vcpu: VcpuId, base: VirtAddr, entries: u64) -> Result<(), Errno> {
        let address = base.value();
        let short = entries <= LDT_ENTRIES || self.planted(Fault::LdtLengthUnchecked);
        let usable = address.is_multiple_of(PAGE_SIZE) && is_guest_address(address) && short;
        if entries != 0 && !usable {
            return Err(Errno::INVAL);
        }
        self.vcpu_state(vcpu).lock().ldt = (entries != 0).then_some((base, entries));
        Ok(())
    }
}
