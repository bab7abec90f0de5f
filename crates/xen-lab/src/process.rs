//! A program in a process group of its own, whose output is read line by line, and of which nothing is
//! left when it is dropped.
//!
//! The thread that reads the output is also the one that starts the program, and it lives until the program
//! has been waited for, because a program that asks to die with its parent dies with the parent *thread*.

use std::io::{self, BufRead, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// Bytes of a line that are kept; what is longer is several lines.
const LINE_LIMIT: u64 = 4096;
/// Lines that may wait to be looked at.
const WAITING: usize = 1024;

/// What the output brought.
#[derive(Debug)]
pub(crate) enum Next {
    /// A line, without its end.
    Line(Vec<u8>),
    /// Nothing until the deadline.
    Silence,
    /// There is no more.
    End,
}

/// A running program.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// Taken before the reader is waited for, which it may keep from ending.
    lines: Option<Receiver<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    /// The reader lives until this is dropped.
    hold: Option<SyncSender<()>>,
}

impl Process {
    /// Starts a program, without input.
    pub(crate) fn start(command: Command) -> io::Result<Self> {
        let (send_child, child) = sync_channel(1);
        let (send_lines, lines) = sync_channel(WAITING);
        let (hold, held) = sync_channel::<()>(0);
        let reader = thread::Builder::new().name("console".to_owned()).spawn(move || {
            if let Some(output) = spawn(command, &send_child) {
                read_lines(output, &send_lines);
            }
            drop(send_lines);
            // Nothing is ever sent: this ends when the other side is dropped.
            let _ = held.recv();
        })?;
        let child = child.recv().map_err(io::Error::other)??;
        Ok(Self { child, lines: Some(lines), reader: Some(reader), hold: Some(hold) })
    }

    /// Waits for a line until `deadline`.
    pub(crate) fn next(&self, deadline: Instant) -> Next {
        let Some(lines) = &self.lines else { return Next::End };
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => Next::Line(line),
            Err(RecvTimeoutError::Timeout) => Next::Silence,
            Err(RecvTimeoutError::Disconnected) => Next::End,
        }
    }

    /// Gives the program until `limit` to end by itself; answers whether it has.
    pub(crate) fn settle(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while !self.has_ended() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        self.has_ended()
    }

    /// Looks without collecting the status: until that is done, the process's number is its own.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.pid()), options).is_ok_and(|status| status.is_some())
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Ends the program, if it has not ended by itself, and answers how it ended.
    pub(crate) fn end(&mut self) -> io::Result<ExitStatus> {
        // The group first: while its leader has not been waited for, its number is nobody else's.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let status = self.child.wait();
        drop((self.lines.take(), self.hold.take()));
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn spawn(mut command: Command, send_child: &SyncSender<io::Result<Child>>) -> Option<ChildStdout> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).spawn();
    let (child, output) = match child {
        Ok(mut child) => {
            let output = child.stdout.take();
            (Ok(child), output)
        }
        Err(error) => (Err(error), None),
    };
    send_child.send(child).ok()?;
    output
}

fn read_lines(output: ChildStdout, lines: &SyncSender<Vec<u8>>) {
    let mut output = BufReader::new(output);
    loop {
        let mut line = Vec::new();
        match output.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        line.truncate(line.trim_ascii_end().len());
        if lines.send(line).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::test_kill_process_group;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    fn group_exists(group: Pid) -> bool {
        test_kill_process_group(group).is_ok()
    }

    #[test]
    fn lines_come_one_by_one_and_end() {
        let process = Process::start(shell("printf 'one\\r\\ntwo\\nthree'")).unwrap();
        for expected in ["one", "two", "three"] {
            assert!(matches!(process.next(soon()), Next::Line(line) if line == expected.as_bytes()));
        }
        assert!(matches!(process.next(soon()), Next::End));
    }

    #[test]
    fn an_endless_line_does_not_fill_the_memory() {
        let process = Process::start(shell("yes | tr -d '\\n'")).unwrap();
        assert!(matches!(process.next(soon()), Next::Line(line) if line.len() as u64 == LINE_LIMIT));
    }

    #[test]
    fn silence_ends_at_the_deadline() {
        let process = Process::start(shell("sleep 1000")).unwrap();
        assert!(matches!(process.next(Instant::now() + Duration::from_millis(50)), Next::Silence));
    }

    #[test]
    fn nothing_of_a_dropped_process_is_left() {
        let script = "trap '' TERM INT HUP; sleep 1000 & sleep 1000 & echo ready; while :; do sleep 1000; done";
        let process = Process::start(shell(script)).unwrap();
        assert!(matches!(process.next(soon()), Next::Line(line) if line == b"ready"));
        let group = process.pid();
        assert!(group_exists(group) && !only_zombies(group), "the check sees a group that exists");
        drop(process);
        assert!(gone(group), "a process of the group is left");
    }

    /// Killed children of the shell are another process's to wait for, and stay visible until then.
    fn gone(group: Pid) -> bool {
        (0..100).any(|_| {
            thread::sleep(Duration::from_millis(20));
            !group_exists(group) || only_zombies(group)
        })
    }

    fn only_zombies(group: Pid) -> bool {
        let stats = std::fs::read_dir("/proc").unwrap().flatten();
        let stats = stats.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
        let mut members = stats.filter_map(|stat| {
            let (_, fields) = stat.rsplit_once(") ")?;
            let fields: Vec<&str> = fields.split(' ').collect();
            (fields[2] == group.as_raw_nonzero().to_string()).then(|| fields[0].to_owned())
        });
        members.all(|state| state == "Z")
    }

    #[test]
    fn a_process_may_end_by_itself() {
        let mut process = Process::start(shell("exit 7")).unwrap();
        assert!(process.settle(Duration::from_secs(5)));
        assert_eq!(process.end().unwrap().code(), Some(7));
    }

    #[test]
    fn a_process_that_dies_with_its_parent_outlives_its_output() {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "sh", "-c", "exec >&-; sleep 0.2; exit 7"]);
        let mut process = Process::start(command).unwrap();
        assert!(matches!(process.next(soon()), Next::End));
        assert!(process.settle(Duration::from_secs(5)));
        assert_eq!(process.end().unwrap().code(), Some(7));
    }

    #[test]
    fn what_cannot_be_started_is_an_error() {
        assert!(Process::start(Command::new("/no/such/program")).is_err());
    }
}
