//! Argument words that more than one hypercall has.

use hypercall::abi::{UVMF_ALL, UVMF_FLUSHTYPE_MASK, UVMF_INVLPG, UVMF_LOCAL, UVMF_TLB_FLUSH};
use hypercall::{FlushScope, VaFlush, VcpuMask};

use crate::memory::ArgumentSource;

/// The vCPU bitmap at `address`: as many words as `vcpus` need. Bits of vCPUs that are not there
/// are dropped.
pub(super) fn vcpus_at<S: ArgumentSource>(source: &S, address: u64, vcpus: u32) -> Option<VcpuMask> {
    let mut words = [0; VcpuMask::WORDS];
    for (index, word) in words.iter_mut().enumerate().take(vcpus.div_ceil(64) as usize) {
        [*word] = source.read(address.wrapping_add(8 * index as u64))?;
    }
    let there: VcpuMask = (0..vcpus).map(hypercall::VcpuId::new).collect();
    Some(VcpuMask::from_words(words).intersection(&there))
}

/// The flush that `update_va_mapping`'s flags ask for; `None` where its bitmap cannot be read.
pub(super) fn va_flush<S: ArgumentSource>(source: &S, flags: u64, vcpus: u32) -> Option<VaFlush> {
    let kind = match flags & UVMF_FLUSHTYPE_MASK {
        UVMF_TLB_FLUSH => VaFlush::Tlb,
        UVMF_INVLPG => VaFlush::Invlpg,
        _ => return Some(VaFlush::None),
    };
    Some(kind(match flags & !UVMF_FLUSHTYPE_MASK {
        UVMF_LOCAL => FlushScope::Local,
        UVMF_ALL => FlushScope::All,
        address => FlushScope::Vcpus(vcpus_at(source, address, vcpus)?),
    }))
}
