//! The container's protobuf message, read in place.
//!
//! `AggregatedRecord { 1 repeated string partition_key_table; 2 repeated string explicit_hash_key_table; 3 repeated
//! Record records }`, `Record { 1 required uint64 partition_key_index; 2 optional uint64 explicit_hash_key_index; 3
//! required bytes data; 4 repeated Tag tags }`, `Tag { 1 required string key; 2 optional string value }`.
//! As in any protobuf reader the last of several values of a field counts, and unknown fields are skipped.

use std::ops::Range;

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::{Deaggregator, Malformed, Span};

/// A user record whose table indexes are not yet looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct ParsedRecord {
    pub(super) key_index: u64,
    pub(super) hash_key_index: Option<u64>,
    pub(super) data: Span,
}

/// The unread rest of a message inside a container.
struct Reader<'a> {
    container: &'a [u8],
    /// Index in the container of the first unread byte.
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    fn new(container: &'a [u8], range: Range<usize>) -> Self {
        Self {
            container,
            at: range.start,
            end: range.end,
        }
    }

    /// Runs one of prost's decoders over the rest and moves past what it read.
    fn decode<T>(
        &mut self,
        decoder: impl FnOnce(&mut &'a [u8]) -> Result<T, prost::DecodeError>,
    ) -> Result<T, Malformed> {
        let mut rest = &self.container[self.at..self.end];
        let value = decoder(&mut rest).map_err(|_| Malformed::Protobuf)?;
        self.at = self.end - rest.len();
        Ok(value)
    }

    /// The next field's number and wire type, or `None` at the end of the message.
    fn field(&mut self) -> Result<Option<(u32, WireType)>, Malformed> {
        if self.at == self.end {
            return Ok(None);
        }
        // Every key of a container has one byte. Whatever is odd about one is left to the decoder.
        if let Some(key) = self.byte()
            && let Ok(wire_type) = WireType::try_from(u64::from(key & 7))
            && key >> 3 > 0
        {
            self.at += 1;
            return Ok(Some((u32::from(key >> 3), wire_type)));
        }
        self.decode(decode_key).map(Some)
    }

    /// The next byte, if it is a whole varint by itself, as most are.
    fn byte(&self) -> Option<u8> {
        let rest = &self.container[self.at..self.end];
        rest.first().copied().filter(|byte| *byte < 0x80)
    }

    fn any_varint(&mut self) -> Result<u64, Malformed> {
        match self.byte() {
            Some(value) => {
                self.at += 1;
                Ok(value.into())
            }
            None => self.decode(decode_varint),
        }
    }

    fn varint(&mut self, wire_type: WireType) -> Result<u64, Malformed> {
        if wire_type != WireType::Varint {
            return Err(Malformed::Protobuf);
        }
        self.any_varint()
    }

    fn bytes(&mut self, wire_type: WireType) -> Result<Range<usize>, Malformed> {
        if wire_type != WireType::LengthDelimited {
            return Err(Malformed::Protobuf);
        }
        let len = self.any_varint()?;
        if len > (self.end - self.at) as u64 {
            return Err(Malformed::Protobuf);
        }
        let start = self.at;
        self.at += len as usize;
        Ok(start..self.at)
    }

    fn text(&mut self, wire_type: WireType) -> Result<Span, Malformed> {
        let range = self.bytes(wire_type)?;
        match std::str::from_utf8(&self.container[range.clone()]) {
            Ok(_) => Ok(span(&range)),
            Err(_) => Err(Malformed::Utf8),
        }
    }

    fn skip(&mut self, field: u32, wire_type: WireType) -> Result<(), Malformed> {
        self.decode(|rest| skip_field(wire_type, field, rest, DecodeContext::default()))
    }
}

/// The caller has refused containers that 32 bits cannot address.
fn span(range: &Range<usize>) -> Span {
    Span {
        start: range.start as u32,
        end: range.end as u32,
    }
}

impl Deaggregator {
    /// Reads the message in `range` of `container` into the tables and the list of parsed records.
    pub(super) fn read_message(
        &mut self,
        container: &[u8],
        range: Range<usize>,
    ) -> Result<(), Malformed> {
        let mut reader = Reader::new(container, range);
        while let Some((field, wire_type)) = reader.field()? {
            match field {
                1 => self.keys.push(reader.text(wire_type)?),
                2 => self.hash_keys.push(reader.text(wire_type)?),
                3 => {
                    let record = reader.bytes(wire_type)?;
                    self.parsed
                        .push(read_record(Reader::new(container, record))?);
                }
                _ => reader.skip(field, wire_type)?,
            }
        }
        Ok(())
    }
}

fn read_record(mut reader: Reader<'_>) -> Result<ParsedRecord, Malformed> {
    let mut key_index = None;
    let mut hash_key_index = None;
    let mut data = None;
    while let Some((field, wire_type)) = reader.field()? {
        match field {
            1 => key_index = Some(reader.varint(wire_type)?),
            2 => hash_key_index = Some(reader.varint(wire_type)?),
            3 => data = Some(span(&reader.bytes(wire_type)?)),
            4 => {
                let tag = reader.bytes(wire_type)?;
                check_tag(Reader::new(reader.container, tag))?;
            }
            _ => reader.skip(field, wire_type)?,
        }
    }
    Ok(ParsedRecord {
        key_index: key_index.ok_or(Malformed::MissingField { field: 1 })?,
        hash_key_index,
        data: data.ok_or(Malformed::MissingField { field: 3 })?,
    })
}

/// Nobody uses tags, but a container with a broken one is no sound container.
fn check_tag(mut reader: Reader<'_>) -> Result<(), Malformed> {
    let mut key = None;
    while let Some((field, wire_type)) = reader.field()? {
        match field {
            1 => key = Some(reader.text(wire_type)?),
            2 => {
                reader.text(wire_type)?;
            }
            _ => reader.skip(field, wire_type)?,
        }
    }
    key.map(|_| ()).ok_or(Malformed::MissingField { field: 1 })
}
