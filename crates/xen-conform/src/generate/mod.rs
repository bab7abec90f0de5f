//! Random programs.
//!
//! A program is a sequence of gestures: small sequences of steps that by themselves make sense, such as
//! filling a page with entries, taking its writable mapping away and pinning it. The generator keeps a
//! belief of what its pages have become, so that later gestures build on earlier ones and deep states
//! are reached: trees of tables, tables that lead to themselves, descriptor pages, another root. It never
//! sees an answer, and a belief may be wrong: what a gesture asks for is often refused, and every value
//! has a chance to be replaced by one that is bad on purpose.
//!
//! Three things are left out, because machines may differ in them without a mistake of either. An entry
//! of an upper table that is present always has accessed set: Xen walks such entries by itself now and
//! then, and the processor sets the flag. No pointer of a call leads through an entry that lacks
//! accessed or dirty. And nothing reads or writes devices.

mod calls;
mod draft;
mod gestures;
mod pools;
mod tables;

use fastrand::Rng;
use xen_program::Program;

use draft::Draft;

/// Gestures of one program.
const GESTURES: std::ops::RangeInclusive<usize> = 3..=14;

/// The program that belongs to `seed`.
#[must_use]
pub fn program(seed: u64) -> Program {
    let mut draft = Draft::new(Rng::with_seed(seed));
    for _ in 0..draft.rng.usize(GESTURES) {
        gestures::any(&mut draft);
    }
    draft.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_seed_determines_its_program_and_programs_differ() {
        let all: HashSet<_> = (0..500).map(program).collect();
        assert_eq!(program(7), program(7));
        assert!(all.len() > 490, "{} different programs of 500", all.len());
    }

    #[test]
    fn every_program_can_travel() {
        for seed in 0..2000 {
            let program = program(seed);
            assert_eq!(Program::from_bytes(&program.to_bytes()).as_ref(), Ok(&program), "seed {seed}");
        }
    }
}
