//! What the kernel can be asked to do.

mod basic;
mod bench;
mod callers;
mod cost;
mod failing;
mod hypercalls;
mod memory;
mod programs;
mod remote;
mod replay;
mod smoke;
mod soak;
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
    Command { name: "bench", run: bench::bench },
    Command { name: "cost", run: cost::cost },
    Command { name: "fail", run: failing::fail },
    Command { name: "hypercalls", run: hypercalls::hypercalls },
    Command { name: "memory", run: memory::memory },
    Command { name: "programs", run: programs::programs },
    Command { name: "tasks", run: tasks::tasks },
    Command { name: "vcpus", run: vcpus::vcpus },
    Command { name: "pvmmu-smoke", run: smoke::smoke },
    Command { name: "pvmmu-switch", run: switching::switching },
    Command { name: "pvmmu-remote", run: remote::remote },
    Command { name: "replay", run: replay::replay },
    Command { name: "pvmmu-walker", run: walker::walker },
    Command { name: "pvmmu-soak", run: soak::soak },
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

/// Writes the line by which an answer of figures says what hypervisor they are of.
fn version(reply: &mut Reply) -> Result<(), Error> {
    use core::fmt::Write as _;
    let version = xen_guest::xen_version();
    let extra = xen_guest::xen_extra_version()?;
    let extra = extra.split(|byte| *byte == 0).next().unwrap_or_default().escape_ascii();
    // A reply takes everything.
    let _ = writeln!(reply, "xen {}.{}{extra}", version >> 16, version & 0xffff);
    Ok(())
}

/// The payload as a decimal number.
fn number(payload: &[u8]) -> Result<u64, Error> {
    core::str::from_utf8(payload).ok().and_then(|text| text.parse().ok()).ok_or(Error::Payload)
}
