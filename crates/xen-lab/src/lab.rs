//! The lab: what a run needs, and a run.

use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use xen_wire::{Request, TEXT_END};

use crate::{
    answer::Answer,
    error::{Doing as _, FindError, RunError},
    kernel::build_kernel,
    machine::Machine,
    process::{Next, Process},
    qemu::{self, Qemu},
    tools,
    watch::{Silence, Stage, Watch},
    xen,
};

/// How long somebody who crashes may go on telling about it.
const CRASH_LIMIT: Duration = Duration::from_secs(3);
/// How long a QEMU whose console has ended may take to end itself.
const END_LIMIT: Duration = Duration::from_secs(2);

/// Where the lab gets what it needs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Sources {
    /// A QEMU; else the one in the search path.
    pub qemu: Option<PathBuf>,
    /// A hypervisor, compressed or not, of whatever version; else Debian's Xen 4.17.
    pub xen: Option<PathBuf>,
    /// A kernel; else the project's own, built if need be.
    pub kernel: Option<PathBuf>,
    /// Where Xen's package is looked for and unpacked.
    pub directory: PathBuf,
    /// Whether packages that are missing are fetched and, by root, installed.
    pub fetch: bool,
}

impl Sources {
    /// As the environment says: `XEN_LAB_QEMU`, `XEN_LAB_XEN` and `XEN_LAB_KERNEL` name files, and what is
    /// missing is fetched unless `XEN_LAB_OFFLINE` is set.
    #[must_use]
    pub fn from_environment() -> Self {
        let file = |name| env::var_os(name).map(PathBuf::from);
        Self {
            qemu: file("XEN_LAB_QEMU"),
            xen: file("XEN_LAB_XEN"),
            kernel: file("XEN_LAB_KERNEL"),
            directory: tools::target().join("xen-lab"),
            fetch: env::var_os("XEN_LAB_OFFLINE").is_none(),
        }
    }
}

/// QEMU, Xen and a kernel, ready to run.
#[derive(Clone, Debug)]
pub struct Lab {
    qemu: Qemu,
    xen: PathBuf,
    kernel: PathBuf,
}

impl Lab {
    /// Finds, fetches and builds what is needed, as the environment says.
    ///
    /// # Errors
    /// [`FindError`] with what is missing and what to do.
    pub fn find() -> Result<Self, FindError> {
        Self::with(&Sources::from_environment())
    }

    /// Finds, fetches and builds what is needed.
    ///
    /// # Errors
    /// [`FindError`] with what is missing and what to do.
    pub fn with(sources: &Sources) -> Result<Self, FindError> {
        let qemu = qemu::find(sources.qemu.as_deref(), sources.fetch)?;
        let xen = match &sources.xen {
            Some(image) => xen::given(image, &sources.directory)?,
            None => xen::find(&sources.directory, sources.fetch)?,
        };
        let kernel = match &sources.kernel {
            Some(kernel) => kernel.clone(),
            None => build_kernel(&[])?,
        };
        Ok(Self { qemu, xen: absolute(&xen)?, kernel: absolute(&kernel)? })
    }

    /// The version of the QEMU that runs are on.
    #[must_use]
    pub fn qemu_version(&self) -> &str {
        self.qemu.version()
    }

    /// Boots the kernel once and has it carry out `command` on `payload`.
    ///
    /// # Errors
    /// [`RunError`] with what went wrong. Nothing of the run is left either way.
    pub fn run(&self, machine: &Machine, command: &str, payload: &[u8]) -> Result<Answer, RunError> {
        let files = RunFiles::new(&self.kernel)?;
        files.module(command, payload)?;
        let mut qemu = self.qemu.command(machine, &self.xen, RunFiles::KERNEL, Some(RunFiles::MODULE));
        qemu.current_dir(files.directory.path()).stderr(files.errors()?);
        let start = Instant::now();
        let mut process = Process::start(qemu).doing(|| "start QEMU by `setpriv` of util-linux".to_owned())?;
        let answer = follow(&process, machine, command, start);
        if let Err(RunError::Cut { .. }) = &answer {
            files.blame_qemu(&mut process)?;
        }
        answer
    }

    /// Boots the kernel once with nothing but its command line, as a user's own machine would; answers with the lines of text it
    /// wrote.
    ///
    /// # Errors
    /// [`RunError`] with what went wrong.
    pub fn run_alone(&self, machine: &Machine) -> Result<Vec<String>, RunError> {
        let files = RunFiles::new(&self.kernel)?;
        let mut qemu = self.qemu.command(machine, &self.xen, RunFiles::KERNEL, None);
        qemu.current_dir(files.directory.path()).stderr(files.errors()?);
        let mut process = Process::start(qemu).doing(|| "start QEMU by `setpriv` of util-linux".to_owned())?;
        let log = listen(&process, machine.boot_limit + machine.run_limit);
        if let Err(RunError::Cut { .. }) = &log {
            files.blame_qemu(&mut process)?;
        }
        log
    }
}

/// Listens until the kernel has said all.
fn listen(process: &Process, limit: Duration) -> Result<Vec<String>, RunError> {
    let (deadline, mut watch) = (Instant::now() + limit, Watch::new("text"));
    loop {
        match process.next(deadline) {
            Next::Line(line) => watch.line(&line).map_or(Ok(()), |ended| ended.map(drop))?,
            Next::Silence => return Err(watch.silence(Silence::Limit(limit))),
            Next::End => return Err(watch.silence(Silence::End)),
        }
        if watch.log_ends_with(TEXT_END) {
            return Ok(watch.take_log());
        }
    }
}

/// Follows a run to its end.
fn follow(process: &Process, machine: &Machine, command: &str, start: Instant) -> Result<Answer, RunError> {
    let mut watch = Watch::new(command);
    let (mut stage, mut since, mut boot) = (watch.stage(), start, Duration::ZERO);
    loop {
        let limit = match stage {
            Stage::Booting => machine.boot_limit,
            Stage::Running => machine.run_limit,
            Stage::Crashing(_) => CRASH_LIMIT,
        };
        let ended = match process.next(since + limit) {
            Next::Line(line) => watch.line(&line),
            Next::Silence => Some(Err(watch.silence(Silence::Limit(limit)))),
            Next::End => Some(Err(watch.silence(Silence::End))),
        };
        if let Some(bytes) = ended {
            return Ok(Answer { bytes: bytes?, log: watch.take_log(), boot, run: since.elapsed() });
        }
        if watch.stage() != stage {
            (stage, since) = (watch.stage(), Instant::now());
            if stage == Stage::Running {
                boot = since - start;
            }
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, FindError> {
    Ok(path.canonicalize().doing(|| format!("find `{}`", path.display()))?)
}

/// What QEMU is given as files, in a directory that goes with the run. QEMU runs in that directory, so
/// their names are free of what its option would take for separators.
struct RunFiles {
    directory: TempDir,
}

impl RunFiles {
    const KERNEL: &str = "kernel";
    const MODULE: &str = "module";
    const ERRORS: &str = "errors";

    fn new(kernel: &Path) -> Result<Self, RunError> {
        let directory = tempfile::tempdir().doing(|| "create a temporary directory".to_owned())?;
        symlink(kernel, directory.path().join(Self::KERNEL)).doing(|| "link the kernel".to_owned())?;
        Ok(Self { directory })
    }

    /// Writes what the kernel is to do.
    fn module(&self, command: &str, payload: &[u8]) -> Result<(), RunError> {
        let header = Request { command, payload }.header();
        let module = self.directory.path().join(Self::MODULE);
        let write = || {
            let mut file = File::create(&module)?;
            [&header[..], command.as_bytes(), payload].iter().try_for_each(|bytes| file.write_all(bytes))
        };
        write().doing(|| format!("write `{}`", module.display()))?;
        Ok(())
    }

    fn errors_path(&self) -> PathBuf {
        self.directory.path().join(Self::ERRORS)
    }

    /// Where QEMU's own messages go.
    fn errors(&self) -> Result<File, RunError> {
        Ok(File::create(self.errors_path()).doing(|| "keep QEMU's messages".to_owned())?)
    }

    /// Where a console ended because QEMU failed, that is the error.
    fn blame_qemu(&self, process: &mut Process) -> Result<(), RunError> {
        if !process.settle(END_LIMIT) {
            return Ok(());
        }
        let status = process.end().doing(|| "wait for QEMU".to_owned())?;
        if status.success() {
            return Ok(());
        }
        let output = fs::read_to_string(self.errors_path()).doing(|| "read QEMU's messages".to_owned())?;
        Err(RunError::Qemu { status: status.to_string(), output: output.trim().to_owned() })
    }
}
