//! The boot module: one command with its payload, under a checksum.

use core::fmt;

use crc32fast::Hasher;

/// Bytes before the command's name.
pub const HEADER_BYTES: usize = 24;
const MAGIC: [u8; 8] = *b"XENLAB\x01\0";

/// What the kernel is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The command.
    pub command: &'a str,
    /// What the command is given.
    pub payload: &'a [u8],
}

/// Why a boot module is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// It does not begin as a request does, or is shorter than a header.
    Magic,
    /// Its lengths and its own do not agree.
    Length {
        /// Bytes the header speaks of.
        said: u64,
        /// Bytes there are.
        found: u64,
    },
    /// The checksum does not fit.
    Checksum {
        /// What the header says.
        said: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// The command's name is not UTF-8.
    Name,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("the boot module is no request of this version; build lab and kernel together"),
            Self::Length { said, found } => write!(f, "the request says it has {said} bytes and has {found}"),
            Self::Checksum { said, computed } => {
                write!(f, "the request's checksum is {said:#010x}, its bytes give {computed:#010x}")
            }
            Self::Name => f.write_str("the command's name is not UTF-8"),
        }
    }
}

impl core::error::Error for RequestError {}

impl<'a> Request<'a> {
    /// The bytes that go before name and payload in the module.
    #[must_use]
    pub fn header(&self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&(self.command.len() as u32).to_le_bytes());
        header[12..20].copy_from_slice(&(self.payload.len() as u64).to_le_bytes());
        header[20..].copy_from_slice(&self.checksum().to_le_bytes());
        header
    }

    /// Reads a module.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn decode(module: &'a [u8]) -> Result<Self, RequestError> {
        let (magic, rest) = module.split_first_chunk::<8>().ok_or(RequestError::Magic)?;
        let (name_len, rest) = rest.split_first_chunk().ok_or(RequestError::Magic)?;
        let (payload_len, rest) = rest.split_first_chunk().ok_or(RequestError::Magic)?;
        let (said, rest) = rest.split_first_chunk().ok_or(RequestError::Magic)?;
        if *magic != MAGIC {
            return Err(RequestError::Magic);
        }
        let (name_len, payload_len) = (u32::from_le_bytes(*name_len), u64::from_le_bytes(*payload_len));
        let (length, found) = (payload_len.saturating_add(name_len.into()), rest.len() as u64);
        if length != found {
            return Err(RequestError::Length { said: length, found });
        }
        let (name, payload) = rest.split_at(name_len as usize);
        let command = core::str::from_utf8(name).map_err(|_| RequestError::Name)?;
        let request = Self { command, payload };
        let (said, computed) = (u32::from_le_bytes(*said), request.checksum());
        if said == computed { Ok(request) } else { Err(RequestError::Checksum { said, computed }) }
    }

    fn checksum(&self) -> u32 {
        let mut hasher = Hasher::new();
        hasher.update(self.command.as_bytes());
        hasher.update(self.payload);
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn module(command: &str, payload: &[u8]) -> Vec<u8> {
        let header = Request { command, payload }.header();
        [&header[..], command.as_bytes(), payload].concat()
    }

    #[test]
    fn a_request_comes_back() {
        let bytes = module("echo", b"payload");
        assert_eq!(Request::decode(&bytes), Ok(Request { command: "echo", payload: b"payload" }));
    }

    #[test]
    fn no_changed_and_no_missing_byte_passes() {
        let bytes = module("echo", b"payload");
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 0x10;
            assert!(Request::decode(&broken).is_err(), "byte {at} changed");
            assert!(Request::decode(&bytes[..at]).is_err(), "cut to {at} bytes");
        }
    }
}
