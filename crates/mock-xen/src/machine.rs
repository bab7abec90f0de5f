//! What all of Xen's rules are about: the frames, the processors' TLBs, the domain.
//!
//! # Locks
//! Taken in this order and never the other way, none while it is already held:
//! 1. A vCPU's [`Running`], for as long as it is in a hypercall.
//! 2. [`Machine::tables`], a reader-writer lock over *which frames are page tables or descriptor
//!    pages*. Who holds it shared may rely on a table staying one and may take and give back
//!    references of plain frames; who holds it exclusively may turn frames into tables and back,
//!    which validation and its undoing need ([`TableWork`]). It is taken once per operation, and
//!    once for every access to memory through a TLB.
//! 3. A TLB, for a lookup or a flush. No other lock is taken under it.
//! 4. A vCPU's state or a frame's own: leaves, no lock is taken while one of them is held, and never
//!    two at once.

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::domain::Domain;
use crate::frames::Frames;
use crate::planted::Planted;
use crate::running::Running;
use crate::tlb::Tlbs;

/// The right to rely on what is a table.
#[derive(Debug, Default)]
pub(crate) struct Tables(());

/// The right to change which frames are tables, in a pass of a hypercall: `running` says when the
/// pass is to be interrupted and keeps what it leaves to be put away.
#[derive(Debug)]
pub(crate) struct TableWork<'a> {
    pub(crate) tables: RwLockWriteGuard<'a, Tables>,
    pub(crate) running: &'a mut Running,
    /// Tables that are being let go, one because of another.
    pub(crate) depth: usize,
}

/// The machine with its one guest.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) frames: Frames,
    pub(crate) tlbs: Tlbs,
    pub(crate) domain: Domain,
    /// See the module's locks.
    tables: RwLock<Tables>,
    pub(crate) planted: Planted,
}

impl Machine {
    pub(crate) fn new(frames: Frames, tlbs: Tlbs, domain: Domain) -> Self {
        Self { frames, tlbs, domain, tables: RwLock::default(), planted: Planted::default() }
    }

    /// Keeps tables what they are for as long as the answer lives.
    pub(crate) fn tables(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read()
    }

    /// Keeps everybody else from relying on tables for as long as the answer lives.
    pub(crate) fn stopped(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write()
    }

    /// The right to change which frames are tables, in the pass of `running`.
    pub(crate) fn work<'a>(&'a self, running: &'a mut Running) -> TableWork<'a> {
        TableWork { tables: self.tables.write(), running, depth: 0 }
    }
}
