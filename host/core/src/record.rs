//! A record as a read brings it.

use bytes::Bytes;
use bytestring::ByteString;

use crate::position::SequenceNumber;

/// One Kinesis record: a user record, or a container of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the shard.
    pub sequence: SequenceNumber,
    /// Its partition key; a container's own key means nothing.
    pub key: ByteString,
    /// Its bytes.
    pub data: Bytes,
    /// When the stream received it, milliseconds since the Unix epoch.
    pub arrival_ms: i64,
}
