//! The machine a run happens on.

use std::time::Duration;

/// How the machine's time passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Clock {
    /// With the host's. The processors run in parallel.
    #[default]
    Host,
    /// One tick of the time-stamp counter for each instruction executed, hypervisor's and guest's
    /// alike: costs are counted exactly and repeat. One processor.
    Instructions,
    /// With the host's; every instruction is executed by itself, so an event can come between any
    /// two. One processor, about three times slower.
    SingleStep,
}

/// A machine and the limits of a run on it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Machine {
    /// Physical processors, 1 or 2.
    pub processors: u32,
    /// vCPUs of the domain.
    pub vcpus: u32,
    /// How time passes.
    pub clock: Clock,
    /// MiB of the machine.
    pub memory: u32,
    /// MiB of the domain.
    pub domain_memory: u32,
    /// Words added to Xen's command line. `xpti=no` halves the time of a hypercall, which is mostly that of
    /// emulating two loads of the base pointer, and changes no answer.
    pub xen_arguments: String,
    /// The kernel's command line.
    pub kernel_arguments: String,
    /// From the start to the kernel's sign of life.
    pub boot_limit: Duration,
    /// From there to the end of the answer.
    pub run_limit: Duration,
}

impl Default for Machine {
    /// One processor, two vCPUs, the host's time, a minute for each stage.
    fn default() -> Self {
        Self {
            processors: 1,
            vcpus: 2,
            clock: Clock::Host,
            memory: 512,
            domain_memory: 128,
            xen_arguments: String::new(),
            kernel_arguments: String::new(),
            boot_limit: Duration::from_secs(60),
            run_limit: Duration::from_secs(60),
        }
    }
}
