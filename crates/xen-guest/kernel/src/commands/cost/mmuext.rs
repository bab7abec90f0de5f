//! `mmuext_op`: everything but pins.

use hypercall::{Errno, MmuextOp, VirtAddr};
use xen_guest::memory::{tables, take_page};

use super::{
    SIZES,
    issuer::{Issuer, mmuext},
    mappings::OWN,
    meter::Meter,
};
use crate::error::Error;

pub(super) fn measure(issuer: &mut Issuer, meter: &mut Meter<'_>) -> Result<(), Error> {
    let (one, other) = (take_page().ok_or(Error::NoPage)?, take_page().ok_or(Error::NoPage)?);
    let (address, table) = (one.address(), tables::base());
    let operations = [
        ("tlb_flush_local", MmuextOp::TlbFlushLocal),
        ("tlb_flush_multi", MmuextOp::TlbFlushMulti { vcpus: OWN }),
        ("tlb_flush_all", MmuextOp::TlbFlushAll),
        ("invlpg_local", MmuextOp::InvlpgLocal { address }),
        ("invlpg_multi", MmuextOp::InvlpgMulti { address, vcpus: OWN }),
        ("invlpg_all", MmuextOp::InvlpgAll { address }),
        ("new_baseptr", MmuextOp::NewBaseptr { table }),
        ("new_user_baseptr", MmuextOp::NewUserBaseptr { table }),
        ("flush_cache", MmuextOp::FlushCache),
        ("flush_cache_global", MmuextOp::FlushCacheGlobal),
        ("set_ldt", MmuextOp::SetLdt { base: VirtAddr::unchecked(0), entries: 0 }),
        ("clear_page", MmuextOp::ClearPage { frame: one.frame() }),
        ("copy_page", MmuextOp::CopyPage { destination: one.frame(), source: other.frame() }),
    ];
    for (name, op) in operations {
        for size in SIZES.into_iter().filter(|size| *size <= 128) {
            meter.row(format_args!("mmuext_op/{name}"), size, || issuer.array(size, |_| mmuext(op)))?;
        }
    }
    for (name, op) in [
        ("mark_super", MmuextOp::MarkSuper { frame: one.frame() }),
        ("unmark_super", MmuextOp::UnmarkSuper { frame: one.frame() }),
    ] {
        meter.row(format_args!("mmuext_op/{name}-refused"), 1, || issuer.refused(&mmuext(op), Errno::OPNOTSUPP))?;
    }
    Ok(())
}
