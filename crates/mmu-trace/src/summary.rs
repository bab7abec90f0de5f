//! The account of a reading: what became of every line.
//!
//! At every moment of a reading `lines = notes + events + ignored + unknown_lines`. The account is complete when the
//! reader has returned `None`. A native trace carries the account of the text it was made from, so that converting a
//! trace never hides what was unknown in it or lost from it.

/// How many samples of unknown lines are kept.
pub const MAX_SAMPLES: usize = 16;

/// What became of the lines of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Lines read.
    pub lines: u64,
    /// Lines that are no event: headers, comments, stack dumps.
    pub notes: u64,
    /// Lines that became an [`Event`](crate::Event).
    pub events: u64,
    /// Events that are known and not needed, such as the second probe of one leave.
    pub ignored: u64,
    /// Events that are not known.
    pub unknown_lines: u64,
    /// The first [`MAX_SAMPLES`] of them; empty after reading a native trace.
    pub unknown: Vec<UnknownLine>,
    /// Events the recorder says it dropped between two that it kept. A gap without a count counts as one.
    pub lost: u64,
    /// Events that the header says were overwritten before the buffer was read.
    pub overwritten: u64,
    /// Entry addresses that are no kernel address: the kernel hashed its pointers (boot it with `no_hash_pointers`), so
    /// that addresses can be compared, but not computed with.
    pub hashed_slots: u64,
}

/// An event that is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownLine {
    /// The 1-based line.
    pub line: u64,
    /// The event's name.
    pub name: Box<str>,
}

impl Summary {
    /// Entries of the recorder's buffer that were read: every line that is not a note.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.events + self.ignored + self.unknown_lines
    }

    /// True if the recorder says that it kept everything.
    #[must_use]
    pub const fn complete(&self) -> bool {
        self.lost == 0 && self.overwritten == 0
    }

    /// The account of `events` events that came from no text.
    #[must_use]
    pub fn of_events(events: u64) -> Self {
        Self { lines: events, events, ..Self::default() }
    }

    /// Every count, in the order in which the native format stores them.
    pub(crate) fn counts(&self) -> [u64; 8] {
        let &Self { lines, notes, events, ignored, unknown_lines, lost, overwritten, hashed_slots, .. } = self;
        [lines, notes, events, ignored, unknown_lines, lost, overwritten, hashed_slots]
    }

    /// The inverse of [`Self::counts`].
    pub(crate) fn from_counts(counts: [u64; 8]) -> Self {
        let [lines, notes, events, ignored, unknown_lines, lost, overwritten, hashed_slots] = counts;
        Self { lines, notes, events, ignored, unknown_lines, unknown: Vec::new(), lost, overwritten, hashed_slots }
    }

    /// True if every line was accounted for.
    pub(crate) fn adds_up(&self) -> bool {
        let parts = [self.notes, self.events, self.ignored, self.unknown_lines];
        parts.iter().try_fold(0u64, |sum, &part| sum.checked_add(part)) == Some(self.lines)
    }

    pub(crate) fn note_unknown(&mut self, line: u64, name: &[u8]) {
        self.unknown_lines += 1;
        if self.unknown.len() < MAX_SAMPLES {
            self.unknown.push(UnknownLine { line, name: String::from_utf8_lossy(name).into() });
        }
    }
}
