//! One pass over the numbers of a record, in either direction.
//!
//! A record is described once, as calls of a [`Pass`] with mutable references. The [`Encoder`] reads through them, the
//! [`Decoder`] writes through them; so what is written and what is read cannot come apart.

use crate::error::NativeFault;
use crate::event::MAX_VCPUS;
use crate::native::MAX_TEXT;

/// Numbers of one lane resemble each other: only the difference to the last one is stored.
#[derive(Clone, Copy)]
pub(super) enum Lane {
    Line,
    Stamp,
    Slot,
    Value,
    /// How far the machine word is from the pseudo-physical one.
    Offset,
    Space,
    Address,
    Pfn,
    Argument,
}

/// The last number of every lane.
pub(super) type Lanes = [u64; Lane::Argument as usize + 1];

/// A direction.
pub(super) trait Pass {
    fn lanes(&mut self) -> &mut Lanes;

    fn number(&mut self, value: &mut u64) -> Result<(), NativeFault>;

    fn text(&mut self, value: &mut Box<str>) -> Result<(), NativeFault>;

    /// A number below `limit`.
    fn below(&mut self, limit: u64, value: &mut u64) -> Result<(), NativeFault> {
        self.number(value)?;
        if *value < limit { Ok(()) } else { Err(NativeFault::Value { what: "a bounded number" }) }
    }

    fn number32(&mut self, value: &mut u32) -> Result<(), NativeFault> {
        let mut wide = u64::from(*value);
        self.below(1 << 32, &mut wide)?;
        *value = wide as u32;
        Ok(())
    }

    fn vcpu(&mut self, value: &mut u32) -> Result<(), NativeFault> {
        let mut wide = u64::from(*value);
        self.below(u64::from(MAX_VCPUS), &mut wide)?;
        *value = wide as u32;
        Ok(())
    }

    fn signed(&mut self, value: &mut i64) -> Result<(), NativeFault> {
        let mut folded = zigzag(*value as u64);
        self.number(&mut folded)?;
        *value = unzigzag(folded) as i64;
        Ok(())
    }

    fn near(&mut self, lane: Lane, value: &mut u64) -> Result<(), NativeFault> {
        let last = self.lanes()[lane as usize];
        let mut difference = zigzag(value.wrapping_sub(last));
        self.number(&mut difference)?;
        *value = last.wrapping_add(unzigzag(difference));
        self.lanes()[lane as usize] = *value;
        Ok(())
    }

    /// One of `all`, which lists every value the type has.
    fn choice<T: Copy + PartialEq>(&mut self, all: &[T], value: &mut T) -> Result<(), NativeFault> {
        let index = all.iter().position(|one| one == value).unwrap_or(all.len());
        let mut index = index as u64;
        self.below(all.len() as u64, &mut index)?;
        *value = all[index as usize];
        Ok(())
    }

    fn flag(&mut self, value: &mut bool) -> Result<(), NativeFault> {
        self.choice(&[false, true], value)
    }
}

/// Small differences of either sign become small numbers.
fn zigzag(difference: u64) -> u64 {
    difference << 1 ^ ((difference as i64 >> 63) as u64)
}

fn unzigzag(folded: u64) -> u64 {
    folded >> 1 ^ (folded & 1).wrapping_neg()
}

/// Appends to a block.
#[derive(Default)]
pub(super) struct Encoder {
    pub(super) bytes: Vec<u8>,
    pub(super) lanes: Lanes,
}

impl Encoder {
    pub(super) fn varint(&mut self, mut rest: u64) {
        while rest >= 0x80 {
            self.bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.bytes.push(rest as u8);
    }
}

impl Pass for Encoder {
    fn lanes(&mut self) -> &mut Lanes {
        &mut self.lanes
    }

    fn number(&mut self, value: &mut u64) -> Result<(), NativeFault> {
        self.varint(*value);
        Ok(())
    }

    fn text(&mut self, value: &mut Box<str>) -> Result<(), NativeFault> {
        let mut length = value.len() as u64;
        self.below(MAX_TEXT as u64 + 1, &mut length)?;
        self.bytes.extend_from_slice(value.as_bytes());
        Ok(())
    }
}

/// Takes from a block.
pub(super) struct Decoder<'a> {
    pub(super) rest: &'a [u8],
    pub(super) lanes: &'a mut Lanes,
}

impl Decoder<'_> {
    pub(super) fn byte(&mut self) -> Result<u8, NativeFault> {
        let (&first, rest) = self.rest.split_first().ok_or(NativeFault::Value { what: "a record beyond its block" })?;
        self.rest = rest;
        Ok(first)
    }
}

impl Pass for Decoder<'_> {
    fn lanes(&mut self) -> &mut Lanes {
        self.lanes
    }

    fn number(&mut self, value: &mut u64) -> Result<(), NativeFault> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                *value = number;
                return Ok(());
            }
        }
        Err(NativeFault::Value { what: "a number of more than 64 bits" })
    }

    fn text(&mut self, value: &mut Box<str>) -> Result<(), NativeFault> {
        let mut length = 0;
        self.below(MAX_TEXT as u64 + 1, &mut length)?;
        let (text, rest) = self
            .rest
            .split_at_checked(length as usize)
            .ok_or(NativeFault::Value { what: "a text beyond its block" })?;
        self.rest = rest;
        *value = str::from_utf8(text).map_err(|_| NativeFault::Value { what: "a text that is not UTF-8" })?.into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Decoder, Encoder, Lane, Lanes, Pass};

    fn through(value: u64, expected_bytes: usize) {
        let mut encoder = Encoder::default();
        encoder.number(&mut { value }).expect("any number can be written");
        assert_eq!(encoder.bytes.len(), expected_bytes);
        let mut lanes = Lanes::default();
        let mut decoder = Decoder { rest: &encoder.bytes, lanes: &mut lanes };
        let mut read = !value;
        decoder.number(&mut read).expect("what was written can be read");
        assert_eq!(read, value);
    }

    #[test]
    fn varints_take_a_byte_per_seven_bits() {
        through(0, 1);
        through(127, 1);
        through(128, 2);
        through(1 << 63, 10);
        through(u64::MAX, 10);
    }

    #[test]
    fn a_varint_of_more_than_64_bits_is_refused() {
        for bytes in [[0xff; 9].as_slice(), &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], &[0x80; 11]]
        {
            let mut lanes = Lanes::default();
            assert!(Decoder { rest: bytes, lanes: &mut lanes }.number(&mut 0).is_err());
        }
    }

    #[test]
    fn a_lane_stores_small_steps_of_either_sign_in_one_byte() {
        let mut encoder = Encoder::default();
        for value in [u64::MAX, 0, 8, 0] {
            encoder.near(Lane::Slot, &mut { value }).expect("any number can be written");
        }
        assert_eq!(encoder.bytes, [1, 2, 16, 15]);
    }
}
