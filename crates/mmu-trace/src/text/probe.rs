//! Probes on the kernel functions that begin and end regions and switches.
//!
//! Up to Linux 6.5 the lazy mode is kept by `paravirt_*` functions, since then by `xen_*` ones.

use super::cursor::Cursor;

/// What a probe on a kernel function stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    Enter,
    Leave,
    /// A function that [`Probe::Leave`]'s calls, where both exist.
    InnerLeave,
    Flush,
    SwitchOut,
    SwitchIn,
    /// A function that [`Probe::SwitchIn`]'s calls, where both exist.
    InnerSwitchIn,
}

/// `(symbol+offset/size)`, which only the kernel prints: probes bear whatever name their author gave them, so the
/// function tells what they are.
pub(super) fn by_symbol(mut body: Cursor<'_>) -> Option<Probe> {
    if !body.take("(") {
        return None;
    }
    let symbol = body.rest();
    let length = symbol.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
    if !matches!(symbol.get(length), Some(b'+' | b')')) || !symbol.contains(&b')') {
        return None;
    }
    by_function(&symbol[..length])
}

/// A probe of which only the address is printed, by its own name: one of those `docs/record-linux.md` gives, the
/// function's (so perf calls them), or `p_FUNCTION_0` (so the kernel does).
pub(super) fn by_name(name: &[u8]) -> Option<Probe> {
    match name {
        b"enter" => Some(Probe::Enter),
        b"leave" => Some(Probe::Leave),
        b"leave_pv" => Some(Probe::InnerLeave),
        b"flush" => Some(Probe::Flush),
        b"switch_out" => Some(Probe::SwitchOut),
        b"switch_in" => Some(Probe::SwitchIn),
        b"switch_in_pv" => Some(Probe::InnerSwitchIn),
        _ => by_function(name.strip_prefix(b"p_").and_then(|name| name.strip_suffix(b"_0")).unwrap_or(name)),
    }
}

fn by_function(function: &[u8]) -> Option<Probe> {
    match function {
        b"paravirt_enter_lazy_mmu" | b"xen_enter_lazy_mmu" => Some(Probe::Enter),
        b"xen_leave_lazy_mmu" => Some(Probe::Leave),
        b"paravirt_leave_lazy_mmu" => Some(Probe::InnerLeave),
        b"paravirt_flush_lazy_mmu" | b"xen_flush_lazy_mmu" => Some(Probe::Flush),
        b"paravirt_start_context_switch" | b"xen_start_context_switch" => Some(Probe::SwitchOut),
        b"xen_end_context_switch" => Some(Probe::SwitchIn),
        b"paravirt_end_context_switch" => Some(Probe::InnerSwitchIn),
        _ => None,
    }
}
