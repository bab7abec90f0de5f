//! The text form of programs, for people.
//!
//! A file holds cases. A case starts with `case NAME: title`; its steps follow, one per line, each
//! with what it is expected to answer behind `->`, if that is said. Steps before the first case are
//! a case of their own. `unproved NAME: reason` names a case that cannot be run.
//!
//! ```text
//! case 22: a kernel's own entry is marked and made reachable from user mode
//!     mmu_update(&[slot(w0), pte(p0, 0x63)], 1, done, self) -> 0, done=1, l1[w0]=pte(p0, kernel+0x67)
//! ```
//!
//! *Steps*: `NAME(register, ...)` is the hypercall of that name and `call(number, register, ...)`
//! any; `@pending` or `@step` before it says how it is interrupted. `store(address, word)`,
//! `load(address)` and `exchange(address, word)` are accesses of the guest, `probe(frame)` is a probe.
//!
//! *Values* are sums of numbers, names of numbers, and at most one of `mfn(frame)`,
//! `pte(frame, flags)`, `slot(place)` (machine address of a word), `word(place)` or
//! `word(place, bits)` (what it holds, with bits flipped), `va(place)` (the address that an entry translates). A place is `frame[index]`; `p3` and `w2`
//! stand for the L1 entries of page 3 and window 2. `&[a, b; c, d]` is the address of these words,
//! `edge &[...]` the same where memory ends behind them; `done` is a done count as it is before a
//! call.
//!
//! *Expectations*, comma-separated: what the call returned, the loaded word, `stored`,
//! `fault(code)`, `refused` or `probe(writable, l1, l2, l3, l4)`; `done=n`, or `done=-` where it is
//! left alone; `&2[0]=n` for a word of the third buffer, buffers counted from the left, each before
//! those inside it; `rdi=n` and the other registers, where `&0+16` is an address in a buffer, and
//! `kept` where none changed; `place=word` and `m2p(frame)=n` for memory after the step, with `xen`,
//! `masked` and `home` for what is Xen's own, Xen's on some machines, and unchanged; `upcalls=n`,
//! `upcall.rdi=n` and `upcall.entry[1]=n` for interruptions.

mod lexer;
mod names;
mod parser;
mod printer;
mod verdict;

use std::string::String;
use std::vec::Vec;

pub use names::{command_name, hypercall_name, update_name};
pub use parser::parse;
pub use verdict::Unmet;

use crate::expect::Expectation;
use crate::program::{Program, Step};

/// A named program and what it is expected to answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    /// What stands behind `case`; empty for steps before the first.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// The steps.
    pub steps: Vec<CaseStep>,
}

impl Case {
    /// The program.
    #[must_use]
    pub fn program(&self) -> Program {
        Program { steps: self.steps.iter().map(|step| step.step.clone()).collect() }
    }
}

/// A step and what it is expected to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseStep {
    /// The step.
    pub step: Step,
    /// What must hold behind it; nothing, where nothing is said.
    pub expected: Vec<Expectation>,
}

/// A case that cannot be run, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unproved {
    /// What stands behind `unproved`.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cases {
    /// Cases to be run.
    pub cases: Vec<Case>,
    /// Others.
    pub unproved: Vec<Unproved>,
}

/// A place in a text, counted from 1; columns are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// Why a text is no program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {}, column {}: {fault}", position.line, position.column)]
pub struct TextError {
    /// Where.
    pub position: Position,
    /// Why.
    pub fault: TextFault,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextFault {
    /// A character that no token starts with, or a number of more than 64 bits.
    #[error("nothing starts with `{0}` here: see the grammar in the documentation of `xen_program`")]
    Character(char),
    /// Something else is expected.
    #[error("expected {0}")]
    Expected(&'static str),
    /// A name that stands for nothing.
    #[error("`{0}` is no name of {1}")]
    Unknown(String, &'static str),
    /// An index beyond a page.
    #[error("index {0}: a page has words 0 to 511")]
    Index(u64),
    /// A sum of two things of which one must be a number.
    #[error("a sum has one `mfn`, `pte`, `slot`, `word` or buffer at most")]
    Sum,
    /// The step cannot travel: too many registers or buffers.
    #[error("the step cannot be laid out {0}: a call has five registers, and its buffers must fit into four pages")]
    TooLarge(crate::Malformed),
}
