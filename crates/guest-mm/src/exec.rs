//! `exec`: a new space. Its tables are filled as memory and taken into use one by one, each by the
//! hypercall that lets the directory point to it.

use core::fmt;

use hypercall::PteSlot;
use pv_mmu::{
    Asks,
    table::{Draft, NotValidated, TableMemory},
};

use crate::space::{POINTER, Space};

/// Why a table was not put into a space. It comes back.
#[derive(Debug)]
pub enum NotAttached<M: TableMemory> {
    /// The space has no such entry, or a table there already.
    Occupied {
        /// The number of the entry in the directory.
        index: usize,
        /// The table.
        table: Draft<M>,
    },
    /// The hypervisor does not accept it.
    Refused(NotValidated<M>),
}

impl<M: TableMemory> fmt::Display for NotAttached<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Occupied { index, .. } => write!(f, "entry {index} of the directory is in use or does not exist"),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl<M: TableMemory> core::error::Error for NotAttached<M> {}

impl<M: TableMemory, const TABLES: usize> Space<M, TABLES> {
    /// A space whose `directory`, an empty L2 table, is reached by the L3 entry `at`.
    ///
    /// # Errors
    /// The hypervisor's refusal.
    pub fn exec(by: &mut impl Asks, directory: Draft<M>, at: PteSlot) -> Result<Self, NotValidated<M>> {
        let directory = directory.attach(by, at, POINTER)?;
        Ok(Self { directory, tables: [const { None }; TABLES] })
    }

    /// Takes `table` into use for the pages of entry `index` of the directory.
    ///
    /// # Errors
    /// [`NotAttached`].
    pub fn populate(&mut self, by: &mut impl Asks, index: usize, table: Draft<M>) -> Result<(), NotAttached<M>> {
        match self.tables.get_mut(index) {
            Some(place @ None) => {
                let at = self.directory.slot(index);
                *place = Some(table.attach(by, at, POINTER).map_err(NotAttached::Refused)?);
                Ok(())
            }
            _ => Err(NotAttached::Occupied { index, table }),
        }
    }
}
