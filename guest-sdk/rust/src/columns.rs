//! What crosses between the host and a handler, as flat columns.

use std::ops::BitOr;

use crate::Failure;

/// Which columns of a batch a handler reads beside the payloads; what is left out costs nothing.
///
/// ```
/// use shardwright_guest::Columns;
///
/// const WANTED: Columns = Columns::KEYS.and(Columns::ARRIVAL_TIMES);
/// assert!(WANTED.contains(Columns::KEYS));
/// assert!(!WANTED.contains(Columns::SEQUENCE_NUMBERS));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns(u8);

impl Columns {
    /// The payloads alone.
    pub const NONE: Self = Self(0);
    /// [`Message::key`](crate::Message::key).
    pub const KEYS: Self = Self(1);
    /// [`Message::sequence_number`](crate::Message::sequence_number).
    pub const SEQUENCE_NUMBERS: Self = Self(1 << 1);
    /// [`Message::sub_sequence_number`](crate::Message::sub_sequence_number).
    pub const SUB_SEQUENCE_NUMBERS: Self = Self(1 << 2);
    /// [`Message::arrival_time_ms`](crate::Message::arrival_time_ms).
    pub const ARRIVAL_TIMES: Self = Self(1 << 3);
    /// Everything there is.
    pub const ALL: Self = Self(0b1111);

    /// These columns and those, in a `const`.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are among these.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Columns {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.and(other)
    }
}

/// A batch as it arrives.
#[derive(Debug, Default)]
pub(crate) struct BatchColumns {
    pub(crate) data: Vec<u8>,
    pub(crate) data_ends: Vec<u32>,
    pub(crate) keys: Vec<u8>,
    pub(crate) key_ends: Vec<u32>,
    pub(crate) sequence_numbers: Vec<u8>,
    pub(crate) sequence_number_ends: Vec<u32>,
    pub(crate) sub_sequence_numbers: Vec<u64>,
    pub(crate) arrival_times: Vec<i64>,
}

/// A reply as it leaves.
#[derive(Debug, Default)]
pub(crate) struct ReplyColumns {
    /// Index in the batch, and why.
    pub(crate) failures: Vec<(u32, Failure)>,
    /// Index in the batch, and the id of the hold.
    pub(crate) holds: Vec<(u32, u64)>,
    /// Id of the hold; `None` acks.
    pub(crate) releases: Vec<(u64, Option<Failure>)>,
    pub(crate) emissions: EmissionColumns,
}

/// Emissions as they leave.
#[derive(Debug, Default)]
pub(crate) struct EmissionColumns {
    pub(crate) data: Vec<u8>,
    pub(crate) data_ends: Vec<u32>,
    pub(crate) keys: Vec<u8>,
    pub(crate) key_ends: Vec<u32>,
    pub(crate) sources: Vec<u32>,
    pub(crate) outputs: Vec<u32>,
    pub(crate) output_names: Vec<String>,
}

/// How much a reply emits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) emissions: usize,
    pub(crate) data: usize,
    pub(crate) keys: usize,
}

impl Room {
    pub(crate) const NONE: Self = Self {
        emissions: 0,
        data: 0,
        keys: 0,
    };
}

impl EmissionColumns {
    pub(crate) fn with_room(room: Room) -> Self {
        Self {
            data: Vec::with_capacity(room.data),
            data_ends: Vec::with_capacity(room.emissions),
            keys: Vec::with_capacity(room.keys),
            key_ends: Vec::with_capacity(room.emissions),
            sources: Vec::with_capacity(room.emissions),
            outputs: Vec::new(),
            output_names: Vec::new(),
        }
    }

    pub(crate) fn room(&self) -> Room {
        Room {
            emissions: self.sources.len(),
            data: self.data.len(),
            keys: self.keys.len(),
        }
    }
}

/// The bytes of entry `index` of a column; `None` past the end, and where the ends make no sense.
pub(crate) fn entry<'a>(bytes: &'a [u8], ends: &[u32], index: usize) -> Option<&'a [u8]> {
    let end = *ends.get(index)? as usize;
    let start = if index == 0 {
        0
    } else {
        *ends.get(index - 1)? as usize
    };
    bytes.get(start..end)
}

/// An end in a column, or an index into one. A guest's memory ends below 4 GiB, so only a native test could saturate.
pub(crate) fn column_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
