//! A vCPU's base pointers as its kernel sees them: which tables a load that is still queued leads away from (R12).

use hypercall::{Mfn, MmuextOp, Operation};

/// Loads that can be queued before any table counts as being left.
const LEAVING: usize = 8;

/// The base pointers of one vCPU.
#[derive(Debug, Default)]
pub struct Bases {
    kernel: Option<Mfn>,
    user: Option<Mfn>,
    leaving: [Option<Mfn>; LEAVING],
    /// More are left than there is room for.
    any: bool,
}

impl Bases {
    /// None loaded yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { kernel: None, user: None, leaving: [None; LEAVING], any: false }
    }

    /// An operation is asked for on the vCPU.
    pub fn load(&mut self, operation: &Operation) {
        let (base, table) = match *operation {
            Operation::Mmuext { op: MmuextOp::NewBaseptr { table }, .. } => (&mut self.kernel, table),
            Operation::Mmuext { op: MmuextOp::NewUserBaseptr { table }, .. } => (&mut self.user, table),
            _ => return,
        };
        let Some(left) = base.replace(table) else { return };
        match self.leaving.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(left),
            None => self.any = true,
        }
    }

    /// Nothing is queued on the vCPU any more.
    pub const fn settle(&mut self) {
        (self.leaving, self.any) = ([None; LEAVING], false);
    }

    /// Whether the vCPU may have the load away from `table` queued.
    #[must_use]
    pub fn leaves(&self, table: Mfn) -> bool {
        self.any || self.leaving.contains(&Some(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypercall::DomId;

    fn load(table: u64) -> Operation {
        Operation::Mmuext { op: MmuextOp::NewBaseptr { table: Mfn::new(table) }, domain: DomId::SELF }
    }

    #[test]
    fn what_is_left_is_known_until_all_is_settled() {
        let mut bases = Bases::new();
        bases.load(&load(5));
        assert!(!bases.leaves(Mfn::new(5)));
        bases.load(&load(6));
        assert!(bases.leaves(Mfn::new(5)) && !bases.leaves(Mfn::new(6)));
        bases.settle();
        assert!(!bases.leaves(Mfn::new(5)));
    }

    #[test]
    fn more_than_there_is_room_for_leaves_everything() {
        let mut bases = Bases::new();
        (0..10).for_each(|table| bases.load(&load(table)));
        assert!(bases.leaves(Mfn::new(77)));
    }
}
