//! QEMU: where it is, and how it is told what to run.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{
    error::FindError,
    machine::{Clock, Machine},
    tools,
};

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGES: [&str; 2] = ["qemu-system-x86", "seabios"];

/// The processor model QEMU emulates: one that both Xen 4.17 and Debian's Linux run on.
pub const CPU_MODEL: &str = "Haswell-noTSX";

/// A QEMU for x86-64.
#[derive(Clone, Debug)]
pub(crate) struct Qemu {
    program: PathBuf,
    /// Major and minor version.
    version: (u32, u32),
    /// The version with whatever else QEMU says of it.
    told: String,
}

/// QEMU as `given`, else the one in the search path, else, where `fetch` says so and the caller is
/// root, the one Debian has.
pub(crate) fn find(given: Option<&Path>, fetch: bool) -> Result<Qemu, FindError> {
    let program = match given {
        Some(program) => program.to_owned(),
        None => match tools::in_path(PROGRAM) {
            Some(program) => program,
            None => install(fetch)?,
        },
    };
    let said =
        tools::output(Command::new(&program).arg("--version")).map_err(|reason| FindError::QemuMissing { reason })?;
    let version = parse_version(&said)
        .ok_or_else(|| FindError::QemuMissing { reason: format!("`{}` is no QEMU", program.display()) })?;
    let told = said.lines().next().and_then(|line| line.split_once("version ")).map_or("", |(_, told)| told);
    Ok(Qemu { program, version, told: told.to_owned() })
}

fn install(fetch: bool) -> Result<PathBuf, FindError> {
    let missing = |reason: String| FindError::QemuMissing { reason };
    let absent = format!("there is no `{PROGRAM}` in the search path");
    if !fetch || !tools::is_root() {
        return Err(missing(absent));
    }
    let apt = |arguments: &[&str]| {
        tools::output(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    let install: Vec<&str> = ["-o", "DPkg::Lock::Timeout=120", "install", "-y", "--no-install-recommends"]
        .into_iter()
        .chain(PACKAGES)
        .collect();
    if apt(&install).is_err() {
        apt(&["update"]).map_err(missing)?;
        apt(&install).map_err(missing)?;
    }
    tools::in_path(PROGRAM).ok_or_else(|| missing(absent))
}

fn parse_version(said: &str) -> Option<(u32, u32)> {
    let (_, rest) = said.split_once("version ")?;
    let mut numbers = rest.split(|character: char| !character.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

impl Qemu {
    /// Its version, with the package's where it says so.
    pub(crate) fn version(&self) -> &str {
        &self.told
    }

    /// The command that runs `xen` with `kernel` as its domain 0 and `module` as the kernel's boot
    /// module. The two are file names without commas and spaces, which QEMU's list has as separators.
    pub(crate) fn command(&self, machine: &Machine, xen: &Path, kernel: &str, module: Option<&str>) -> Command {
        let console = format!(
            "console=com1 com1=115200,8n1 dom0_mem={}M dom0_max_vcpus={} {}",
            machine.domain_memory, machine.vcpus, machine.xen_arguments
        );
        // QEMU ends when the thread that started it does: nothing of a killed lab goes on.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program);
        command.args(["-no-user-config", "-display", "none", "-monitor", "none", "-serial", "stdio"]);
        command.args(["-nic", "none", "-no-reboot", "-cpu", CPU_MODEL]);
        command.args(["-m", &machine.memory.to_string(), "-smp", &machine.processors.to_string()]);
        command.args(self.acceleration(machine));
        command.arg("-kernel").arg(xen).args(["-append", console.trim_end()]);
        let module = module.map_or_else(String::new, |module| format!(",{module}"));
        command.args(["-initrd", &format!("{kernel} {}{module}", machine.kernel_arguments)]);
        command
    }

    fn acceleration(&self, machine: &Machine) -> Vec<String> {
        let threads = if machine.processors > 1 && machine.clock == Clock::Host { "multi" } else { "single" };
        let mut words = vec!["-accel".to_owned(), format!("tcg,thread={threads}")];
        match machine.clock {
            Clock::Host => {}
            Clock::Instructions => words.extend(["-icount", "shift=0,sleep=off"].map(str::to_owned)),
            // The option became a property in 8.1 and was taken away in 9.1.
            Clock::SingleStep if self.version < (8, 1) => words.push("-singlestep".to_owned()),
            Clock::SingleStep => words[1].push_str(",one-insn-per-tb=on"),
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(version: (u32, u32), machine: &Machine) -> String {
        let qemu = Qemu { program: PathBuf::from("/usr/bin/qemu"), version, told: String::new() };
        let command = qemu.command(machine, Path::new("/x/xen"), "kernel", Some("module"));
        command.get_args().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn versions_are_read_from_what_qemu_says() {
        let said = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright";
        assert_eq!(parse_version(said), Some((7, 2)));
        assert_eq!(parse_version("bash, version five"), None);
        assert_eq!(parse_version(""), None);
    }

    #[test]
    fn clocks_have_their_options() {
        let with = |clock, processors| Machine { clock, processors, ..Machine::default() };
        assert!(words((7, 2), &with(Clock::Host, 2)).contains("thread=multi"));
        assert!(words((7, 2), &with(Clock::Instructions, 1)).contains("-icount shift=0,sleep=off"));
        assert!(words((7, 2), &with(Clock::SingleStep, 1)).contains("-singlestep"));
        assert!(words((8, 1), &with(Clock::SingleStep, 1)).contains("one-insn-per-tb=on"));
    }

    #[test]
    fn kernel_arguments_and_module_share_a_list() {
        let machine = Machine { kernel_arguments: "a=1 b".to_owned(), ..Machine::default() };
        assert!(words((7, 2), &machine).ends_with("-initrd kernel a=1 b,module"));
    }

    #[test]
    fn what_is_no_qemu_is_a_missing_qemu() {
        for program in ["/no/such/program", "/bin/true"] {
            let error = find(Some(Path::new(program)), false).unwrap_err();
            assert!(matches!(error, FindError::QemuMissing { .. }), "{program}: {error}");
            assert!(error.to_string().contains("apt-get install qemu-system-x86 seabios"));
        }
    }
}
