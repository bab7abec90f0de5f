//! An operation's bytes: those that a recorded kernel asks for, and no others.

use hypercall::{
    DomId, FlushScope, Mfn, MmuUpdate, MmuextOp, Operation, Pte, PteSlot, Subject, VaFlush, VcpuMask, VirtAddr,
};

use crate::bytes::{Reader, Sink, WireError, put_number, put_word};
use crate::names::level;

const UPDATE: u8 = 0;
const VA_MAPPING: u8 = 1;
const STACK_SWITCH: u8 = 2;
const PIN: u8 = 3;
const UNPIN: u8 = 4;
const BASE: u8 = 5;
const USER_BASE: u8 = 6;
const FLUSH_LOCAL: u8 = 7;
const FLUSH_ALL: u8 = 8;
const FLUSH_MULTI: u8 = 9;
const INVLPG_LOCAL: u8 = 10;
const INVLPG_ALL: u8 = 11;
const INVLPG_MULTI: u8 = 12;

/// Writes an operation; `None`, with nothing written, for one that has no bytes.
pub(crate) fn put(sink: &mut impl Sink, operation: &Operation) -> Option<()> {
    match *operation {
        Operation::Update { update, subject: Subject::SELF } => {
            sink.put(&[UPDATE]);
            put_number(sink, update.slot.bits());
            put_word(sink, update.value);
        }
        Operation::UpdateVaMapping { va, pte, flush } => {
            let flush = va_flush(flush)?;
            sink.put(&[VA_MAPPING, flush]);
            put_number(sink, va.value());
            put_word(sink, pte.bits());
        }
        Operation::StackSwitch { ss, sp } => {
            sink.put(&[STACK_SWITCH]);
            put_number(sink, ss);
            put_word(sink, sp.value());
        }
        Operation::Mmuext { op, domain: DomId::SELF } => put_mmuext(sink, op)?,
        _ => return None,
    }
    Some(())
}

const fn va_flush(flush: VaFlush) -> Option<u8> {
    match flush {
        VaFlush::None => Some(0),
        VaFlush::Tlb(FlushScope::Local) => Some(1),
        _ => None,
    }
}

fn put_mmuext(sink: &mut impl Sink, op: MmuextOp) -> Option<()> {
    let mut table = |tag, table: Mfn| {
        sink.put(&[tag]);
        put_number(sink, table.number());
    };
    match op {
        MmuextOp::Pin { level, table: pinned } => {
            table(PIN, pinned);
            sink.put(&[level.number()]);
        }
        MmuextOp::Unpin { table: unpinned } => table(UNPIN, unpinned),
        MmuextOp::NewBaseptr { table: base } => table(BASE, base),
        MmuextOp::NewUserBaseptr { table: base } => table(USER_BASE, base),
        MmuextOp::TlbFlushLocal => sink.put(&[FLUSH_LOCAL]),
        MmuextOp::TlbFlushAll => sink.put(&[FLUSH_ALL]),
        MmuextOp::TlbFlushMulti { vcpus } => put_multi(sink, FLUSH_MULTI, vcpus),
        MmuextOp::InvlpgLocal { address } => put_address(sink, INVLPG_LOCAL, address),
        MmuextOp::InvlpgAll { address } => put_address(sink, INVLPG_ALL, address),
        MmuextOp::InvlpgMulti { address, vcpus } => {
            put_multi(sink, INVLPG_MULTI, vcpus);
            put_word(sink, address.value());
        }
        _ => return None,
    }
    Some(())
}

fn put_multi(sink: &mut impl Sink, tag: u8, vcpus: VcpuMask) {
    sink.put(&[tag]);
    vcpus.words().iter().for_each(|word| put_number(sink, *word));
}

fn put_address(sink: &mut impl Sink, tag: u8, address: VirtAddr) {
    sink.put(&[tag]);
    put_word(sink, address.value());
}

/// Reads an operation whose tag is `tag`.
pub(crate) fn read(tag: u8, reader: &mut Reader<'_>) -> Result<Operation, WireError> {
    let op = match tag {
        UPDATE => {
            let slot = PteSlot::from_bits(reader.number()?);
            let update = MmuUpdate::new(slot, Pte::from_bits(reader.word()?));
            return Ok(Operation::Update { update, subject: Subject::SELF });
        }
        VA_MAPPING => {
            let flush = read_va_flush(reader)?;
            let va = VirtAddr::unchecked(reader.number()?);
            return Ok(Operation::UpdateVaMapping { va, pte: Pte::from_bits(reader.word()?), flush });
        }
        STACK_SWITCH => {
            return Ok(Operation::StackSwitch { ss: reader.number()?, sp: VirtAddr::unchecked(reader.word()?) });
        }
        _ => read_mmuext(tag, reader)?,
    };
    Ok(Operation::Mmuext { op, domain: DomId::SELF })
}

fn read_va_flush(reader: &mut Reader<'_>) -> Result<VaFlush, WireError> {
    match reader.byte()? {
        0 => Ok(VaFlush::None),
        1 => Ok(VaFlush::Tlb(FlushScope::Local)),
        value => Err(WireError::Value { what: "flush of a mapping", value: value.into() }),
    }
}

fn read_mmuext(tag: u8, reader: &mut Reader<'_>) -> Result<MmuextOp, WireError> {
    Ok(match tag {
        PIN => {
            let (table, value) = (Mfn::new(reader.number()?), reader.byte()?.into());
            MmuextOp::Pin { level: level(value).ok_or(WireError::Value { what: "level", value })?, table }
        }
        UNPIN => MmuextOp::Unpin { table: Mfn::new(reader.number()?) },
        BASE => MmuextOp::NewBaseptr { table: Mfn::new(reader.number()?) },
        USER_BASE => MmuextOp::NewUserBaseptr { table: Mfn::new(reader.number()?) },
        FLUSH_LOCAL => MmuextOp::TlbFlushLocal,
        FLUSH_ALL => MmuextOp::TlbFlushAll,
        FLUSH_MULTI => MmuextOp::TlbFlushMulti { vcpus: vcpus(reader)? },
        INVLPG_LOCAL => MmuextOp::InvlpgLocal { address: VirtAddr::unchecked(reader.word()?) },
        INVLPG_ALL => MmuextOp::InvlpgAll { address: VirtAddr::unchecked(reader.word()?) },
        INVLPG_MULTI => {
            let vcpus = vcpus(reader)?;
            MmuextOp::InvlpgMulti { address: VirtAddr::unchecked(reader.word()?), vcpus }
        }
        value => return Err(WireError::Value { what: "operation", value: value.into() }),
    })
}

fn vcpus(reader: &mut Reader<'_>) -> Result<VcpuMask, WireError> {
    Ok(VcpuMask::from_words([reader.number()?, reader.number()?]))
}
