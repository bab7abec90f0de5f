//! A kernel whose queues are small, on the model.

use hypercall::{Mfn, Pte, PteSlot};

use crate::{kernel::Kernel, model::Model};

/// Room for 8 updates in 8 calls, and for 21 flushes.
pub(crate) type Small<const STOP: bool = false> = Kernel<Model, Model, 8, 8, 64, STOP>;

/// Two vCPUs of it, and what is behind them.
pub(crate) fn kernel<const STOP: bool>() -> (Model, Small<STOP>) {
    let model = Model::default();
    (model.clone(), Kernel::new(model.clone(), [model.clone(), model]))
}

/// Entry `n` of the one table.
pub(crate) fn slot(n: usize) -> PteSlot {
    PteSlot::of(Mfn::new(1), n)
}

/// A mapping of frame `n` that may not be stored to.
pub(crate) fn pte(n: u64) -> Pte {
    Pte::from_bits(n << 12 | 1)
}

/// From now on this value is refused.
pub(crate) fn poison(model: &Model, pte: Pte) {
    model.0.borrow_mut().poison.insert(pte.bits());
}

/// What memory has in entry `n`.
pub(crate) fn held(model: &Model, n: usize) -> u64 {
    model.0.borrow().entries.get(&slot(n).address()).copied().unwrap_or(0)
}
