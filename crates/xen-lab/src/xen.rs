//! Debian's Xen 4.17, unpacked below the target directory.
//!
//! The facts this project rests on were measured on exactly this version. The package is never
//! installed: its scripts would put it into `/boot` and into the boot menu.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::GzDecoder;

use crate::{
    error::{Doing as _, FindError, IoFailure},
    tools,
};

const PACKAGE: &str = "xen-hypervisor-4.17-amd64";
const VERSION: &str = "4.17.7+13-g2445b30a44-0+deb12u1";
/// The hypervisor in the package.
const IN_PACKAGE: &str = "boot/xen-4.17-amd64.gz";
/// The first bytes of a compressed file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The hypervisor's image, ready to boot. Looks in `directory`, which is the lab's own, and fetches
/// the package into it where `fetch` says so.
pub(crate) fn find(directory: &Path, fetch: bool) -> Result<PathBuf, FindError> {
    let image = directory.join(format!("xen-{VERSION}"));
    if image.is_file() {
        return Ok(image);
    }
    fs::create_dir_all(directory).doing(|| format!("create `{}`", directory.display()))?;
    let lock = directory.join("lock");
    let lock_file = File::create(&lock).doing(|| format!("create `{}`", lock.display()))?;
    lock_file.lock().doing(|| format!("lock `{}`", lock.display()))?;
    // Somebody else may have done it while this waited.
    if !image.is_file() {
        let package = package(directory, fetch)?;
        unpack(&package, directory, &image)?;
    }
    Ok(image)
}

/// The image named by the user, of whatever version, unpacked if it is compressed.
pub(crate) fn given(path: &Path, directory: &Path) -> Result<PathBuf, FindError> {
    let reading = || format!("read `{}`", path.display());
    let start = fs::read(path).doing(reading)?;
    if !start.starts_with(&GZIP) {
        return Ok(path.to_owned());
    }
    fs::create_dir_all(directory).doing(|| format!("create `{}`", directory.display()))?;
    let image = directory.join("xen-given");
    gunzip(path, &image)?;
    Ok(image)
}

fn missing(directory: &Path, reason: String) -> FindError {
    FindError::XenMissing { reason, package: PACKAGE, version: VERSION, directory: directory.to_owned() }
}

/// A package file of the right version in `directory`.
fn package(directory: &Path, fetch: bool) -> Result<PathBuf, FindError> {
    if let Some(package) = package_in(directory)? {
        return Ok(package);
    }
    if !fetch {
        return Err(missing(directory, format!("no package file in `{}`", directory.display())));
    }
    download(directory).map_err(|reason| missing(directory, reason))?;
    package_in(directory)?.ok_or_else(|| missing(directory, "what was downloaded is of another version".to_owned()))
}

fn package_in(directory: &Path) -> Result<Option<PathBuf>, FindError> {
    let entries = fs::read_dir(directory).doing(|| format!("read `{}`", directory.display()))?;
    let files = entries.flatten().map(|entry| entry.path());
    Ok(files.filter(|path| path.extension() == Some(OsStr::new("deb"))).find(|path| is_wanted(path)))
}

/// Whether dpkg says that a file is the package in the version wanted.
fn is_wanted(file: &Path) -> bool {
    let field = |name: &str| tools::output(Command::new("dpkg-deb").arg("-f").arg(file).arg(name));
    field("Package").as_deref() == Ok(PACKAGE) && field("Version").as_deref() == Ok(VERSION)
}

/// Has apt fetch the package, after a look at what the archive has now if need be.
fn download(directory: &Path) -> Result<(), String> {
    let wanted = format!("{PACKAGE}={VERSION}");
    let fetch = || tools::output(Command::new("apt-get").args(["download", &wanted]).current_dir(directory));
    if fetch().is_ok() {
        return Ok(());
    }
    if tools::is_root() {
        tools::output(Command::new("apt-get").arg("update"))?;
    }
    fetch().map(drop)
}

fn unpack(package: &Path, directory: &Path, image: &Path) -> Result<(), FindError> {
    let unpacked = directory.join("unpacked");
    tools::output(Command::new("dpkg-deb").arg("-x").arg(package).arg(&unpacked))
        .map_err(|reason| missing(directory, reason))?;
    gunzip(&unpacked.join(IN_PACKAGE), image)?;
    fs::remove_dir_all(&unpacked).doing(|| format!("remove `{}`", unpacked.display()))?;
    Ok(())
}

/// Unpacks `from` and moves the result into place when it is whole.
fn gunzip(from: &Path, to: &Path) -> Result<(), IoFailure> {
    let source = File::open(from).doing(|| format!("open `{}`", from.display()))?;
    let partial = to.with_extension("partial");
    let writing = || format!("unpack `{}` to `{}`", from.display(), to.display());
    let mut sink = File::create(&partial).doing(writing)?;
    io::copy(&mut GzDecoder::new(source), &mut sink).doing(writing)?;
    fs::rename(&partial, to).doing(writing)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    #[test]
    fn without_a_package_xen_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let error = find(directory.path(), false).unwrap_err();
        assert!(matches!(error, FindError::XenMissing { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(PACKAGE) && message.contains(VERSION) && message.contains("XEN_LAB_XEN"), "{message}");
    }

    #[test]
    fn what_dpkg_does_not_know_is_no_package() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(format!("{PACKAGE}_{VERSION}_amd64.deb")), "not a package").unwrap();
        assert!(matches!(find(directory.path(), false), Err(FindError::XenMissing { .. })));
    }

    #[test]
    fn a_given_image_is_unpacked_if_it_is_compressed() {
        let directory = tempfile::tempdir().unwrap();
        let (plain, packed) = (directory.path().join("plain"), directory.path().join("packed"));
        fs::write(&plain, "image").unwrap();
        let mut encoder = GzEncoder::new(File::create(&packed).unwrap(), Compression::fast());
        encoder.write_all(b"image").unwrap();
        encoder.finish().unwrap();
        assert_eq!(given(&plain, directory.path()).unwrap(), plain);
        let unpacked = given(&packed, &directory.path().join("lab")).unwrap();
        assert_eq!(fs::read(unpacked).unwrap(), b"image");
        assert!(matches!(given(Path::new("/nowhere"), directory.path()), Err(FindError::Io { .. })));
    }
}
