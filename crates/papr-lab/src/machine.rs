//! One booted machine.
//!
//! Calls go through the guest's memory, which is a file, and the console says whose it is (`guest/main.c`).

use std::fs::File;
use std::io::{self, BufReader, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use tempfile::TempDir;

use crate::calls::Call;
use crate::pages::{PAGES, frame};
use crate::tools::{self, COMPILER, OBJCOPY, QEMU};

/// Bytes of the machine's memory: the least that it can have.
pub const MEMORY: u64 = 256 << 20;
/// Entries of its hashed page table: one for 2 KiB of memory.
pub const TABLE: u64 = MEMORY / 2048;

/// Where the mailbox is (`guest/main.c`), and the calls in it.
const MAILBOX: u64 = 1 << 20;
const CALLS: u64 = MAILBOX + 8;
/// Doublewords of a call: number or answer, and r4 to r12.
const WORDS: usize = 10;
/// Calls made by one bell.
const BATCH: usize = 4096;
/// How long a batch may take: it takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Without mitigations of the host's processor, about which the emulator would warn.
const PSERIES: &str = "pseries,memory-backend=ram,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off";
const CFLAGS: &str = "-mbig-endian -mabi=elfv2 -mcpu=power8 -mno-vsx -mno-altivec -msoft-float -O1 -Wall -Werror -ffreestanding \
    -fno-builtin -fno-pic -mcmodel=small -nostdlib -static -Wl,--build-id=none -Wl,-e,_start";

/// Why there is no machine, or no more.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A program is not there, and cannot be installed.
    #[error("{program} is missing, and {why}: install Debian's {packages}")]
    Missing {
        /// Which.
        program: &'static str,
        /// Where it is.
        packages: String,
        /// Why it was not installed.
        why: String,
    },
    /// The guest does not build.
    #[error("the guest does not build: {0}")]
    Build(String),
    /// Files or processes of the host.
    #[error("the host, {what}: {error}")]
    Host {
        /// Doing what.
        what: &'static str,
        /// What it said.
        error: io::Error,
    },
    /// The guest did not say what it had to.
    #[error("the guest was to say {expected:?} within {} s, and {found}", PATIENCE.as_secs())]
    Guest {
        /// The letter.
        expected: char,
        /// What came.
        found: String,
    },
}

fn host(what: &'static str) -> impl FnOnce(io::Error) -> LabError {
    move |error| LabError::Host { what, error }
}

/// What a call answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// r3.
    pub status: i64,
    /// r4 to r12.
    pub registers: [u64; 9],
}

/// A booted machine, with an empty hashed page table. It goes when it is dropped, and with the thread that booted it.
#[derive(Debug)]
pub struct Machine {
    qemu: Child,
    bell: ChildStdin,
    console: Receiver<u8>,
    memory: File,
    _directory: TempDir,
}

impl Machine {
    /// Finds or installs what is needed, builds the guest and boots it.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn boot() -> Result<Self, LabError> {
        let qemu = tools::need(QEMU)?;
        let directory = tempfile::tempdir().map_err(host("a directory for the guest"))?;
        let image = build(directory.path())?;
        let path = directory.path().join("memory");
        let memory = File::options().read(true).write(true).create_new(true).open(&path);
        let memory = memory.map_err(host("a file for the guest's memory"))?;
        memory.set_len(MEMORY).map_err(host("a file for the guest's memory"))?;
        let mut qemu = start(&qemu, &image, &path).map_err(host("starting the emulator"))?;
        let (Some(bell), Some(output)) = (qemu.stdin.take(), qemu.stdout.take()) else {
            return Err(host("the emulator's pipes")(io::ErrorKind::BrokenPipe.into()));
        };
        let machine = Self { qemu, bell, console: listen(output), memory, _directory: directory };
        machine.hear(b'r')?;
        machine.mark_frames()?;
        Ok(machine)
    }

    /// Each page that translations lead to begins with its address.
    fn mark_frames(&self) -> Result<(), LabError> {
        (0..PAGES)
            .map(frame)
            .try_for_each(|frame| self.memory.write_all_at(&frame.to_be_bytes(), frame))
            .map_err(host("marking the guest's memory"))
    }

    /// Makes calls, in this order.
    ///
    /// # Errors
    /// [`LabError`], if the machine does not answer.
    pub fn call(&mut self, calls: &[Call]) -> Result<Vec<Answer>, LabError> {
        let batches = calls.chunks(BATCH).map(|batch| self.batch(batch)).collect::<Result<Vec<_>, _>>()?;
        Ok(batches.concat())
    }

    fn batch(&mut self, calls: &[Call]) -> Result<Vec<Answer>, LabError> {
        let words = calls.iter().flat_map(|call| std::iter::once(call.number).chain(call.registers));
        let mut bytes: Vec<u8> = std::iter::once(calls.len() as u64).chain(words).flat_map(u64::to_be_bytes).collect();
        self.memory.write_all_at(&bytes, MAILBOX).map_err(host("writing the mailbox"))?;
        self.bell.write_all(b"g").and_then(|()| self.bell.flush()).map_err(host("the bell"))?;
        self.hear(b'd')?;
        bytes.truncate(calls.len() * WORDS * 8);
        self.memory.read_exact_at(&mut bytes, CALLS).map_err(host("reading the mailbox"))?;
        let (words, _) = bytes.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_be_bytes(*word)).collect();
        let (answers, _) = words.as_chunks::<WORDS>();
        Ok(answers.iter().map(|[status, registers @ ..]| answer(*status, *registers)).collect())
    }

    fn hear(&self, letter: u8) -> Result<(), LabError> {
        let found = match self.console.recv_timeout(PATIENCE) {
            Ok(found) if found == letter => return Ok(()),
            Ok(found) => format!("said {:?}", char::from(found)),
            Err(error) => error.to_string(),
        };
        Err(LabError::Guest { expected: char::from(letter), found })
    }

    /// Has the guest switch the machine off, and answers whether the emulator ended well.
    ///
    /// # Errors
    /// [`LabError`], if the host cannot say.
    pub fn off(mut self) -> Result<bool, LabError> {
        self.bell.write_all(b"q").and_then(|()| self.bell.flush()).map_err(host("the bell"))?;
        // The console ends with the emulator.
        let _ = self.console.recv_timeout(PATIENCE);
        self.qemu.wait().map(|status| status.success()).map_err(host("waiting for the emulator"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

const fn answer(status: u64, registers: [u64; 9]) -> Answer {
    Answer { status: status.cast_signed(), registers }
}

/// Compiles the guest; answers with its image.
fn build(directory: &Path) -> Result<PathBuf, LabError> {
    let (compiler, objcopy) = (tools::need(COMPILER)?, tools::need(OBJCOPY)?);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest");
    let (linked, image) = (directory.join("guest.elf"), directory.join("guest.bin"));
    let mut compile = Command::new(compiler);
    compile.args(CFLAGS.split_whitespace()).arg("-T").arg(source.join("guest.ld"));
    compile.args([source.join("start.S"), source.join("main.c")]).arg("-o").arg(&linked);
    tools::output(&mut compile).map_err(LabError::Build)?;
    let mut copy = Command::new(objcopy);
    tools::output(copy.args(["-O", "binary"]).args([&linked, &image])).map_err(LabError::Build)?;
    Ok(image)
}

/// The emulator dies with the thread that started it: a guest waits for its bell for ever.
fn start(qemu: &Path, image: &Path, memory: &Path) -> io::Result<Child> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(qemu).args(["-nodefaults", "-nographic", "-vga", "none", "-no-reboot"]);
    command.args(["-serial", "stdio", "-monitor", "none", "-cpu", "power9", "-M", PSERIES]).arg("-m");
    command.arg(format!("{}M", MEMORY >> 20)).arg("-object");
    command.arg(format!("memory-backend-file,id=ram,size={MEMORY},share=on,mem-path={}", memory.display()));
    command.arg("-bios").arg(image).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
}

/// What the console says, until it ends.
fn listen(output: ChildStdout) -> Receiver<u8> {
    let (send, console) = sync_channel(16);
    std::thread::spawn(move || {
        BufReader::new(output).bytes().map_while(Result::ok).try_for_each(|byte| send.send(byte))
    });
    console
}
