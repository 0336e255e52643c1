//! What the window's two rings are made of.

use bytes::Bytes;
use bytestring::ByteString;

use crate::deaggregate::{Span, UserRecordSpan};
use crate::position::SequenceNumber;

#[derive(Debug)]
pub(super) struct Container {
    pub(super) sequence: SequenceNumber,
    pub(super) key: ByteString,
    pub(super) data: Bytes,
    pub(super) arrival_ms: i64,
    /// Whether it is a container whose checksum matches, if it has been looked at together with others.
    pub(super) is_sound: Option<bool>,
    /// Bytes counted; `data` is given back before the container leaves.
    pub(super) bytes: u64,
    /// Highest sub-sequence number, known once opened.
    pub(super) last_sub: u32,
    pub(super) is_aggregate: bool,
    pub(super) is_opened: bool,
    /// The window was closed while it was being opened: nothing more of it is admitted, and the watermark stops inside.
    pub(super) is_cut: bool,
    pub(super) unresolved: u32,
    /// Entries still in the ring.
    pub(super) in_ring: u32,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) container: u64,
    pub(super) key: Span,
    pub(super) data: Span,
    pub(super) sub: u32,
    pub(super) is_resolved: bool,
}

/// A container whose user records are being admitted.
#[derive(Debug, Default)]
pub(super) struct Front {
    pub(super) records: Vec<UserRecordSpan>,
    pub(super) dropped: Vec<u32>,
    pub(super) next: usize,
}

/// Gives a container's bytes back once nothing needs them.
pub(super) fn release_if_done(container: &mut Container, bytes: &mut u64) {
    if (container.is_opened || container.is_cut) && container.unresolved == 0 {
        *bytes -= std::mem::take(&mut container.bytes);
        container.data = Bytes::new();
        container.key = ByteString::new();
    }
}
