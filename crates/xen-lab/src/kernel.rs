//! The kernel, built from its own workspace with its own code generation.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{error::FindError, tools};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds the kernel with these features of its package below the target directory, unless it is up to
/// date, and answers with its image. Each set of features has a place of its own.
///
/// # Errors
/// [`FindError::KernelBuild`] with what cargo said.
pub fn build_kernel(features: &[&str]) -> Result<PathBuf, FindError> {
    let directory = tools::workspace().join("crates/xen-guest/kernel");
    let name = [&["xen-guest"], features].concat().join("-");
    let target = tools::target().join(name);
    let built = tools::output(cargo(&directory, &target).args(["--features", &features.join(",")]));
    match built {
        Ok(_) => Ok(target.join(TARGET).join("release/lab-kernel")),
        Err(output) => Err(FindError::KernelBuild { directory, output }),
    }
}

fn cargo(directory: &Path, target: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(program);
    // The kernel's flags are in its own cargo configuration, which is found from its directory and
    // which flags in the environment would replace.
    cargo.current_dir(directory);
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER"] {
        cargo.env_remove(variable);
    }
    cargo.args(["build", "--release", "--locked", "--quiet", "--target", TARGET, "--target-dir"]).arg(target);
    cargo
}
