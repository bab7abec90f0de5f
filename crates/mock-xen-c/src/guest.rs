//! The machine.

use std::ffi::c_void;
use std::ptr;
use std::sync::Mutex;

use hypercall::{Mfn, Pte, PteSlot, RawCall, VcpuId};
use mock_xen::HostMemory;
use mock_xen::referee::{Profile, RequestId, Settings};
use mock_xen::testing::TestGuest;

use crate::known;

/// A guest of two vCPUs, 0 and 1, with a pinned L1 table and 16 pages.
pub struct Guest {
    pub(crate) test: TestGuest,
    memory: Memory,
    /// What was asked, by number.
    pub(crate) requests: Mutex<Vec<RequestId>>,
}

/// How the mock reaches what a hypercall points at. Functions that are missing are replaced by plain accesses; a
/// program built with a sanitizer gives its own, so that an argument that is too short is found.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Passed to each.
    pub data: *mut c_void,
    /// Loads a word of 8 bytes.
    pub load: Option<unsafe extern "C" fn(data: *mut c_void, address: *const u64) -> u64>,
    /// Stores one.
    pub store: Option<unsafe extern "C" fn(data: *mut c_void, address: *mut u64, word: u64)>,
}

impl Memory {
    const PLAIN: Self = Self { data: ptr::null_mut(), load: None, store: None };
}

// Each access below is of an address that the program has given as an argument of a hypercall: by the promise given in
// `mockxen_hypercall` it leads to its memory.
impl HostMemory for Memory {
    fn load(&self, address: u64) -> Option<u64> {
        let at = ptr::with_exposed_provenance::<u64>(address as usize);
        Some(match self.load {
            // SAFETY: 1. the program's promise.
            Some(load) => unsafe { load(self.data, at) },
            // SAFETY: 1. the program's promise; 2. a multiple of 8, as the mock has seen to.
            None => unsafe { at.read_volatile() },
        })
    }

    fn store(&mut self, address: u64, word: u64) -> Option<()> {
        let at = ptr::with_exposed_provenance_mut::<u64>(address as usize);
        match self.store {
            // SAFETY: 1. the program's promise.
            Some(store) => unsafe { store(self.data, at, word) },
            // SAFETY: 1. the program's promise; 2. a multiple of 8, as the mock has seen to.
            None => unsafe { at.write_volatile(word) },
        }
        Some(())
    }

    fn load_count(&self, address: u64) -> Option<u32> {
        let at = ptr::with_exposed_provenance::<u32>(address as usize);
        // SAFETY: 1. the program's promise; 2. a multiple of 4, as the mock has seen to.
        Some(unsafe { at.read_volatile() })
    }

    fn store_count(&mut self, address: u64, count: u32) -> Option<()> {
        let at = ptr::with_exposed_provenance_mut::<u32>(address as usize);
        // SAFETY: 1. the program's promise; 2. a multiple of 4, as the mock has seen to.
        unsafe { at.write_volatile(count) };
        Some(())
    }
}

/// A new guest whose regions follow the strict rule, or with `nested` != 0 the nested one (R4). `memory` may be null.
/// `masked_bound`: operations that may arrive in one stretch with upcalls masked (R15); 0 for no bound.
///
/// # Safety
/// 1. `memory` is null or can be read, and its functions can be called as long as the guest lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_new(nested: u32, masked_bound: u32, memory: *const Memory) -> *mut Guest {
    let settings = Settings::new(if nested == 0 { Profile::Strict } else { Profile::Nested });
    let settings = if masked_bound == 0 { settings } else { settings.masked_bound(masked_bound) };
    // SAFETY: 1. the caller's promise.
    let memory = unsafe { memory.as_ref() }.copied().unwrap_or(Memory::PLAIN);
    Box::into_raw(Box::new(Guest { test: TestGuest::with_settings(settings), memory, requests: Mutex::default() }))
}

/// Frees a guest; null is none.
///
/// # Safety
/// 1. `guest` is null or was made by `mockxen_new` and not freed, and nobody uses it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_free(guest: *mut Guest) {
    if !guest.is_null() {
        // SAFETY: 1. the caller's promise.
        drop(unsafe { Box::from_raw(guest) });
    }
}

/// Hypercall `number` of `vcpu` with five arguments; answers with what Xen returns in rax. Pointers among the arguments
/// lead to the program's memory.
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`; `arguments` are five words. 2. What they point at is the program's, as long as
///    the hypercall reads and writes there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_hypercall(guest: *const Guest, vcpu: u32, number: u64, arguments: *const u64) -> i64 {
    // SAFETY: 1. the caller's promise.
    let (guest, args) = unsafe { (known(guest), *arguments.cast::<[u64; 5]>()) };
    let mut call = RawCall { number: number.try_into().unwrap_or(u32::MAX), args };
    let mut memory = guest.memory;
    guest.test.xen().hypercall_from(VcpuId::new(vcpu), &mut call, &mut memory)
}

/// The frame of the pinned L1 table, which is empty at first.
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_table(guest: *const Guest) -> u64 {
    // SAFETY: 1. the caller's promise.
    unsafe { known(guest) }.test.table().number()
}

/// The frame of page `number`, 0 to 15: memory that is mapped writable.
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_page(guest: *const Guest, number: u32) -> u64 {
    // SAFETY: 1. the caller's promise.
    unsafe { known(guest) }.test.page(number as usize).number()
}

/// The virtual address at which the guest has `frame` mapped. The program cannot follow it; hypercalls name it.
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_address(guest: *const Guest, frame: u64) -> u64 {
    // SAFETY: 1. the caller's promise.
    let address = unsafe { known(guest) }.test.xen().direct_map(Mfn::new(frame));
    address.unwrap_or_else(|| panic!("mockxen: mfn {frame:#x} is no frame of the guest")).value()
}

/// The frame of the L4 table that `vcpu` runs on.
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_base(guest: *const Guest, vcpu: u32) -> u64 {
    // SAFETY: 1. the caller's promise.
    unsafe { known(guest) }.test.xen().processor(VcpuId::new(vcpu)).base.number()
}

/// The word at machine address `slot`, as the guest's memory holds it.
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_load(guest: *const Guest, slot: u64) -> u64 {
    // SAFETY: 1. the caller's promise.
    let entry = unsafe { known(guest) }.test.xen().read_entry(PteSlot::from_bits(slot));
    entry.unwrap_or_else(|| panic!("mockxen: {slot:#x} is no memory of the guest")).bits()
}

/// A plain store of the guest to machine address `slot`: 0, or -1 where it would fault, because no mapping of the page
/// is writable.
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_store(guest: *const Guest, slot: u64, word: u64) -> i32 {
    let slot = PteSlot::from_bits(slot);
    // SAFETY: 1. the caller's promise.
    let stored = unsafe { known(guest) }.test.xen().write_plain(slot.table(), slot.index(), word);
    if stored.is_ok() { 0 } else { -1 }
}

/// What the processor does when it stores through the present entry at `slot`: accessed and dirty are set. 0, or -1
/// where the entry is not present.
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_touch(guest: *const Guest, slot: u64) -> i32 {
    let flags = hypercall::PteFlags::ACCESSED_DIRTY;
    // SAFETY: 1. the caller's promise.
    let touched = unsafe { known(guest) }.test.xen().set_accessed_dirty(PteSlot::from_bits(slot), flags);
    if touched.is_ok() { 0 } else { -1 }
}

/// A store of the guest's kernel to the read-only entry at `slot`, past any library: Xen traps it and makes it as an
/// update. The referee is told (R6, R10). 0, or -1 for a page fault.
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_trapped_write(guest: *const Guest, who: crate::tell::Who, slot: u64, pte: u64) -> i32 {
    // SAFETY: 1. the caller's promise.
    let guest = unsafe { known(guest) };
    let slot = PteSlot::from_bits(slot);
    guest.test.referee().trapped_write(who.asker(), slot);
    let written = guest.test.xen().trapped_write(slot, Pte::from_bits(pte));
    if written.is_ok() { 0 } else { -1 }
}
