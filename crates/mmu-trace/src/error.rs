//! Why a trace cannot be read, and where.
//!
//! Every message is whole by itself: it says where, what, and what to do, so no error has a source to print after it.
//! A reader stops at its first error: what follows a damaged place cannot be trusted to belong to what came before it.

use std::io;

/// A trace cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The text of a trace is damaged, cut, or of a form this crate does not know.
    #[error("line {line}: {fault}")]
    Text {
        /// The 1-based line.
        line: u64,
        /// What is wrong with it.
        fault: TextFault,
    },
    /// A native trace is damaged, cut, or of another version.
    #[error("record {record} at byte {offset}: {fault}")]
    Native {
        /// How many records came before.
        record: u64,
        /// Offset of the damaged block in the (unpacked) input.
        offset: u64,
        /// What is wrong with it.
        fault: NativeFault,
    },
    /// There is nothing to read.
    #[error(
        "the input is empty: expected the text of tracing/trace, `trace-cmd report -l -r '.*'` or `perf script -s \
         perf-fields.py`, or a native trace, plain or gzip"
    )]
    Empty,
    /// The unpacked input is packed again.
    #[error("gzip inside gzip: unpack the trace once by hand")]
    NestedGzip,
    /// What trace-cmd or perf recorded, not yet printed.
    #[error("this is a recording of {tool} itself: print it with `{command}`, and read what that prints")]
    Recording {
        /// Who recorded it.
        tool: &'static str,
        /// What prints it.
        command: &'static str,
    },
    /// The input cannot be opened, or not even its first bytes be read.
    #[error("cannot read the input: {0}")]
    Open(io::Error),
}

/// What is wrong with a line of text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextFault {
    /// The input itself fails, for example a cut gzip stream.
    #[error("cannot read on, is the file cut? {0}")]
    Input(io::Error),
    /// A line is longer than any event can be.
    #[error("longer than {limit} bytes: not the text of an ftrace buffer")]
    TooLong {
        /// The bound, in bytes.
        limit: usize,
    },
    /// The last line has no end.
    #[error("the trace is cut in this line: copy it again in full")]
    Cut,
    /// The trace ends before all the entries its header names.
    #[error("the trace is cut here: its header names {promised} entries, {found} were found")]
    Missing {
        /// Entries the header names.
        promised: u64,
        /// Entries found.
        found: u64,
    },
    /// Nothing of the first line tells what the text is.
    #[error(
        "neither the text of `tracing/trace` nor of `trace-cmd report -l -r '.*'` nor of `perf script -s \
         perf-fields.py`, nor a native trace"
    )]
    NoForm,
    /// The columns every event starts with are not there.
    #[error("no `task-pid [cpu]` columns: expected a line of tracing/trace or of `trace-cmd report`")]
    NoTask,
    /// A column that `perf script` can leave out.
    #[error(
        "no `{missing}` column: print with `perf script -s perf-fields.py`, or with `-F comm,tid,cpu,time,event,trace`"
    )]
    Column {
        /// perf's word for it.
        missing: &'static str,
    },
    /// A vCPU number beyond [`MAX_VCPUS`](crate::event::MAX_VCPUS).
    #[error("cpu `{vcpu}` is beyond what a kernel can have")]
    Vcpu {
        /// The number.
        vcpu: u32,
    },
    /// The column of context characters holds something else.
    #[error("context columns `{found}` are not known")]
    Flags {
        /// What was found.
        found: Box<str>,
    },
    /// No time stamp follows the context.
    #[error("no time stamp after the cpu column")]
    NoStamp,
    /// Events are not in the order in which they happened.
    #[error("time stamp `{stamp}` comes after `{before}`: lines are repeated or out of order")]
    Backward {
        /// The stamp.
        stamp: u64,
        /// The one of the event before it.
        before: u64,
    },
    /// A task is on two vCPUs at once.
    #[error(
        "task {task} runs on vcpu {vcpu} here, and meanwhile it ran on vcpu {other}: the clock does not order vcpus, \
         record with the clock `counter` (perf: `-k CLOCK_MONOTONIC`)"
    )]
    TwoPlaces {
        /// The task.
        task: u32,
        /// The vCPU of this line.
        vcpu: u32,
        /// The other one.
        other: u32,
    },
    /// perf recorded an event twice.
    #[error("the last event of its vcpu again: perf recorded it twice, `perf-fields.py` leaves that out")]
    Repeated,
    /// perf lost events, and does not say where.
    #[error("perf lost events: record again with larger buffers (`perf record -m 64M`)")]
    Lost,
    /// Nothing follows the time stamp.
    #[error("no event after the time stamp")]
    NoEvent,
    /// A known event has not the fields it must have.
    #[error("`{event}`: expected {expected}, found `{found}`")]
    Field {
        /// The event.
        event: Box<str>,
        /// What should be there.
        expected: &'static str,
        /// What is there, shortened.
        found: Box<str>,
    },
    /// An event's fields were put into words by a tool that does not know the kernel's.
    #[error(
        "`{event}` is not printed as fields: trace-cmd and perf cannot put it into words rightly, print with `trace-cmd \
         report -l -r '.*'` or `perf script -s perf-fields.py` (docs/record-linux.md)"
    )]
    Rendered {
        /// The event.
        event: Box<str>,
    },
    /// A page table of a level that is not understood.
    #[error("`{event}`: table level `{level}` (Linux before 4.12 numbers levels otherwise and cannot be read)")]
    Level {
        /// The event.
        event: Box<str>,
        /// The number Linux printed.
        level: u64,
    },
    /// The line that counts the buffer's entries is not understood.
    #[error("`entries-in-buffer/entries-written` is not followed by two counts")]
    EntryCounts,
    /// A line says that events were lost, but not in a known form.
    #[error("lost events reported in an unknown form: expected `CPU:n [LOST n EVENTS]` or `CPU:n [n EVENTS DROPPED]`")]
    LostCount,
}

/// What is wrong with a native trace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NativeFault {
    /// The input itself fails.
    #[error("cannot read on: {0}")]
    Input(io::Error),
    /// The first bytes are not those of a native trace.
    #[error("not a native trace")]
    Magic,
    /// Written by another version of this crate.
    #[error("format version {found}, this reader knows {known}: convert the original trace again")]
    Version {
        /// The version found.
        found: u8,
        /// The version this crate reads and writes.
        known: u8,
    },
    /// The input ends before the end marker.
    #[error("the trace is cut: no end marker")]
    Cut,
    /// A block's size cannot be right.
    #[error("a block of {bytes} bytes and {records} records cannot be")]
    Block {
        /// Bytes it claims.
        bytes: u32,
        /// Records it claims.
        records: u32,
    },
    /// A block's bytes are not those that were written.
    #[error("checksum {found:#010x}, the block says {written:#010x}")]
    Checksum {
        /// Of the bytes found.
        found: u32,
        /// As written.
        written: u32,
    },
    /// A record cannot be decoded.
    #[error("{what} cannot be decoded")]
    Value {
        /// What of the record.
        what: &'static str,
    },
    /// A record has a tag this version does not know.
    #[error("record tag `{tag}` is not known")]
    Tag {
        /// The tag.
        tag: u8,
    },
    /// The end marker counts other records than were read.
    #[error("the end marker counts {written} records, {found} were read")]
    Count {
        /// As written.
        written: u64,
        /// As read.
        found: u64,
    },
    /// Bytes follow the end marker.
    #[error("bytes follow the end marker")]
    Trailing,
}
