//! What is tried with any input whatever, and what must hold then.
//!
//! A [`Target`] takes bytes and answers with a [`Finding`] where something that must hold does not; what panics is a finding
//! too. libFuzzer drives the targets in `fuzz_targets/` by what they cover. On a stable compiler `cargo test` leads each
//! through its corpus and through random inputs, and shows that it finds what is broken on purpose.
#![deny(unsafe_code)]

#[allow(unsafe_code, reason = "C is called here, and called by")]
mod c_face;
mod hypercalls;
mod regions;
mod trace;

use std::fmt;

pub use c_face::{CProgram, run_c_program};
pub use hypercalls::{Script, run_script};
#[cfg(feature = "planted")]
pub use pvmmu::planted::{Fault as FaceFault, plant};
pub use regions::{Planted, Program, run_program};
pub use trace::{Story, account, seal};

/// Something that must hold and does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding(String);

impl Finding {
    /// What was found, as a person reads it.
    pub fn new(what: impl fmt::Display) -> Self {
        Self(what.to_string())
    }
}

/// Tries an input; a finding names it. What panics names nothing: with `FUZZ_SHOW` set each input is shown before it is tried.
fn trying<I: fmt::Debug>(input: &I, run: impl FnOnce() -> Result<(), Finding>) -> Result<(), Finding> {
    if std::env::var_os("FUZZ_SHOW").is_some() {
        eprintln!("{input:?}");
    }
    run().map_err(|finding| Finding::new(format_args!("{finding}\nin {input:?}")))
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something that takes any bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of its program, and of the folder its corpus is in.
    pub name: &'static str,
    run: fn(&[u8]) -> Result<(), Finding>,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self { name: "ftrace", run: trace::any_form },
        Self { name: "native", run: trace::native },
        Self { name: "hypercall", run: hypercalls::any_words },
        Self { name: "regions", run: regions::any_program },
        Self { name: "c-face", run: c_face::any_program },
    ];

    /// The target called `name`.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let found = Self::ALL.into_iter().find(|target| target.name == name);
        found.unwrap_or_else(|| panic!("there is no fuzz target `{name}`"))
    }

    /// Tries `bytes`.
    ///
    /// # Errors
    /// The finding.
    pub fn run(self, bytes: &[u8]) -> Result<(), Finding> {
        (self.run)(bytes)
    }

    /// The same, for who listens to panics only.
    ///
    /// # Panics
    /// With the finding.
    pub fn check(self, bytes: &[u8]) {
        self.run(bytes).unwrap_or_else(|finding| panic!("{}: {finding}", self.name));
    }
}
