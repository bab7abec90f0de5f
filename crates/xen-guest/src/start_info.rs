//! What the domain's builder tells the kernel.

use core::slice;
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use hypercall::{MachAddr, PAGE_SIZE, Pfn, VirtAddr};

use crate::layout::StartInfo;

static START_INFO: AtomicPtr<StartInfo> = AtomicPtr::new(core::ptr::null_mut());

/// Keeps the address Xen enters the kernel with.
///
/// # Safety
/// It is that address; nobody ever writes there.
pub(crate) unsafe fn keep(address: *mut StartInfo) {
    START_INFO.store(address, Relaxed);
}

fn start_info() -> &'static StartInfo {
    let address = START_INFO.load(Relaxed);
    assert!(!address.is_null(), "start_info is kept before anything else runs");
    // SAFETY: 1. `keep` was given the address of the domain builder's page. 2. That stays mapped and is
    // never written.
    unsafe { &*address }
}

/// A slice of what the builder left in the kernel's mapping.
///
/// # Safety
/// 1. `address` and `len` are from `start_info`. 2. `T` is an integer.
unsafe fn built<T>(address: u64, len: u64) -> &'static [T] {
    // SAFETY: 1. The builder has mapped `len` elements there, for the life of the domain. 2. The kernel
    // never writes them. 3. Any bit pattern is a `T`, a byte or a word.
    unsafe { slice::from_raw_parts(core::ptr::with_exposed_provenance(address as usize), len as usize) }
}

/// Frames the domain has: pfns are below.
#[must_use]
pub fn frames() -> u64 {
    start_info().nr_pages
}

/// The boot module's bytes; empty where there is none.
#[must_use]
pub fn module() -> &'static [u8] {
    let info = start_info();
    // SAFETY: 1. Address and length are the builder's; 2. bytes.
    if info.mod_len == 0 { &[] } else { unsafe { built(info.mod_start, info.mod_len) } }
}

/// The kernel's command line, up to its terminating zero.
#[must_use]
pub fn command_line() -> &'static [u8] {
    let line = &start_info().cmd_line;
    line.split(|byte| *byte == 0).next().unwrap_or(line)
}

/// `SIF_INITDOMAIN` of `start_info.flags`: this is domain 0.
const INITIAL_DOMAIN: u32 = 2;

/// Where the console's ring is mapped, and the port of its event channel; `None` in domain 0, whose console is Xen's, and
/// where the builder has made no ring.
pub(crate) fn console() -> Option<(VirtAddr, u32)> {
    let info = start_info();
    if info.flags & INITIAL_DOMAIN != 0 {
        return None;
    }
    let [frame, port] = info.console;
    let mapped = frame_list().iter().take(mapped_end().number() as usize);
    let pfn = (0u64..).zip(mapped).find_map(|(pfn, mfn)| (*mfn == frame).then_some(pfn))?;
    Some((VirtAddr::unchecked(pfn * PAGE_SIZE), port as u32))
}

/// The machine frame of each pfn.
pub(crate) fn frame_list() -> &'static [u64] {
    let info = start_info();
    // SAFETY: 1. The builder leaves one word for each of the domain's frames; 2. words.
    unsafe { built(info.mfn_list, info.nr_pages) }
}

/// The machine address of the page shared with Xen.
#[must_use]
pub fn shared_info() -> MachAddr {
    MachAddr::new(start_info().shared_info).unwrap_or_default()
}

/// Where the L4 table that the domain starts on is mapped, read-only as all tables.
pub(crate) fn root() -> VirtAddr {
    VirtAddr::unchecked(start_info().pt_base)
}

/// Pfns below this are mapped at their own number times the page size: the kernel is linked at
/// virtual base 0, and the builder maps everything up to the boot stack behind the page tables.
pub(crate) fn mapped_end() -> Pfn {
    let info = start_info();
    Pfn::new(info.pt_base / PAGE_SIZE + info.nr_pt_frames + 1)
}

/// Whether Xen started the kernel as the PV domain it has to be.
pub(crate) fn is_xen() -> bool {
    start_info().magic.starts_with(b"xen-3.0-x86_64")
}
