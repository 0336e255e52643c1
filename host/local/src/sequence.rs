//! Sequence numbers in the service's version-2 layout.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use thiserror::Error;

/// Decimal digits of every number of this layout: its top nibble is 2 at bit 184.
const DIGITS: usize = 56;
/// The layout's version, in its first and its last four bits.
const VERSION: u64 = 2;
/// The largest decimal chunk that fits 64 bits: 10^19.
const CHUNK: u64 = 10_000_000_000_000_000_000;
/// Decimal digits of a chunk.
const CHUNK_DIGITS: usize = 19;
/// The index that no record reaches: a closed shard ends with it.
pub(crate) const LAST_INDEX: u64 = i64::MAX as u64;

/// A record's place in its stream, as clients see it: 186 bits in 56 decimal digits.
///
/// From the top: version (4 bits), the second in which the shard was made (36), the shard number's low nibble (4),
/// the record's index in its shard (64), zero (8), the second of the put (36), the shard number (32), version (4).
/// So numbers rise within a shard by their index alone, whatever the clock does, and a child made in a later second
/// than its parents has only higher ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SequenceNumber {
    /// Seconds since the epoch at which the shard was made, or later: above those of its parents.
    pub(crate) shard_made_s: u64,
    /// The shard's number in its stream.
    pub(crate) shard: u32,
    /// The record's index in its shard, from 1; 0 is the shard's start.
    pub(crate) index: u64,
    /// Seconds since the epoch of the put.
    pub(crate) put_s: u64,
}

/// A text that is no sequence number of this layout.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("not a sequence number of the version-2 layout")]
pub(crate) struct NotASequenceNumber;

impl SequenceNumber {
    /// The 56 digits.
    pub(crate) fn digits(self) -> [u8; DIGITS] {
        let (mut high, mut low) = self.bits();
        let mut digits = [b'0'; DIGITS];
        let mut end = DIGITS;
        while end > 0 {
            let start = end.saturating_sub(CHUNK_DIGITS);
            let mut chunk = divide(&mut high, &mut low);
            for digit in digits[start..end].iter_mut().rev() {
                *digit = b'0' + (chunk % 10) as u8;
                chunk /= 10;
            }
            end = start;
        }
        digits
    }

    fn bits(self) -> (u64, u128) {
        let nibble = u64::from(self.shard & 0xf);
        let high =
            VERSION << 56 | (self.shard_made_s & MASK_36) << 20 | nibble << 16 | self.index >> 48;
        let low = u128::from(self.index & MASK_48) << 80
            | u128::from(self.put_s & MASK_36) << 36
            | u128::from(self.shard) << 4
            | u128::from(VERSION);
        (high, low)
    }
}

/// Seconds take 36 bits: until the year 4147.
const MASK_36: u64 = (1 << 36) - 1;
const MASK_48: u64 = (1 << 48) - 1;

/// Divides the 192-bit number by 10^19 in place and gives the remainder.
fn divide(high: &mut u64, low: &mut u128) -> u64 {
    let by = u128::from(CHUNK);
    let mut remainder = u128::from(*high);
    *high = (remainder / by) as u64;
    remainder %= by;
    let upper = remainder << 64 | (*low >> 64);
    let middle = upper / by;
    let lower = (upper % by) << 64 | (*low & u128::from(u64::MAX));
    *low = middle << 64 | (lower / by);
    (lower % by) as u64
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for SequenceNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer
            .serialize_str(std::str::from_utf8(&self.digits()).map_err(serde::ser::Error::custom)?)
    }
}

impl FromStr for SequenceNumber {
    type Err = NotASequenceNumber;

    fn from_str(text: &str) -> Result<Self, NotASequenceNumber> {
        if text.len() != DIGITS || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NotASequenceNumber);
        }
        let (mut high, mut low) = (0_u128, 0_u128);
        for digit in text.bytes() {
            let lower = (low & u128::from(u64::MAX)) * 10 + u128::from(digit - b'0');
            let upper = (low >> 64) * 10 + (lower >> 64);
            low = (upper & u128::from(u64::MAX)) << 64 | (lower & u128::from(u64::MAX));
            high = high * 10 + (upper >> 64);
        }
        let high = u64::try_from(high).map_err(|_| NotASequenceNumber)?;
        let number = Self {
            shard_made_s: high >> 20 & MASK_36,
            shard: (low >> 4) as u32,
            index: (high & 0xffff) << 48 | (low >> 80) as u64,
            put_s: (low >> 36) as u64 & MASK_36,
        };
        // Whatever the fields do not carry (versions, zero byte, nibble) has to be as this layout writes it.
        if number.bits() == (high, low) {
            Ok(number)
        } else {
            Err(NotASequenceNumber)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_number() -> impl Strategy<Value = SequenceNumber> {
        (0..=MASK_36, any::<u32>(), 0..=LAST_INDEX, 0..=MASK_36).prop_map(
            |(shard_made_s, shard, index, put_s)| SequenceNumber {
                shard_made_s,
                shard,
                index,
                put_s,
            },
        )
    }

    proptest! {
        #[test]
        fn a_number_reads_back_and_has_56_digits(number in any_number()) {
            let text = number.to_string();
            prop_assert_eq!(text.len(), 56);
            prop_assert!(!text.starts_with('0'));
            prop_assert_eq!(text.parse::<SequenceNumber>(), Ok(number));
        }

        #[test]
        fn numbers_of_a_shard_rise_with_the_index_whatever_the_clock_does(
            a in any_number(), index in 0..LAST_INDEX, later in 0..=MASK_36, earlier in 0..=MASK_36,
        ) {
            let low = SequenceNumber { index, put_s: later, ..a };
            let high = SequenceNumber { index: index + 1, put_s: earlier, ..a };
            prop_assert!(low.to_string() < high.to_string());
        }

        #[test]
        fn a_childs_numbers_are_above_its_parents(a in any_number(), b in any_number()) {
            prop_assume!(a.shard_made_s < b.shard_made_s);
            prop_assert!(a.to_string() < b.to_string());
        }

        #[test]
        fn a_changed_digit_is_never_the_same_number(number in any_number(), at in 0_usize..56, digit in b'0'..=b'9') {
            let mut text = number.digits();
            prop_assume!(text[at] != digit);
            text[at] = digit;
            let other = std::str::from_utf8(&text).unwrap().parse::<SequenceNumber>();
            prop_assert_ne!(other, Ok(number));
        }
    }

    #[test]
    fn texts_of_other_layouts_are_refused() {
        for text in [
            "",
            "0",
            "-1",
            "LATEST",
            &"9".repeat(56),
            &"0".repeat(56),
            &"4".repeat(57),
        ] {
            assert_eq!(
                text.parse::<SequenceNumber>(),
                Err(NotASequenceNumber),
                "{text}"
            );
        }
    }
}
