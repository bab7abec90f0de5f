//! A privileged guest at the raw interface: arguments in its memory, answers in registers.

use hypercall::abi::{
    HYPERCALL_MMU_UPDATE, HYPERCALL_MMUEXT_OP, HYPERCALL_MULTICALL, HYPERCALL_UPDATE_VA_MAPPING,
    HYPERCALL_UPDATE_VA_MAPPING_OTHERDOMAIN,
};
use hypercall::{Level, Mfn, PAGE_SIZE, Pte, PteFlags, PteSlot, RawCall, VcpuId, VirtAddr};
use mock_xen::{GuestBuilder, MockXen, NotModelled};

pub(crate) const OK: i64 = 0;
pub(crate) const EPERM: i64 = -1;
pub(crate) const ESRCH: i64 = -3;
pub(crate) const EACCES: i64 = -13;
pub(crate) const EFAULT: i64 = -14;
pub(crate) const EBUSY: i64 = -16;
pub(crate) const EINVAL: i64 = -22;
pub(crate) const ENOSYS: i64 = -38;
pub(crate) const EOPNOTSUPP: i64 = -95;

pub(crate) const SELF: u64 = 0x7ff0;
pub(crate) const IO: u64 = 0x7ff1;
pub(crate) const XEN: u64 = 0x7ff2;

/// What a done count holds before a call.
pub(crate) const UNTOUCHED: u64 = 0xdead_beef;
/// Bit 52, by which Xen marks a kernel's own L1 entry.
pub(crate) const KERNEL: u64 = 1 << 52;
/// Number and command words of the calls used most.
pub(crate) const MACHPHYS: u64 = 1;
pub(crate) const PRESERVE_AD: u64 = 2;
pub(crate) const NO_TRANSLATE: u64 = 3;
pub(crate) const PIN_L1: u64 = 0;
pub(crate) const PIN_L2: u64 = 1;
pub(crate) const PIN_L4: u64 = 3;
pub(crate) const UNPIN: u64 = 4;
pub(crate) const NEW_BASEPTR: u64 = 5;
pub(crate) const NEW_USER_BASEPTR: u64 = 15;
pub(crate) const CLEAR_PAGE: u64 = 16;
pub(crate) const COPY_PAGE: u64 = 17;

/// An answer with what the call left behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) value: i64,
    pub(crate) done: u64,
    pub(crate) args: [u64; 5],
}

/// The guest. Every frame starts zero-filled and mapped writable once, in the direct map.
pub(crate) struct Dom0 {
    pub(crate) xen: MockXen,
    /// Data pages of the case.
    pub(crate) a: Mfn,
    pub(crate) b: Mfn,
    pub(crate) c: Mfn,
    pub(crate) d: Mfn,
    /// The page whose L1 entry cases write.
    pub(crate) w: Mfn,
    arguments: Mfn,
    done: Mfn,
    /// Pages for arrays that run into something, at consecutive addresses.
    pub(crate) pages: [Mfn; 2],
}

pub(crate) const CPU: VcpuId = VcpuId::new(0);
/// A hypercall number and its arguments.
pub(crate) type Call = (u32, [u64; 5]);

impl Dom0 {
    pub(crate) fn new() -> Self {
        Self::of(|_| {})
    }

    /// The guest with something about it changed.
    pub(crate) fn of(change: impl FnOnce(&mut GuestBuilder)) -> Self {
        let mut builder = GuestBuilder::new(2);
        builder.spare(16);
        change(&mut builder);
        let xen = builder.build().expect("a guest without tables of its own is always right");
        let frame = || xen.alloc_frame().expect("16 frames are enough");
        let [a, b, c, d, w, arguments, done] = std::array::from_fn(|_| frame());
        let pages = [frame(), frame()];
        let dom0 = Self { a, b, c, d, w, arguments, done, pages, xen };
        assert_eq!(dom0.va(pages[0]) + PAGE_SIZE, dom0.va(pages[1]));
        dom0
    }

    /// The address of a frame in the direct map.
    pub(crate) fn va(&self, mfn: Mfn) -> u64 {
        self.xen.direct_map(mfn).expect("every frame of memory is in the direct map").value()
    }

    /// The machine address of the L1 entry by which the direct map has `mfn`.
    pub(crate) fn slot(&self, mfn: Mfn) -> u64 {
        self.slot_at(self.va(mfn), Level::L1)
    }

    pub(crate) fn slot_at(&self, va: u64, level: Level) -> u64 {
        self.xen.slot_of(CPU, VirtAddr::unchecked(va), level).expect("the address is mapped").bits()
    }

    /// The kernel base pointer.
    pub(crate) fn root(&self) -> Mfn {
        self.xen.processor(CPU).base
    }

    /// The machine address of a root entry.
    pub(crate) fn p(&self, index: usize) -> u64 {
        at(self.root(), index)
    }

    /// An unused entry of the L2 table of the direct map, and the address it maps first.
    pub(crate) fn free_l2(&self) -> (u64, u64) {
        let table = PteSlot::from_bits(self.slot_at(self.va(self.a), Level::L2)).table();
        (at(table, 300), (self.va(self.a) >> 30 << 30) + (300 << 21))
    }

    pub(crate) fn read(&self, slot: u64) -> u64 {
        self.xen.read_entry(PteSlot::from_bits(slot)).expect("the word lies in the guest's memory").bits()
    }

    pub(crate) fn put(&self, mfn: Mfn, index: usize, word: u64) {
        self.xen.write_plain(mfn, index, word).expect("the page is mapped writable");
    }

    pub(crate) fn call(&self, (number, args): Call) -> Answer {
        self.put(self.done, 0, UNTOUCHED);
        self.call_again((number, args))
    }

    /// A call that finds the done count as it is.
    pub(crate) fn call_again(&self, (number, args): Call) -> Answer {
        let mut call = RawCall { number, args };
        let value = self.xen.hypercall(CPU, &mut call);
        Answer { value, done: self.read(at(self.done, 0)), args: call.args }
    }

    pub(crate) fn done_va(&self) -> u64 {
        self.va(self.done)
    }

    pub(crate) fn set_done(&self, done: u64) {
        self.put(self.done, 0, done);
    }

    /// The word that holds the done count.
    pub(crate) fn done(&self) -> u64 {
        self.read(at(self.done, 0))
    }

    fn store<const N: usize>(&self, operations: &[[u64; N]]) -> u64 {
        for (index, word) in operations.iter().flatten().enumerate() {
            self.put(self.arguments, index, *word);
        }
        self.va(self.arguments)
    }

    /// An `mmu_update` of `updates` (slot with command, value), laid out in memory.
    pub(crate) fn updates(&self, updates: &[[u64; 2]], subject: u64) -> Call {
        let array = self.store(updates);
        (HYPERCALL_MMU_UPDATE, [array, updates.len() as u64, self.done_va(), subject, 0])
    }

    pub(crate) fn mu(&self, updates: &[[u64; 2]]) -> Answer {
        self.call(self.updates(updates, SELF))
    }

    /// One update about own frames; the answer's value.
    pub(crate) fn set(&self, slot: u64, value: u64) -> i64 {
        self.set_as(slot, value, SELF)
    }

    pub(crate) fn set_as(&self, slot: u64, value: u64, subject: u64) -> i64 {
        self.call(self.updates(&[[slot, value]], subject)).value
    }

    pub(crate) fn extended(&self, operations: &[[u64; 3]], domain: u64) -> Call {
        let array = self.store(operations);
        (HYPERCALL_MMUEXT_OP, [array, operations.len() as u64, self.done_va(), domain, 0])
    }

    /// One `mmuext_op` about own frames; the answer's value.
    pub(crate) fn mx(&self, command: u64, arg1: u64) -> i64 {
        self.mx_as(command, arg1, 0, SELF)
    }

    pub(crate) fn mx_as(&self, command: u64, arg1: u64, arg2: u64, domain: u64) -> i64 {
        self.call(self.extended(&[[command, arg1, arg2]], domain)).value
    }

    pub(crate) fn uvm(&self, va: u64, pte: u64, flags: u64) -> i64 {
        self.call((HYPERCALL_UPDATE_VA_MAPPING, [va, pte, flags, 0, 0])).value
    }

    pub(crate) fn uvm_of(&self, va: u64, pte: u64, domain: u64) -> i64 {
        self.call((HYPERCALL_UPDATE_VA_MAPPING_OTHERDOMAIN, [va, pte, 0, domain, 0])).value
    }

    /// A multicall of `calls`, laid out in the first of `pages`.
    pub(crate) fn multicall(&self, calls: &[Call]) -> Answer {
        for (index, (number, args)) in calls.iter().enumerate() {
            self.put_entry(8 * index, (*number, *args));
        }
        self.call((HYPERCALL_MULTICALL, [self.va(self.pages[0]), calls.len() as u64, 0, 0, 0]))
    }

    /// Stores a multicall entry from word `first` of `pages` on.
    pub(crate) fn put_entry(&self, first: usize, (number, args): Call) {
        let words = [number.into(), UNTOUCHED, args[0], args[1], args[2], args[3], args[4], UNTOUCHED];
        for (index, word) in words.into_iter().enumerate() {
            self.put(self.pages[(first + index) / 512], (first + index) % 512, word);
        }
    }

    /// Result and arguments of the multicall entry from word `first` of `pages` on.
    pub(crate) fn entry(&self, first: usize) -> (i64, [u64; 6]) {
        let word = |n: usize| self.read(at(self.pages[(first + n) / 512], (first + n) % 512));
        (word(1) as i64, std::array::from_fn(|n| word(2 + n)))
    }

    /// Makes D an L4 with the direct map of the live one, ready to be used.
    pub(crate) fn another_root(&self) {
        self.put(self.d, 273, self.read(self.p(273)));
        self.read_only(self.d);
    }

    /// Maps a page read-only in the direct map, so that nothing writes it any more.
    pub(crate) fn read_only(&self, mfn: Mfn) {
        assert_eq!(self.uvm(self.va(mfn), pte(mfn, 0x61), 0), OK);
    }

    /// Tries to map a page writable in the direct map.
    pub(crate) fn writable(&self, mfn: Mfn) -> i64 {
        self.uvm(self.va(mfn), pte(mfn, 0x63), 0)
    }

    /// Tries to map a page in the window.
    pub(crate) fn map(&self, mfn: Mfn, flags: u64) -> i64 {
        self.set(self.slot(self.w), pte(mfn, flags))
    }

    /// Maps a page in the window and reads the entry back without its frame number.
    pub(crate) fn map_and_read(&self, mfn: Mfn, flags: u64) -> (i64, u64) {
        let value = self.map(mfn, flags);
        (value, Pte::from_bits(self.read(self.slot(self.w))).flags().bits())
    }

    /// What was not modelled so far.
    pub(crate) fn not_modelled(&self) -> Vec<NotModelled> {
        self.xen.not_modelled().into_iter().map(|event| event.what).collect()
    }

    pub(crate) fn audit(&self) {
        self.xen.audit().expect("counts are what refers");
    }
}

/// Where the processor has the root itself, by the entry that Xen makes every L4 refer to itself with.
pub(crate) fn root_in_linear_map() -> u64 {
    [39, 30, 21, 12].into_iter().fold(0xffff << 48, |va, shift| va | 258 << shift)
}

/// The machine address of word `index` of a frame.
pub(crate) fn at(mfn: Mfn, index: usize) -> u64 {
    PteSlot::of(mfn, index).bits()
}

/// An entry.
pub(crate) fn pte(mfn: Mfn, flags: u64) -> u64 {
    Pte::new(mfn, PteFlags::from_bits_truncate(flags)).bits()
}

/// The answer to what is not modelled.
pub(crate) fn missing(what: NotModelled) -> i64 {
    what.errno().as_return()
}
