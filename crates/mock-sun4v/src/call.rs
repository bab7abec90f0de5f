//! Traps and what they answer (sun4v virtual machine specification, MMU services).

use core::fmt;

use crate::state::{Fault, Page, Sun4v, VALID};

/// A trap into the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// The trap's number: 0x80 with a function, 0x83 and 0x84 without.
    pub number: u64,
    /// `%o5`, where the trap has one.
    pub function: u64,
    /// `%o0` to `%o4`.
    pub arguments: [u64; 5],
}

/// `%o0` after the trap, 0 for success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u64);

impl Status {
    /// `EOK`.
    pub const OK: Self = Self(0);
    /// `ENORADDR`: no such real address.
    pub const NO_ADDRESS: Self = Self(2);
    /// `EBADPGSZ`.
    pub const BAD_PAGE_SIZE: Self = Self(4);
    /// `EINVAL`.
    pub const INVALID: Self = Self(6);
    /// `EBADTRAP`: no such trap or function.
    pub const BAD_TRAP: Self = Self(7);
    /// `ENOTSUPPORTED`.
    pub const NOT_SUPPORTED: Self = Self(13);
    /// `ENOMAP`.
    pub const NO_MAP: Self = Self(14);
    /// `ETOOMANY`.
    pub const TOO_MANY: Self = Self(15);
}

/// What a trap answers.
pub type Answer = Result<Status, NotModelled>;

/// The service exists and is none of this mock's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotModelled {
    /// The function of trap 0x80.
    pub function: u64,
}

impl fmt::Display for NotModelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "function {:#x} of trap 0x80 is not modelled; mapping and demapping are", self.function)
    }
}

impl std::error::Error for NotModelled {}

/// Contexts have 13 bits.
const CONTEXTS: u64 = 1 << 13;
/// Data and instruction TLB.
const TLBS: u64 = 3;
/// Addresses of 8 KiB pages.
const PAGE: u64 = 1 << 13;
/// Permanent mappings a processor has room for.
const PERMANENT: usize = 8;

impl Sun4v {
    /// A trap of `processor`.
    ///
    /// # Errors
    /// [`NotModelled`]; nothing has changed.
    pub fn trap(&mut self, processor: usize, trap: Trap) -> Answer {
        let [first, second, third, fourth, _] = trap.arguments;
        match (trap.number, trap.function) {
            (0x83, _) => Ok(self.map(processor, first, second, third, fourth)),
            (0x84, _) => Ok(self.unmap(processor, first, second, third)),
            (0x80, 0x22) => Ok(self.demap_page(processor, trap.arguments)),
            (0x80, 0x23) => Ok(self.demap_context(processor, trap.arguments)),
            (0x80, 0x24) => Ok(self.demap_all(processor, trap.arguments)),
            (0x80, 0x25) => Ok(self.map_permanent(processor, trap.arguments)),
            (0x80, 0x28) => Ok(self.unmap_permanent(processor, first, second, third)),
            (0x80, function @ (0x20 | 0x21 | 0x26 | 0x27 | 0x29..=0x2b)) => Err(NotModelled { function }),
            _ => Ok(Status::BAD_TRAP),
        }
    }

    fn checked(&self, address: u64, context: u64, flags: u64) -> Result<Page, Status> {
        let is_canonical = (address << 16).cast_signed() >> 16 == address.cast_signed();
        if !is_canonical || context >= CONTEXTS || !self.flags_are_good(flags) {
            return Err(Status::INVALID);
        }
        Ok(Page { context: context as u16, address: address & !(PAGE - 1) })
    }

    fn flags_are_good(&self, flags: u64) -> bool {
        flags & !TLBS == 0 && (flags != 0 || self.has(Fault::NoTlbAccepted))
    }

    fn reserved(&self, [first, second, ..]: [u64; 5]) -> Result<(), Status> {
        let ignored = self.has(Fault::ReservedIgnored);
        if first | second == 0 || ignored { Ok(()) } else { Err(Status::NOT_SUPPORTED) }
    }

    /// Bytes and page size of an entry.
    fn mapped(&self, entry: u64) -> Result<(), Status> {
        // 8 KiB, 64 KiB, 4 MiB, 256 MiB.
        if ![0, 1, 3, 5].contains(&(entry & 0xf)) {
            return Err(Status::BAD_PAGE_SIZE);
        }
        let bytes = PAGE << (3 * (entry & 0xf));
        let address = entry & 0x00ff_ffff_ffff_e000 & !(bytes - 1);
        if address + bytes > self.memory { Err(Status::NO_ADDRESS) } else { Ok(()) }
    }

    fn map(&mut self, processor: usize, address: u64, context: u64, entry: u64, flags: u64) -> Status {
        let checked = self.checked(address, context, flags).and_then(|page| self.mapped(entry).map(|()| page));
        match checked {
            Err(status) => status,
            Ok(page) => {
                if let Some(tlb) = self.tlbs.get_mut(processor) {
                    tlb.entry(page).or_default().insert(entry);
                }
                Status::OK
            }
        }
    }

    fn unmap(&mut self, processor: usize, address: u64, context: u64, flags: u64) -> Status {
        match self.checked(address, context, flags) {
            Err(status) => status,
            Ok(page) => {
                self.demap(processor, page);
                Status::OK
            }
        }
    }

    fn demap_page(&mut self, processor: usize, arguments: [u64; 5]) -> Status {
        let [_, _, address, context, flags] = arguments;
        match self.reserved(arguments) {
            Err(status) => status,
            Ok(()) => self.unmap(processor, address, context, flags),
        }
    }

    fn demap_context(&mut self, processor: usize, arguments: [u64; 5]) -> Status {
        let [_, _, context, flags, _] = arguments;
        let checked = self.reserved(arguments).and_then(|()| self.checked(0, context, flags));
        match checked {
            Err(status) => status,
            Ok(of) => {
                self.demap_where(processor, |page| page.context == of.context);
                Status::OK
            }
        }
    }

    fn demap_all(&mut self, processor: usize, arguments: [u64; 5]) -> Status {
        let [_, _, flags, ..] = arguments;
        match self.reserved(arguments).and_then(|()| self.checked(0, 0, flags)) {
            Err(status) => status,
            Ok(_) => {
                self.demap_where(processor, |_| true);
                Status::OK
            }
        }
    }

    fn map_permanent(&mut self, processor: usize, [address, reserved, entry, flags, _]: [u64; 5]) -> Status {
        let bytes = PAGE << (3 * (entry & 0xf));
        if reserved != 0 || entry & VALID == 0 || !address.is_multiple_of(bytes) {
            return Status::INVALID;
        }
        if let Err(status) = self.checked(address, 0, flags).and_then(|_| self.mapped(entry)) {
            return status;
        }
        let unbounded = self.has(Fault::PermanentUnbounded);
        let Some(permanent) = self.permanent.get_mut(processor) else { return Status::INVALID };
        if permanent.len() == PERMANENT && !permanent.contains_key(&address) && !unbounded {
            return Status::TOO_MANY;
        }
        permanent.insert(address, entry);
        Status::OK
    }

    fn unmap_permanent(&mut self, processor: usize, address: u64, reserved: u64, flags: u64) -> Status {
        if reserved != 0 || self.checked(address, 0, flags).is_err() {
            return Status::INVALID;
        }
        let gone = self.permanent.get_mut(processor).and_then(|permanent| permanent.remove(&address));
        if gone.is_some() { Status::OK } else { Status::NO_MAP }
    }
}
