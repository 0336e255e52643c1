//! Reading records and positions.

use std::ops::Range;

use rusqlite::{Connection, OptionalExtension};

use super::StoreError;
use super::block::next_record;
use crate::clock::Millis;

/// What a read may bring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageLimit {
    pub(crate) records: usize,
    /// Data and keys together. The first record always fits.
    pub(crate) bytes: usize,
}

/// Which records to read: those of a shard from index `from`, below `end`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) stream: i64,
    pub(crate) shard: u32,
    pub(crate) from: u64,
    pub(crate) end: u64,
}

/// Records as they were read: views into the blocks that hold them.
#[derive(Debug, Default)]
pub(crate) struct Page {
    blocks: Vec<Vec<u8>>,
    records: Vec<Place>,
    /// Where the next read begins.
    pub(crate) next: u64,
}

#[derive(Debug)]
struct Place {
    block: usize,
    key: Range<usize>,
    data: Range<usize>,
    index: u64,
    arrival_ms: Millis,
}

/// One record of a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) index: u64,
    pub(crate) arrival_ms: Millis,
    pub(crate) key: &'a [u8],
    pub(crate) data: &'a [u8],
}

impl Page {
    /// A page without records, after which reading goes on at `next`.
    pub(crate) fn empty(next: u64) -> Self {
        Self {
            next,
            ..Self::default()
        }
    }

    pub(crate) fn records(&self) -> impl ExactSizeIterator<Item = Record<'_>> {
        self.records.iter().map(|place| {
            let block = &self.blocks[place.block];
            Record {
                index: place.index,
                arrival_ms: place.arrival_ms,
                key: &block[place.key.clone()],
                data: &block[place.data.clone()],
            }
        })
    }

    /// Bytes of data and keys.
    pub(crate) fn bytes(&self) -> usize {
        self.records
            .iter()
            .map(|r| r.key.len() + r.data.len())
            .sum()
    }

    pub(crate) fn last_arrival_ms(&self) -> Option<Millis> {
        self.records.last().map(|r| r.arrival_ms)
    }
}

/// Starts with the block that holds `from`, which may begin below it.
const BLOCKS: &str = "
    SELECT first, arrival_ms, data FROM blocks
    WHERE stream = ?1 AND shard = ?2 AND first < ?4 AND first >= coalesce(
        (SELECT max(first) FROM blocks WHERE stream = ?1 AND shard = ?2 AND first <= ?3), ?3)
    ORDER BY first";

/// Reads what `span` has, up to `limit`.
pub(super) fn read_page(
    connection: &Connection,
    span: Span,
    limit: PageLimit,
) -> Result<Page, StoreError> {
    // All records below `end` were committed before it was seen: those that are missing were trimmed meanwhile.
    let mut page = Page::empty(span.end);
    let mut room = limit.bytes;
    let mut statement = connection.prepare_cached(BLOCKS)?;
    let mut rows = statement.query((span.stream, span.shard, span.from, span.end))?;
    while let Some(row) = rows.next()? {
        let first: u64 = row.get(0)?;
        let arrival_ms = row.get(1)?;
        let bytes = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
        let block = page.blocks.len();
        let (mut at, mut index) = (0, first);
        while at < bytes.len() && index < span.end {
            let (key, data) = next_record(bytes, at)?;
            at = data.end;
            if index >= span.from {
                let size = key.len() + data.len();
                if page.records.len() >= limit.records || (size > room && !page.records.is_empty())
                {
                    page.next = index;
                    keep(&mut page, block, bytes);
                    return Ok(page);
                }
                room = room.saturating_sub(size);
                page.records.push(Place {
                    block,
                    key,
                    data,
                    index,
                    arrival_ms,
                });
            }
            index += 1;
        }
        keep(&mut page, block, bytes);
    }
    Ok(page)
}

/// Copies a block that some record of the page lies in.
fn keep(page: &mut Page, block: usize, bytes: &[u8]) {
    if page.records.last().is_some_and(|r| r.block == block) {
        page.blocks.push(bytes.to_vec());
    }
}

/// The index of the first record, at `from` or later, that arrived at `at` or later. Records of a block arrive together,
/// so this is where a block begins; so must be `from`.
pub(super) fn first_since(
    connection: &Connection,
    span: Span,
    at: Millis,
) -> Result<Option<u64>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT first FROM blocks WHERE stream = ?1 AND shard = ?2 AND first >= ?3 AND first < ?4
         AND arrival_ms >= ?5 ORDER BY first LIMIT 1",
    )?;
    let first = statement.query_row((span.stream, span.shard, span.from, span.end, at), |row| {
        row.get(0)
    });
    Ok(first.optional()?)
}
