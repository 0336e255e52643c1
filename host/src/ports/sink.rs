//! Delivering emissions.

use std::fmt;

use shardwright_core::ShardId;

use super::{PortError, PortFuture};

/// The idempotency key of an emission: `stream/shard/sequence/sub-sequence/n`.
///
/// An emission of a whole batch carries the batch's range instead of one position, and is the same again only if the
/// batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmissionId<'a> {
    /// The stream.
    pub stream: &'a str,
    /// The shard.
    pub shard: &'a ShardId,
    /// The position it comes from, as sequence and sub-sequence number; for a batch, the first one.
    pub from: (&'a str, u64),
    /// For a batch, the last position.
    pub to: Option<(&'a str, u64)>,
    /// Counts the emissions of one source.
    pub n: u32,
}

impl fmt::Display for EmissionId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            stream,
            shard,
            from: (sequence, sub),
            to,
            n,
        } = self;
        match to {
            None => write!(f, "{stream}/{shard}/{sequence}/{sub}/{n}"),
            Some((last, last_sub)) => write!(
                f,
                "{stream}/{shard}/{sequence}/{sub}..{last}/{last_sub}/{n}"
            ),
        }
    }
}

/// One emission on its way out.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Its idempotency key.
    pub id: EmissionId<'a>,
    /// Its key.
    pub key: &'a str,
    /// Its payload.
    pub data: &'a [u8],
}

/// Emissions that were not delivered; all others of the call were.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} emissions were not delivered: {}", failed.len(), failed.first().map_or("", |(_, error)| &error.what))]
pub struct DeliveryError {
    /// Index in the call, rising, and why.
    pub failed: Vec<(usize, PortError)>,
}

impl DeliveryError {
    /// None of so many emissions was delivered.
    pub fn of_all(emissions: usize, error: &PortError) -> Self {
        Self {
            failed: (0..emissions).map(|index| (index, error.clone())).collect(),
        }
    }
}

/// Where emissions go.
///
/// One call carries emissions of one lane, in order. A sink tries each of them once: whoever calls tries the failed
/// ones again, after a back-off. Order per key holds under that: once an emission of a key has failed in a call, later
/// ones of that key are failed too and not sent (`Transient`). Only [`Unfit`](super::ErrorKind::Unfit) says that an emission
/// need not be tried again; whatever is wrong with the target is waited for. Calls of different lanes run at once; their number is
/// bounded by shards times lanes.
pub trait Sink: Send + Sync {
    /// What `delivered` means here, for logs and docs: one sentence.
    fn delivered_means(&self) -> &'static str;

    /// Delivers.
    fn deliver<'a>(
        &'a self,
        emissions: &'a [Outgoing<'a>],
    ) -> PortFuture<'a, Result<(), DeliveryError>>;

    /// Makes everything delivered so far durable. Called before a checkpoint that covers it is written.
    fn sync(&self) -> PortFuture<'_, Result<(), PortError>>;
}
