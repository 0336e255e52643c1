//! A batch of messages on its way from a shard's window through a lane.

use crate::message::{Column, ColumnsWanted, Messages};
use crate::window::{RawMessage, Slot};

/// Messages of one lane, in order, with all that a run needs of the window they came from. It is reused from run to run.
#[derive(Debug, Default)]
pub struct Batch {
    /// The lane.
    pub lane: usize,
    /// The slots.
    pub slots: Vec<Slot>,
    /// The hashes of their keys.
    pub key_hashes: Vec<u64>,
    /// The messages. Keys are always filled in, other columns as wanted.
    pub messages: Messages,
    /// The sequence numbers of the containers that they came in.
    sequences: Column,
    /// For each message its container's place in `sequences`, and its own in the container.
    places: Vec<(u32, u64)>,
    container: Option<u64>,
}

impl Batch {
    /// Empties the batch and keeps its room.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.key_hashes.clear();
        self.messages.clear();
        self.sequences.clear();
        self.places.clear();
        self.container = None;
    }

    /// Appends a message.
    pub fn push<'a>(
        &mut self,
        slot: Slot,
        key_hash: u64,
        message: impl Into<RawMessage<'a>>,
        wanted: ColumnsWanted,
    ) {
        let message = message.into();
        if self.container != Some(message.container) {
            self.container = Some(message.container);
            self.sequences.push(message.sequence.as_str().as_bytes());
        }
        let place = (
            self.sequences.len().saturating_sub(1) as u32,
            message.sub_sequence,
        );
        self.slots.push(slot);
        self.key_hashes.push(key_hash);
        self.places.push(place);
        self.messages.data.push(message.data);
        self.messages.keys.push(message.key);
        if wanted.sequence_numbers {
            self.messages
                .sequence_numbers
                .push(message.sequence.as_str().as_bytes());
        }
        if wanted.sub_sequence_numbers {
            self.messages
                .sub_sequence_numbers
                .push(message.sub_sequence);
        }
        if wanted.arrival_times {
            self.messages.arrival_times.push(message.arrival_ms);
        }
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The place of the message at `index`: sequence number, as text, and sub-sequence number.
    pub fn place(&self, index: usize) -> (&str, u64) {
        let (container, sub) = self.places.get(index).copied().unwrap_or_default();
        let sequence = self.sequences.get(container as usize).unwrap_or_default();
        (std::str::from_utf8(sequence).unwrap_or_default(), sub)
    }
}
