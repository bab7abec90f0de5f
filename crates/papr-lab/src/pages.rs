//! Pages that loads are from: in the one segment that the guest has set up (`guest/start.S`), each with a place of its own.

/// How many there are, and how many page frames they may lead to.
pub(crate) const PAGES: u64 = 8;

const SEGMENT: u64 = 0x123;
/// The tag of all of them: a tag is of 8 MiB.
pub(crate) const TAG: u64 = SEGMENT << 12;

/// A page's address.
pub(crate) const fn address(page: u64) -> u64 {
    0x1000_0000 + page * 0x1000
}

/// The page of an address.
pub(crate) const fn of(address: u64) -> u64 {
    (address >> 12) % PAGES
}

/// The first place of the group that the hash of a page leads to.
pub(crate) const fn place(page: u64) -> u64 {
    ((SEGMENT ^ page) % (crate::TABLE / 8)) * 8
}

/// The address of a page frame, behind the mailbox.
pub(crate) const fn frame(number: u64) -> u64 {
    0x20_0000 + number * 0x1000
}

/// The address of the page frame in an entry.
pub(crate) const fn frame_of((_, second): (u64, u64)) -> u64 {
    second & 0x0fff_ffff_ffff_f000
}
