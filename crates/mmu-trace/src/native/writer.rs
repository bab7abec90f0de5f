//! Writes the native format.

use std::io::{self, Write};

use flate2::Crc;

use super::pass::Encoder;
use super::{BLOCK_TARGET, MAGIC, MAX_TEXT, VERSION, fields};
use crate::event::{EntryFlags, Event, MAX_VCPUS};
use crate::summary::Summary;

/// Writes events as a native trace. Nothing is a trace before [`Writer::finish`] has returned: a writer that is dropped
/// leaves a cut one, which every reader refuses.
pub struct Writer<W> {
    output: W,
    encoder: Encoder,
    origin: (u32, u32, EntryFlags),
    in_block: u32,
    written: u64,
}

/// A trace cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The output fails.
    #[error("cannot write the trace: {0}")]
    Output(io::Error),
    /// An event cannot be stored. Nothing of it was written.
    #[error("line {line}: an event of a vcpu beyond {MAX_VCPUS} or with a text of over {MAX_TEXT} bytes")]
    Event {
        /// The event's line.
        line: u64,
    },
    /// The account given to [`Writer::finish`] is of other events.
    #[error("the account is of {accounted} events, {written} were written")]
    Account {
        /// Events of the account.
        accounted: u64,
        /// Events written.
        written: u64,
    },
}

impl<W: Write> Writer<W> {
    /// Begins a trace on `output`.
    ///
    /// # Errors
    /// [`WriteError::Output`].
    pub fn new(mut output: W) -> Result<Self, WriteError> {
        output.write_all(&MAGIC).map_err(WriteError::Output)?;
        output.write_all(&[VERSION]).map_err(WriteError::Output)?;
        Ok(Self { output, encoder: Encoder::default(), origin: Default::default(), in_block: 0, written: 0 })
    }

    /// Appends an event.
    ///
    /// # Errors
    /// [`WriteError::Event`] if it cannot be stored, after which writing may go on; [`WriteError::Output`].
    pub fn write(&mut self, event: &Event) -> Result<(), WriteError> {
        let (length, lanes, origin) = (self.encoder.bytes.len(), self.encoder.lanes, self.origin);
        if fields::encode(&mut self.encoder, &mut self.origin, event).is_err() {
            self.encoder.bytes.truncate(length);
            self.encoder.lanes = lanes;
            self.origin = origin;
            return Err(WriteError::Event { line: event.line });
        }
        self.in_block += 1;
        self.written += 1;
        if self.encoder.bytes.len() < BLOCK_TARGET {
            return Ok(());
        }
        self.close_block().map_err(WriteError::Output)
    }

    /// Ends the trace with the account of where its events came from, and returns the output.
    ///
    /// # Errors
    /// [`WriteError::Account`] if `account` is not of the events written; [`WriteError::Output`].
    pub fn finish(mut self, account: &Summary) -> Result<W, WriteError> {
        if account.events != self.written {
            return Err(WriteError::Account { accounted: account.events, written: self.written });
        }
        if self.in_block > 0 {
            self.close_block().map_err(WriteError::Output)?;
        }
        for count in account.counts() {
            self.encoder.varint(count);
        }
        self.close_block().map_err(WriteError::Output)?;
        self.output.flush().map_err(WriteError::Output)?;
        Ok(self.output)
    }

    fn close_block(&mut self) -> io::Result<()> {
        let mut crc = Crc::new();
        crc.update(&self.encoder.bytes);
        let length = self.encoder.bytes.len() as u32;
        for word in [self.in_block, length, crc.sum()] {
            self.output.write_all(&word.to_le_bytes())?;
        }
        self.output.write_all(&self.encoder.bytes)?;
        self.encoder.bytes.clear();
        self.encoder.lanes = Default::default();
        self.origin = Default::default();
        self.in_block = 0;
        Ok(())
    }
}
