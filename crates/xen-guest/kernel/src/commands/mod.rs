//! What the kernel can be asked to do.

mod basic;
mod callers;
mod failing;
mod hypercalls;
mod memory;
mod programs;
mod remote;
mod smoke;
mod switching;
mod tasks;
mod torture;
mod vcpus;
mod walker;

use hypercall::TaskContext;

use crate::{error::Error, reply::Reply};

/// A command by its name.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// Carries it out: given the task it runs as and the payload, it writes the answer.
    pub(crate) run: fn(&TaskContext, &[u8], &mut Reply) -> Result<(), Error>,
}

/// All of them.
pub(crate) const COMMANDS: &[Command] = &[
    Command { name: "hello", run: basic::hello },
    Command { name: "echo", run: basic::echo },
    Command { name: "fail", run: failing::fail },
    Command { name: "hypercalls", run: hypercalls::hypercalls },
    Command { name: "memory", run: memory::memory },
    Command { name: "programs", run: programs::programs },
    Command { name: "tasks", run: tasks::tasks },
    Command { name: "vcpus", run: vcpus::vcpus },
    Command { name: "pvmmu-smoke", run: smoke::smoke },
    Command { name: "pvmmu-switch", run: switching::switching },
    Command { name: "pvmmu-remote", run: remote::remote },
    Command { name: "pvmmu-walker", run: walker::walker },
    Command { name: "pvmmu-callers", run: callers::callers },
];

/// Writes `name=value` and a line end to an answer.
macro_rules! answer {
    ($reply:expr, $($name:literal = $value:expr),+ $(,)?) => {{
        use core::fmt::Write as _;
        // A reply takes everything.
        $(let _ = writeln!($reply, concat!($name, "={}"), $value);)+
    }};
}
use answer;

/// The payload as a decimal number.
fn number(payload: &[u8]) -> Result<u64, Error> {
    core::str::from_utf8(payload).ok().and_then(|text| text.parse().ok()).ok_or(Error::Payload)
}
