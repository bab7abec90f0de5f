//! The traces that come with the crate: Debian's Linux 6.1 as a PV guest of Xen 4.17 on two vCPUs.
//!
//! Recorded with every Xen, exception and system-call event and probes on the lazy-mode functions; the stamps are a
//! counter. Each is gzip-packed ftrace text, as [`EventReader::new`](crate::EventReader::new) takes it.

/// A trace that comes with the crate.
#[derive(Clone, Copy, Debug)]
pub struct Bundled {
    /// Its name.
    pub name: &'static str,
    /// What ran while it was recorded.
    pub workload: &'static str,
    /// The packed text.
    pub gzip: &'static [u8],
}

/// All of them; the first is what a command without a trace works on.
pub const BUNDLED: [Bundled; 3] = [
    Bundled {
        name: "linux-6.1-2vcpu-fork-mprotect-mremap",
        workload: "2 processes x 2 threads x 2 rounds x 128 pages: mmap, mprotect, fork, mremap, madvise, munmap",
        gzip: include_bytes!("../traces/linux-6.1-2vcpu-fork-mprotect-mremap.ftrace.gz"),
    },
    Bundled {
        name: "linux-6.1-2vcpu-large",
        workload: "1 process x 1 thread x 1 round x 600 pages: mmap, mprotect, fork, mremap, madvise, munmap",
        gzip: include_bytes!("../traces/linux-6.1-2vcpu-large.ftrace.gz"),
    },
    Bundled {
        name: "linux-6.1-2vcpu-process-churn",
        workload: "a shell that starts a program and a pipe of two processes, five times",
        gzip: include_bytes!("../traces/linux-6.1-2vcpu-process-churn.ftrace.gz"),
    },
];
