//! What goes wrong is told apart, says what to do, and leaves nothing behind.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use xen_lab::{FindError, Lab, RunError, Sources};

use crate::bench::{lab, machine, run};

/// The error of a run of the command that fails as it is asked to.
fn failure(how: &str) -> Option<RunError> {
    let lab = lab(how)?;
    let mut machine = machine(&format!("fail-{how}"));
    if how == "hang" {
        machine.run_limit = Duration::from_millis(500);
    }
    Some(run(lab, &machine, "fail", how.as_bytes()).unwrap_err())
}

#[test]
fn a_panic_is_a_crash_of_the_guest() {
    let Some(error) = failure("panic") else { return };
    let RunError::GuestCrash { received, lines } = &error else { panic!("{error}") };
    assert_eq!(received, b"the beginning of an answer");
    assert!(lines.0.iter().any(|line| line == "! as asked"), "{error}");
}

#[test]
fn a_trap_is_a_crash_of_the_guest_with_its_registers() {
    let Some(error) = failure("trap") else { return };
    let RunError::GuestCrash { lines, .. } = &error else { panic!("{error}") };
    assert!(lines.0.iter().any(|line| line.starts_with("! trap 14 on vcpu 0: error 0x0")), "{error}");
    assert!(lines.0.iter().any(|line| line.starts_with("! rax ")), "{error}");
}

#[test]
fn a_stack_that_overflows_is_a_crash_told_by_xen() {
    let Some(error) = failure("stack") else { return };
    let RunError::GuestCrash { lines, .. } = &error else { panic!("{error}") };
    assert!(lines.0.iter().any(|line| line.starts_with("(XEN) Domain 0 (vcpu#0) crashed")), "{error}");
}

#[test]
fn a_guest_that_hangs_is_given_up() {
    let Some(error) = failure("hang") else { return };
    let RunError::GuestHang { received, lines, .. } = &error else { panic!("{error}") };
    assert_eq!(received, b"the beginning of an answer");
    assert_eq!(lines.0.last().map(String::as_str), Some("> about to fail: hang"));
}

#[test]
fn an_answer_that_is_cut_garbled_or_incomplete_is_no_answer() {
    let Some(cut) = failure("cut") else { return };
    assert!(matches!(&cut, RunError::Cut { received, .. } if received == b"the beginning of an answer"), "{cut}");
    let Some(garbled) = failure("garble") else { return };
    assert!(matches!(&garbled, RunError::BadChecksum { line, .. } if line.starts_with("@Dnot")), "{garbled}");
    let Some(lost) = failure("lose") else { return };
    assert!(matches!(&lost, RunError::Lost { expected: 1, found: 2, .. }), "{lost}");
}

#[test]
fn a_kernel_that_does_not_start_in_time_is_given_up() {
    let Some(lab) = lab("boot timeout") else { return };
    let mut machine = machine("boot-timeout");
    machine.boot_limit = Duration::from_millis(100);
    let error = run(lab, &machine, "hello", b"").unwrap_err();
    assert!(matches!(&error, RunError::BootTimeout { .. }), "{error}");
}

#[test]
fn a_xen_that_cannot_start_its_domain_has_crashed() {
    if lab("hypervisor crash").is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut sources = Sources::from_environment();
    sources.kernel = Some(file(&directory, "kernel", "no kernel at all"));
    let lab = Lab::with(&sources).unwrap();
    let error = run(&lab, &machine("hypervisor-crash"), "hello", b"").unwrap_err();
    let RunError::HypervisorCrash { lines, .. } = &error else { panic!("{error}") };
    assert!(lines.0.iter().any(|line| line.starts_with("(XEN) Panic on CPU 0")), "{error}");
}

fn file(directory: &TempDir, name: &str, content: &str) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

/// A lab whose QEMU is a shell script.
fn fake(directory: &TempDir, script: &str) -> Lab {
    let text = format!("#!/bin/sh\n[ \"$1\" = --version ] && echo 'QEMU emulator version 7.2.0' && exit\n{script}\n");
    let qemu = file(directory, "qemu", &text);
    fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
    let mut sources = Sources::from_environment();
    sources.qemu = Some(qemu);
    sources.xen = Some(file(directory, "xen", "a hypervisor"));
    sources.kernel = Some(file(directory, "kernel", "a kernel"));
    Lab::with(&sources).unwrap()
}

#[test]
fn a_qemu_that_fails_is_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let lab = fake(&directory, "echo 'no such machine' >&2; exit 3");
    let error = run(&lab, &machine("fake-failing"), "hello", b"").unwrap_err();
    assert!(matches!(&error, RunError::Qemu { output, .. } if output == "no such machine"), "{error}");
}

#[test]
fn a_qemu_that_ends_before_the_answer_has_cut_it() {
    let directory = tempfile::tempdir().unwrap();
    let lab = fake(&directory, "echo '(XEN) Xen version'");
    let error = run(&lab, &machine("fake-ending"), "hello", b"").unwrap_err();
    assert!(matches!(&error, RunError::Cut { received, .. } if received.is_empty()), "{error}");
}

#[test]
fn a_qemu_that_does_not_listen_is_killed_with_its_children() {
    let directory = tempfile::tempdir().unwrap();
    let lab = fake(&directory, "trap '' TERM INT HUP; sh -c 'sleep 1000; :' \"$@\" & sh -c 'sleep 1000; :' \"$@\"; :");
    let mut machine = machine("fake-deaf");
    machine.boot_limit = Duration::from_millis(300);
    let error = run(&lab, &machine, "hello", b"").unwrap_err();
    assert!(matches!(&error, RunError::BootTimeout { .. }), "{error}");
}

#[test]
fn what_is_missing_is_named_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let mut sources = Sources::from_environment();
    (sources.fetch, sources.directory) = (false, directory.path().to_owned());
    sources.qemu = Some(PathBuf::from("/no/such/qemu"));
    let error = Lab::with(&sources).unwrap_err();
    assert!(matches!(error, FindError::QemuMissing { .. }) && error.to_string().contains("apt-get install"), "{error}");

    sources.qemu = Some(fake_version(&directory));
    let error = Lab::with(&sources).unwrap_err();
    assert!(matches!(error, FindError::XenMissing { .. }) && error.to_string().contains("4.17.7"), "{error}");

    sources.xen = Some(Path::new("/no/such/xen").to_owned());
    assert!(matches!(Lab::with(&sources), Err(FindError::Io { .. })));
}

fn fake_version(directory: &TempDir) -> PathBuf {
    let qemu = file(directory, "qemu", "#!/bin/sh\necho 'QEMU emulator version 7.2.0'\n");
    fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
    qemu
}
