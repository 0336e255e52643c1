//! What a consumer is told, and what it wants done.

use bytes::Bytes;

use super::ConsumerSettings;
use crate::batch::Batch;
use crate::lanes::Cause;
use crate::lease_write::CheckpointDelta;
use crate::message::FlushReason;
use crate::position::{Checkpoint, Position};
use crate::record::Record;
use crate::run::Outcome;
use crate::shard::ChildShard;
use crate::window::Slot;

/// How a batch came back.
#[derive(Debug)]
pub enum Ran {
    /// All steps answered and everything was delivered, or its failure is in the outcome.
    Done(Outcome),
    /// A step gave no reply. `lost` is what its instance held from earlier batches.
    Crashed {
        /// Why.
        cause: Cause,
        /// Messages that the lost instance held: slot and key hash.
        lost: Vec<(Slot, u64)>,
    },
}

/// What a consumer is told.
#[derive(Debug)]
pub enum ConsumerEvent {
    /// Time has passed, or there may be room again.
    Tick,
    /// A read came back.
    Read {
        /// What it brought.
        records: Vec<Record>,
        /// With the end of a closed shard, the shards that follow.
        end: Option<Vec<ChildShard>>,
        /// How far behind the tip it ended, in milliseconds.
        millis_behind_latest: u64,
    },
    /// A batch came back.
    Ran {
        /// The batch.
        batch: Box<Batch>,
        /// How.
        ran: Ran,
    },
    /// A lane's instances were asked to flush between batches.
    Flushed {
        /// Whether [`ConsumerEffect::Flush`] asked for it; a lane may also flush by itself.
        is_asked: bool,
        /// What they released.
        outcome: Outcome,
        /// What an instance held that was lost over it: slot and key hash.
        lost: Vec<(Slot, u64)>,
    },
    /// A lane's instances that held anything are gone, as [`ConsumerEffect::TakeBack`] asked: slots and key hashes of
    /// what they held.
    GivenBack {
        /// The lane.
        lane: usize,
        /// What it held.
        lost: Vec<(Slot, u64)>,
    },
    /// The dead-letter sink has these messages.
    Buried(Vec<Slot>),
    /// The checkpoint is durable up to here.
    Stored(Checkpoint),
    /// Stop: finish what was begun, take nothing new.
    Drain,
    /// Other settings, in all but how records are taken apart. They hold from the next batch on; for another number of
    /// lanes the batches that are out are waited for ([`ConsumerEffect::Relane`]).
    Reconfigure(ConsumerSettings),
    /// There are so many lanes now, and none of them runs or holds anything: what the former ones held was told with
    /// [`Flushed`](Self::Flushed).
    Relaned(u16),
}

/// A message for the dead-letter sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadMessage {
    /// Its slot; the answer is [`ConsumerEvent::Buried`].
    pub slot: Slot,
    /// Its place.
    pub position: Position,
    /// Its key.
    pub key: String,
    /// Its whole payload.
    pub data: Bytes,
    /// When the stream received it, milliseconds since the Unix epoch.
    pub arrival_ms: i64,
    /// Why it is given up.
    pub cause: Cause,
    /// How often it was tried.
    pub attempts: u32,
}

/// What a consumer wants done.
#[derive(Debug)]
pub enum ConsumerEffect {
    /// Run this batch in its lane and answer with [`ConsumerEvent::Ran`].
    Run(Box<Batch>),
    /// Write these to the dead-letter sink, until it has them, and answer with [`ConsumerEvent::Buried`].
    Bury(Vec<DeadMessage>),
    /// Make what was delivered durable, then move the checkpoint, and answer with [`ConsumerEvent::Stored`].
    Store(CheckpointDelta),
    /// Only held messages are left: ask every lane's instances to flush, and answer with [`ConsumerEvent::Flushed`] for each
    /// lane. No batch is out.
    Flush(FlushReason),
    /// This lane has held a message for too long: after what it does now, replace its instances that hold anything, and
    /// answer with [`ConsumerEvent::GivenBack`].
    TakeBack(usize),
    /// No batch is out: ask the lanes' instances to flush, drop them, make so many lanes, and answer with
    /// [`ConsumerEvent::Relaned`]. No batch goes out before.
    Relane(u16),
    /// The shard is closed and everything in it is done.
    Ended {
        /// Where the last move led.
        from: Checkpoint,
        /// The shards that follow.
        children: Vec<ChildShard>,
    },
    /// Everything that was begun is done, and the checkpoint that says so is durable.
    Drained,
}
