//! Removals of several entries by one call.

use crate::{
    abi::{
        BOLTED, CHANGED, END, LARGE, NOT_FOUND, PARAMETER, PARTIAL, REFERENCED, REQUEST, RESPONSE, SUCCESS, TYPE, VALID,
    },
    table::{Dialect, Entry, Fault, Papr},
};

/// Words of a bulk removal: flags, place.
const CONDITION: u64 = 1 << 56;
const TAG: u64 = 2 << 56;
const PLACE: u64 = (1 << 56) - 1;
/// Codes of a bulk removal's responses.
const NOT_THERE: u64 = 1 << 60;
const BAD: u64 = 2 << 60;

/// Flag and codes of a block removal's, and where its responses say that an entry was referenced and changed.
const BLOCK_TAG: u64 = 1 << 56;
const BLOCK_NOT_FOUND: u64 = 1 << 59;
const BLOCK_PARAMETER: u64 = 2 << 59;
const BLOCK_SIZE: u64 = 3 << 59;
const BLOCK_OTHER: u64 = 5 << 59;
const BLOCK_REFERENCED: u64 = 4 << 56;
const BLOCK_CHANGED: u64 = 2 << 56;

impl Papr {
    /// `H_BULK_REMOVE`: four at most, each with its response in place of its request.
    pub(crate) fn bulk_remove(&mut self, registers: &mut [u64; 9]) -> i64 {
        let before = self.has(Fault::BulkIsAllOrNothing).then(|| self.clone());
        let (pairs, _) = registers.as_chunks_mut::<2>();
        let answer = pairs.iter_mut().find_map(|[word, tag]| match self.one_of_bulk(word, *tag) {
            Ok(true) => None,
            Ok(false) => Some(SUCCESS),
            Err(error) => Some(error),
        });
        let answer = answer.unwrap_or(SUCCESS);
        if let Some(before) = before.filter(|_| answer != SUCCESS) {
            *self = before;
        }
        // QEMU leaves without a flush, but where a place is beyond the table.
        if answer == SUCCESS || self.dialect == Dialect::Papr {
            self.flush();
        }
        answer
    }

    /// One of them: whether to go on, or the call's answer.
    fn one_of_bulk(&mut self, word: &mut u64, tag: u64) -> Result<bool, i64> {
        match *word & TYPE {
            END if !self.has(Fault::EndIgnored) => return Ok(false),
            REQUEST => {}
            _ => return Err(PARAMETER),
        }
        let place = *word & PLACE;
        let (by_tag, by_condition) = (*word & TAG != 0, *word & CONDITION != 0);
        *word = RESPONSE | (*word & (TAG | CONDITION)) | place;
        if by_tag && by_condition {
            *word |= BAD;
            return Err(PARAMETER);
        }
        match self.found(place, tag, by_tag, by_condition) {
            Ok(entry) => {
                *word |= self.used(entry);
                self.take(place);
                Ok(true)
            }
            Err(NOT_FOUND) => {
                *word |= NOT_THERE;
                Ok(!self.has(Fault::StopsAtNotFound))
            }
            Err(error) => {
                *word |= BAD;
                self.flush();
                Err(error)
            }
        }
    }

    /// What a bulk removal's response says of the entry's use.
    const fn used(&self, entry: Entry) -> u64 {
        match self.dialect {
            Dialect::Papr => noted(entry, 1 << 59, 1 << 58),
            Dialect::QemuTcg => noted(entry, 1 << 51, 1 << 50),
        }
    }

    /// `H_BLOCK_REMOVE`: the tag in r4, up to eight words in r5 to r12; responses from r4 on.
    pub(crate) fn block_remove(&mut self, registers: &mut [u64; 9]) -> i64 {
        let [tag, words @ ..] = *registers;
        let (mut answer, mut anchor) = (SUCCESS, None);
        for (number, word) in words.into_iter().enumerate() {
            match word & TYPE {
                END => break,
                REQUEST => {}
                _ => {
                    answer = PARAMETER;
                    break;
                }
            }
            let response = self.one_of_block(word, tag, &mut anchor).unwrap_or_else(|code| {
                answer = PARTIAL;
                code
            });
            registers[number] = RESPONSE | response | (word & PLACE);
        }
        self.flush();
        answer
    }

    /// One of them: how it was noted as used, or the code of why it was not removed.
    fn one_of_block(&mut self, word: u64, tag: u64, anchor: &mut Option<Entry>) -> Result<u64, u64> {
        let place = word & PLACE;
        self.checked(place).map_err(|_| BLOCK_PARAMETER)?;
        let entry = self.entry(place);
        let other_tag = word & BLOCK_TAG != 0 && entry.0 & !0x7f != tag && !self.has(Fault::TagIgnored);
        if entry.0 & VALID == 0 || entry.0 & BOLTED != 0 || other_tag {
            return Err(BLOCK_NOT_FOUND);
        }
        if let Some(first) = *anchor {
            if first.0 & LARGE != entry.0 & LARGE || first.0 >> 62 != entry.0 >> 62 {
                return Err(BLOCK_SIZE);
            }
            if first.0 & !0x7f != entry.0 & !0x7f && !self.has(Fault::BlockUnbounded) {
                return Err(BLOCK_OTHER);
            }
        }
        anchor.get_or_insert(entry);
        self.take(place);
        Ok(noted(entry, BLOCK_REFERENCED, BLOCK_CHANGED))
    }
}

/// Whether an entry was referenced and changed, by these bits.
const fn noted((_, second): Entry, referenced: u64, changed: u64) -> u64 {
    (if second & REFERENCED != 0 { referenced } else { 0 }) | (if second & CHANGED != 0 { changed } else { 0 })
}
