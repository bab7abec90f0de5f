//! What the lines of a run's console amount to. It knows no process and no clock, only lines and the
//! three ways in which there are no more of them.

use std::collections::VecDeque;
use std::time::Duration;

use xen_wire::{Frame, FrameKind, LAST_LINE, Line};

use crate::{
    answer::Assembly,
    error::{Lines, RunError},
};

/// Lines that are kept for a message.
const KEPT: usize = 30;
/// Xen is about to stop the machine, and has said everything.
const XEN_LAST_LINES: [&str; 2] = ["Hardware Dom0 crashed", "Reboot in five seconds"];

/// How far a run has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Firmware, Xen, the kernel's start.
    Booting,
    /// The kernel carries out the command.
    Running,
    /// Somebody has crashed and is saying so.
    Crashing(Culprit),
}

/// Who crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Culprit {
    Guest,
    Hypervisor,
}

/// Why no more lines are to come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Silence {
    /// The stage's time is over.
    Limit(Duration),
    /// The console has ended.
    End,
}

/// One run's console.
#[derive(Debug)]
pub(crate) struct Watch {
    command: String,
    stage: Stage,
    assembly: Assembly,
    log: Vec<String>,
    tail: VecDeque<String>,
}

impl Watch {
    /// Before the first line of a run of `command`.
    pub(crate) fn new(command: &str) -> Self {
        Self {
            command: command.to_owned(),
            stage: Stage::Booting,
            assembly: Assembly::default(),
            log: Vec::new(),
            tail: VecDeque::new(),
        }
    }

    pub(crate) const fn stage(&self) -> Stage {
        self.stage
    }

    /// What the kernel has logged.
    pub(crate) fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    /// Takes a line; answers with the end of the run when it is that.
    pub(crate) fn line(&mut self, line: &[u8]) -> Option<Result<Vec<u8>, RunError>> {
        let parsed = Line::parse(line);
        if !matches!(parsed, Line::Frame(Ok(_))) {
            self.keep(line);
        }
        match parsed {
            Line::Frame(Ok(frame)) => self.frame(&frame),
            Line::Frame(Err(error)) if self.stage == Stage::Running => {
                let line = String::from_utf8_lossy(line).into_owned();
                Some(Err(RunError::BadChecksum { error, line, received: self.assembly.take() }))
            }
            Line::Log(text) => {
                self.log.push(String::from_utf8_lossy(text).into_owned());
                None
            }
            Line::LastWords(text) => {
                self.crashing(Culprit::Guest);
                (text == LAST_LINE.as_bytes()).then(|| Err(self.crash()))
            }
            Line::Hypervisor(text) => self.hypervisor(&String::from_utf8_lossy(text)),
            // Before the kernel runs, a line that looks like a frame is the firmware's.
            Line::Frame(Err(_)) | Line::Other(_) => None,
        }
    }

    fn frame(&mut self, frame: &Frame) -> Option<Result<Vec<u8>, RunError>> {
        match frame.kind() {
            FrameKind::Ready => {
                self.stage = Stage::Running;
                None
            }
            FrameKind::Data => self.assembly.add(frame).err().map(Err),
            FrameKind::End => Some(self.assembly.finish(frame)),
            FrameKind::Refused => Some(Err(RunError::Refused {
                command: self.command.clone(),
                reason: String::from_utf8_lossy(frame.payload()).into_owned(),
            })),
        }
    }

    fn hypervisor(&mut self, text: &str) -> Option<Result<Vec<u8>, RunError>> {
        if text.starts_with("Panic on CPU") || text.contains("FATAL TRAP") || text.starts_with("Xen BUG at") {
            self.crashing(Culprit::Hypervisor);
        } else if text.starts_with("Domain 0 (vcpu#") && text.contains("crashed") {
            self.crashing(Culprit::Guest);
        }
        let is_last = XEN_LAST_LINES.iter().any(|last| text.starts_with(last));
        (is_last && matches!(self.stage, Stage::Crashing(_))).then(|| Err(self.crash()))
    }

    /// The first to crash is to blame; a hypervisor's crash outweighs the guest's that led to it.
    fn crashing(&mut self, culprit: Culprit) {
        if culprit == Culprit::Hypervisor || !matches!(self.stage, Stage::Crashing(_)) {
            self.stage = Stage::Crashing(culprit);
        }
    }

    fn crash(&mut self) -> RunError {
        let (received, lines) = (self.assembly.take(), self.lines());
        match self.stage {
            Stage::Crashing(Culprit::Hypervisor) => RunError::HypervisorCrash { received, lines },
            _ => RunError::GuestCrash { received, lines },
        }
    }

    /// What it means that there are no more lines.
    pub(crate) fn silence(&mut self, silence: Silence) -> RunError {
        match (self.stage, silence) {
            (Stage::Crashing(_), _) => self.crash(),
            (Stage::Booting, Silence::Limit(limit)) => RunError::BootTimeout { limit, lines: self.lines() },
            (Stage::Running, Silence::Limit(limit)) => {
                RunError::GuestHang { limit, received: self.assembly.take(), lines: self.lines() }
            }
            (Stage::Booting | Stage::Running, Silence::End) => {
                RunError::Cut { received: self.assembly.take(), lines: self.lines() }
            }
        }
    }

    /// Whether this is the last line of the kernel's log so far.
    pub(crate) fn log_ends_with(&self, text: &str) -> bool {
        self.log.last().is_some_and(|line| line == text)
    }

    fn keep(&mut self, line: &[u8]) {
        if self.tail.len() == KEPT {
            self.tail.pop_front();
        }
        self.tail.push_back(String::from_utf8_lossy(line).into_owned());
    }

    fn lines(&self) -> Lines {
        Lines(self.tail.iter().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use xen_wire::{LINE_BYTES, Total};

    use super::*;

    const LIMIT: Silence = Silence::Limit(Duration::from_secs(1));

    fn frame(kind: FrameKind, number: u32, payload: &[u8]) -> Vec<u8> {
        let frame = Frame::new(kind, number, payload).unwrap();
        frame.encode(&mut [0; LINE_BYTES]).trim_ascii_end().to_vec()
    }

    fn ready() -> Vec<u8> {
        frame(FrameKind::Ready, 0, b"")
    }

    /// What a console that goes like this and then falls silent amounts to.
    fn outcome(lines: &[&[u8]], silence: Silence) -> Result<Vec<u8>, RunError> {
        let mut watch = Watch::new("test");
        let ended = lines.iter().find_map(|line| watch.line(line));
        ended.unwrap_or_else(|| Err(watch.silence(silence)))
    }

    #[test]
    fn an_answer_among_other_lines() {
        let total = Total { len: 3, checksum: crc32fast::hash(b"yes") };
        let (data, end) = (frame(FrameKind::Data, 0, b"yes"), frame(FrameKind::End, 1, &total.to_payload()));
        let mut watch = Watch::new("test");
        for line in [b"SeaBIOS", &b"(XEN) Xen version"[..], &ready(), b"> working", b"(XEN) hm", &data] {
            assert!(watch.line(line).is_none());
        }
        assert_eq!(watch.line(&end).unwrap().unwrap(), b"yes");
        assert_eq!(watch.take_log(), ["working"]);
    }

    #[test]
    fn silence_means_what_the_stage_says() {
        assert!(matches!(outcome(&[b"(XEN) Xen"], LIMIT), Err(RunError::BootTimeout { .. })));
        assert!(matches!(outcome(&[&ready()], LIMIT), Err(RunError::GuestHang { .. })));
        assert!(matches!(outcome(&[b"(XEN) Xen"], Silence::End), Err(RunError::Cut { .. })));
        assert!(matches!(outcome(&[&ready(), b"! panicked"], LIMIT), Err(RunError::GuestCrash { .. })));
    }

    #[test]
    fn what_has_arrived_survives_a_cut() {
        let data = frame(FrameKind::Data, 0, b"half");
        let Err(RunError::Cut { received, .. }) = outcome(&[&ready(), &data], Silence::End) else { panic!("not cut") };
        assert_eq!(received, b"half");
    }

    #[test]
    fn a_garbled_frame_is_told_with_its_line() {
        let mut data = frame(FrameKind::Data, 0, b"half");
        data[9] ^= 1;
        let error = outcome(&[&ready(), &data], LIMIT).unwrap_err();
        assert!(matches!(&error, RunError::BadChecksum { line, .. } if line.as_bytes() == data), "{error}");
        assert!(matches!(outcome(&[&data], LIMIT), Err(RunError::BootTimeout { .. })), "not yet the kernel's");
    }

    #[test]
    fn a_crash_is_told_by_whoever_crashed() {
        let last = format!("! {LAST_LINE}");
        let guest: [&[u8]; 3] = [&ready(), b"! panicked at x", last.as_bytes()];
        let error = outcome(&guest, LIMIT).unwrap_err();
        assert!(matches!(&error, RunError::GuestCrash { lines, .. } if lines.0.len() == 2), "{error}");
        assert!(error.to_string().contains("panicked at x"));

        let by_xen: [&[u8]; 3] =
            [&ready(), b"(XEN) Domain 0 (vcpu#0) crashed on cpu#0:", b"(XEN) Hardware Dom0 crashed: x"];
        assert!(matches!(outcome(&by_xen, LIMIT), Err(RunError::GuestCrash { .. })));

        let xen: [&[u8]; 3] =
            [b"(XEN) Panic on CPU 0:", b"(XEN) Could not construct d0", b"(XEN) Reboot in five seconds..."];
        assert!(matches!(outcome(&xen, LIMIT), Err(RunError::HypervisorCrash { .. })));
        let both: [&[u8]; 3] = [&ready(), b"! trap 8", b"(XEN) Xen BUG at mm.c:1"];
        assert!(matches!(outcome(&both, LIMIT), Err(RunError::HypervisorCrash { .. })));
    }

    #[test]
    fn a_domain_that_ends_regularly_has_not_crashed() {
        let lines: [&[u8]; 2] = [&ready(), b"(XEN) Hardware Dom0 shutdown: rebooting machine"];
        assert!(matches!(outcome(&lines, Silence::End), Err(RunError::Cut { .. })));
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut watch = Watch::new("test");
        (0..100).for_each(|number| assert!(watch.line(format!("line {number}").as_bytes()).is_none()));
        let RunError::Cut { lines, .. } = watch.silence(Silence::End) else { panic!("not cut") };
        assert_eq!((lines.0.len(), lines.0.last().map(String::as_str)), (KEPT, Some("line 99")));
    }
}
