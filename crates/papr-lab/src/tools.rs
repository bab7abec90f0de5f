//! The emulator and the compiler for its guest: found, or fetched where packages may be installed.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::machine::LabError;

/// Program, and the Debian packages it needs.
pub(crate) type Tool = (&'static str, &'static [&'static str]);

pub(crate) const QEMU: Tool = ("qemu-system-ppc64", &["qemu-system-ppc", "qemu-system-data"]);
pub(crate) const COMPILER: Tool =
    ("powerpc64-linux-gnu-gcc", &["gcc-powerpc64-linux-gnu", "binutils-powerpc64-linux-gnu"]);
pub(crate) const OBJCOPY: Tool = ("powerpc64-linux-gnu-objcopy", &["binutils-powerpc64-linux-gnu"]);

/// Tests boot machines side by side, and packages are installed one after the other.
static INSTALLING: Mutex<()> = Mutex::new(());

/// The program, installed if need be.
pub(crate) fn need((program, packages): Tool) -> Result<PathBuf, LabError> {
    let _one = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = in_path(program) {
        return Ok(found);
    }
    let missing = |why: String| LabError::Missing { program, packages: packages.join(" "), why };
    if !rustix::process::geteuid().is_root() {
        return Err(missing("only root may install packages".to_owned()));
    }
    let install = || {
        let options = ["-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends"];
        output(Command::new("apt-get").args(options).args(packages))
    };
    // A machine that is new has no lists of packages.
    let listed = || output(Command::new("apt-get").arg("update")).and_then(|_| install());
    install().or_else(|_| listed()).map_err(missing)?;
    in_path(program).ok_or_else(|| missing("its packages are installed, but it is not in the search path".to_owned()))
}

fn in_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|directory| directory.join(program)).find(|path| path.is_file())
}

/// Runs a program to its end.
///
/// # Errors
/// The command and what it said.
pub(crate) fn output(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{command:?} ended with {}: {said}", output.status)) }
}
