//! Places in a shard: sequence numbers, positions inside a KPL container, and what a lease row says about them.
//!
//! Sequence numbers are decimal integers of up to 129 digits that must be compared as numbers. They are kept as the text
//! the service sent, because that text is what it wants back, and some servers pad it with zeros.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use arrayvec::ArrayString;

#[cfg(test)]
mod tests;

/// The service's own pattern for a sequence number is `0|([1-9]\d{0,128})`.
const SEQUENCE_NUMBER_DIGITS_MAX: usize = 129;

/// The service's numbers have 186 bits, of which the top ones are its version: 56 digits.
const DIGITS_IN_PLACE: usize = 56;

/// A record's sequence number: 1 to 129 decimal digits, kept as they were sent, equal and ordered as integers.
///
/// Leading zeros do not count: `007` and `7` are equal and hash alike, though [`as_str`](Self::as_str) tells them apart.
#[derive(Clone)]
pub struct SequenceNumber(Digits);

/// The service's numbers are kept in place: one is made on the thread that reads and dropped on the one that dispatches,
/// and a heap that is filled by one thread and emptied by another cost a plain record more than its lanes did.
#[derive(Clone)]
enum Digits {
    InPlace(ArrayString<DIGITS_IN_PLACE>),
    Longer(Box<str>),
}

/// The text is not a sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSequenceNumber {
    /// Empty, or longer than any number the service hands out.
    #[error("a sequence number has 1 to 129 digits, not {digits}")]
    Length {
        /// Bytes in the text.
        digits: usize,
    },
    /// A byte other than `0`–`9`.
    #[error("a sequence number is decimal digits only, byte {at} is not one")]
    NotDecimal {
        /// Index of the first such byte.
        at: usize,
    },
}

impl SequenceNumber {
    /// Checks that `text` is 1 to 129 decimal digits and keeps it unchanged.
    pub fn parse(text: impl AsRef<str> + Into<Box<str>>) -> Result<Self, InvalidSequenceNumber> {
        let digits = text.as_ref();
        if digits.is_empty() || digits.len() > SEQUENCE_NUMBER_DIGITS_MAX {
            return Err(InvalidSequenceNumber::Length {
                digits: digits.len(),
            });
        }
        // Without an early end it is a few vector instructions.
        let is_decimal = digits
            .bytes()
            .fold(true, |all, byte| all & byte.is_ascii_digit());
        if !is_decimal {
            let at = digits.bytes().position(|byte| !byte.is_ascii_digit());
            return Err(InvalidSequenceNumber::NotDecimal {
                at: at.unwrap_or_default(),
            });
        }
        Ok(Self(match ArrayString::from(digits) {
            Ok(digits) => Digits::InPlace(digits),
            Err(_) => Digits::Longer(text.into()),
        }))
    }

    /// The text exactly as it was parsed, padding included.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Digits::InPlace(digits) => digits,
            Digits::Longer(digits) => digits,
        }
    }

    /// Which shard the number belongs to (`shardId-000000000007` is 7), read from the service's version 2 layout: 186
    /// bits, the version in the top four counted from bit 184, the shard's number in the 32 bits from bit 4.
    ///
    /// `None` means "cannot tell": the layout is the service's own affair, and other servers number as they like.
    pub fn shard_number(&self) -> Option<u32> {
        let [low, _, high] = self.to_limbs()?;
        (high >> 56 == 2).then_some((low >> 4) as u32)
    }

    /// The digits that count.
    fn significant(&self) -> &str {
        self.as_str().trim_start_matches('0')
    }

    /// The value in 192 bits, least significant limb first, or `None` when it needs more.
    fn to_limbs(&self) -> Option<[u64; 3]> {
        let mut limbs = [0_u64; 3];
        for digit in self.significant().bytes() {
            let mut carry = u128::from(digit - b'0');
            for limb in &mut limbs {
                let wide = u128::from(*limb) * 10 + carry;
                *limb = wide as u64;
                carry = wide >> 64;
            }
            if carry != 0 {
                return None;
            }
        }
        Some(limbs)
    }
}

impl Ord for SequenceNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        let (mine, theirs) = (self.as_str(), other.as_str());
        // The service's own: as long as each other, and then text is ordered as the numbers are.
        if mine.len() == theirs.len() {
            return mine.cmp(theirs);
        }
        let (mine, theirs) = (self.significant(), other.significant());
        if mutant!(NumbersAsText) {
            return mine.cmp(theirs);
        }
        mine.len().cmp(&theirs.len()).then_with(|| mine.cmp(theirs))
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for SequenceNumber {
    fn eq(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.as_str(), other.as_str());
        if mine.len() == theirs.len() {
            return mine == theirs;
        }
        self.significant() == other.significant()
    }
}

impl Eq for SequenceNumber {}

impl Hash for SequenceNumber {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.significant().hash(state);
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SequenceNumber({self})")
    }
}

impl std::str::FromStr for SequenceNumber {
    type Err = InvalidSequenceNumber;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// A user record's place in its shard: the record that carried it, then its index in that record's KPL container.
///
/// A record that is no container has sub-sequence number 0, as has the first user record of one that is: the sequence
/// number alone therefore means "this record's first user record", which is also what KCL means by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Sequence number of the record.
    pub sequence: SequenceNumber,
    /// Index of the user record among all user records of the container, kept or dropped.
    pub sub_sequence: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.sequence, self.sub_sequence)
    }
}

/// What a lease row says is done. The order is KCL's: the three places to begin, then positions, then the end.
///
/// `At` names the last position that is resolved, not the next one to read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Checkpoint {
    /// Nothing is done; begin at the instant the pipeline's configuration names. The instant is not in the row.
    AtTimestamp,
    /// Nothing is done; begin with the oldest record.
    TrimHorizon,
    /// Nothing is done; begin with what arrives next.
    Latest,
    /// Everything up to and including this position is done.
    At(Position),
    /// The shard is closed and everything in it is done.
    ShardEnd,
}

/// A lease row's checkpoint column holds neither a sentinel nor a sequence number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("checkpoint {text:?} is no sentinel and no sequence number: {source}")]
pub struct InvalidCheckpoint {
    /// The column's text.
    pub text: Box<str>,
    /// Why it is no sequence number.
    pub source: InvalidSequenceNumber,
}

/// A checkpoint gives no place to begin reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoStart {
    /// The shard is done; there is nothing to read.
    #[error("the shard is at its end")]
    ShardEnd,
    /// The row says `AT_TIMESTAMP`, and the pipeline's initial position names no instant.
    #[error("the lease begins at a timestamp, and the pipeline's start names none")]
    TimestampUnknown,
}

const AT_TIMESTAMP: &str = "AT_TIMESTAMP";
const TRIM_HORIZON: &str = "TRIM_HORIZON";
const LATEST: &str = "LATEST";
const SHARD_END: &str = "SHARD_END";

impl Checkpoint {
    /// Reads the lease table's `checkpoint` and `checkpointSubSequenceNumber`.
    ///
    /// A sentinel is a whole position by itself, so the number beside it is not looked at.
    pub fn from_columns(checkpoint: &str, sub_sequence: u64) -> Result<Self, InvalidCheckpoint> {
        Ok(match checkpoint {
            AT_TIMESTAMP => Self::AtTimestamp,
            TRIM_HORIZON => Self::TrimHorizon,
            LATEST => Self::Latest,
            SHARD_END => Self::ShardEnd,
            text => Self::At(Position {
                sequence: SequenceNumber::parse(text).map_err(|source| InvalidCheckpoint {
                    text: text.into(),
                    source,
                })?,
                sub_sequence,
            }),
        })
    }

    /// What the lease table's `checkpoint` and `checkpointSubSequenceNumber` say for this checkpoint.
    pub fn columns(&self) -> (&str, u64) {
        match self {
            Self::AtTimestamp => (AT_TIMESTAMP, 0),
            Self::TrimHorizon => (TRIM_HORIZON, 0),
            Self::Latest => (LATEST, 0),
            Self::At(position) => (position.sequence.as_str(), position.sub_sequence),
            Self::ShardEnd => (SHARD_END, 0),
        }
    }

    /// The last resolved position, when there is one.
    pub fn position(&self) -> Option<&Position> {
        match self {
            Self::At(position) => Some(position),
            Self::AtTimestamp | Self::TrimHorizon | Self::Latest | Self::ShardEnd => None,
        }
    }

    /// Where reading begins for a lease with this checkpoint, given the pipeline's own initial position and the instant that
    /// an earlier owner noted for `LATEST`.
    ///
    /// After a position it begins *at* that record, since the rest of its container may still be due: whoever reads drops
    /// every user record whose position is not above the checkpoint.
    pub fn start_at(
        &self,
        initial: InitialPosition,
        latest_ms: Option<i64>,
    ) -> Result<StartAt, NoStart> {
        match self {
            Self::TrimHorizon => Ok(StartAt::TrimHorizon),
            // Whatever came since belongs to the pipeline, though no owner lived to checkpoint any of it.
            Self::Latest => Ok(latest_ms
                .filter(|_| !mutant!(LatestForgotten))
                .map_or(StartAt::Latest, StartAt::AtTimestamp)),
            Self::At(position) if mutant!(ResumeAfterRecord) => {
                Ok(StartAt::AfterSequence(position.sequence.clone()))
            }
            Self::At(position) => Ok(StartAt::AtSequence(position.sequence.clone())),
            Self::ShardEnd => Err(NoStart::ShardEnd),
            Self::AtTimestamp => match initial {
                InitialPosition::AtTimestamp(unix_ms) => Ok(StartAt::AtTimestamp(unix_ms)),
                InitialPosition::TrimHorizon | InitialPosition::Latest => {
                    Err(NoStart::TimestampUnknown)
                }
            },
        }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(position) => position.fmt(f),
            Self::AtTimestamp | Self::TrimHorizon | Self::Latest | Self::ShardEnd => {
                f.write_str(self.columns().0)
            }
        }
    }
}

/// Where a shard iterator begins: the service's five iterator types.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StartAt {
    /// The oldest record the shard still has.
    TrimHorizon,
    /// The next record to arrive.
    Latest,
    /// The first record that arrived at or after this instant, in milliseconds since the Unix epoch.
    AtTimestamp(i64),
    /// The record with this number.
    AtSequence(SequenceNumber),
    /// The first record after this number.
    AfterSequence(SequenceNumber),
}

/// Where a pipeline that has no leases yet begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InitialPosition {
    /// The oldest records the stream still has.
    TrimHorizon,
    /// Records that arrive from now on.
    Latest,
    /// Records that arrived at or after this instant, in milliseconds since the Unix epoch.
    AtTimestamp(i64),
}

impl InitialPosition {
    /// The checkpoint a lease gets that begins here.
    pub fn checkpoint(self) -> Checkpoint {
        match self {
            Self::TrimHorizon => Checkpoint::TrimHorizon,
            Self::Latest => Checkpoint::Latest,
            Self::AtTimestamp(_) => Checkpoint::AtTimestamp,
        }
    }
}
