//! What runs lists of programs; the real Xen does.

use std::time::Duration;

use xen_lab::{Lab, Machine, RunError};
use xen_program::ListError;

/// Runs lists of programs, each list from a fresh start.
pub trait Executor: Sync {
    /// Runs a list ([`xen_program::outcome::list`]) and answers with what
    /// [`xen_program::outcome::answers`] decodes.
    ///
    /// # Errors
    /// Where there is no answer.
    fn run(&self, list: &[u8]) -> Result<Vec<u8>, ExecuteError>;

    /// Most programs of one list.
    fn most(&self) -> usize;
}

/// A list was not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecuteError {
    /// The interpreter takes it for none.
    #[error("the interpreter refuses the list: {0}")]
    List(#[from] ListError),
    /// The machine ended, or never did, while it ran them: a program may be the reason.
    #[error("the machine did not get through the programs: {0}")]
    Ended(String),
    /// The machine could not run at all, or its answer was lost on the way.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Programs for which a boot takes little longer than one without any, and whose list fits into the
/// domain's memory.
const XEN_PROGRAMS: usize = 16_384;
/// Runs that are tried where the console loses or garbles something.
const TRIES: usize = 3;

/// The kernel's command that runs a list.
const COMMAND: &str = "programs";
/// Time a run may take, whatever it runs.
const LEAST: Duration = Duration::from_secs(60);
/// Time it may take more per byte of its list: some hundred times what it needs.
const PER_BYTE: Duration = Duration::from_micros(100);

/// The real Xen, booted once for each list.
#[derive(Clone, Debug)]
pub struct Xen {
    lab: Lab,
    machine: Machine,
}

impl Xen {
    /// Real Xen as the lab boots it, without a mitigation that makes it slow and changes no answer.
    #[must_use]
    pub fn new(lab: Lab) -> Self {
        let mut machine = Machine::default();
        machine.xen_arguments = "xpti=no".into();
        Self { lab, machine }
    }
}

impl Executor for Xen {
    fn run(&self, list: &[u8]) -> Result<Vec<u8>, ExecuteError> {
        let mut machine = self.machine.clone();
        machine.run_limit = LEAST + PER_BYTE * list.len() as u32;
        let run = || match self.lab.run(&machine, COMMAND, list) {
            Ok(answer) => Ok(answer.bytes),
            Err(error) if is_end(&error) => Err(ExecuteError::Ended(error.to_string())),
            Err(error) => Err(error.into()),
        };
        let mut result = run();
        for _ in 1..TRIES {
            if !matches!(result, Err(ExecuteError::Run(RunError::Lost { .. } | RunError::BadChecksum { .. }))) {
                break;
            }
            result = run();
        }
        result
    }

    fn most(&self) -> usize {
        XEN_PROGRAMS
    }
}

/// Whether the machine ended because of what it ran.
const fn is_end(error: &RunError) -> bool {
    use RunError::{Cut, GuestCrash, GuestHang, HypervisorCrash};
    matches!(error, GuestHang { .. } | GuestCrash { .. } | HypervisorCrash { .. } | Cut { .. })
}
