//! A lease table's item and a [`Lease`]: KCL's attributes, and four of ours.

use std::collections::HashMap;
use std::str::FromStr;

use aws_sdk_dynamodb::types::AttributeValue;
use shardwright_core::{Checkpoint, HashRange, Incarnation, Lease, NewLease, ShardId, WorkerId};

/// A row as the SDK has it.
pub(super) type Item = HashMap<String, AttributeValue>;

pub(super) const LEASE_KEY: &str = "leaseKey";
const LEASE_COUNTER: &str = "leaseCounter";
const LEASE_OWNER: &str = "leaseOwner";
const OWNER_SWITCHES: &str = "ownerSwitchesSinceCheckpoint";
const CHECKPOINT: &str = "checkpoint";
const CHECKPOINT_SUB_SEQUENCE: &str = "checkpointSubSequenceNumber";
const PARENTS: &str = "parentShardId";
const CHILDREN: &str = "childShardIds";
const STARTING_HASH_KEY: &str = "startingHashKey";
const ENDING_HASH_KEY: &str = "endingHashKey";
const CHECKPOINT_OWNER: &str = "checkpointOwner";
const ENTITY_TYPE: &str = "entityType";
const STREAM_NAME: &str = "streamName";
/// Ours: 32 hexadecimal digits, written with every take. KCL updates named attributes only, and leaves it alone.
const INCARNATION: &str = "incarnation";
/// Ours: the worker that wrote the incarnation. Where the owner is another one, KCL has taken the lease since.
const INCARNATION_OWNER: &str = "incarnationOwner";
/// Ours: the worker that asks the owner for the lease, and keeps waiting for it; gone with the next take of ours.
const SUCCESSOR: &str = "successor";
/// Ours: what `LATEST` in the row means, milliseconds since the Unix epoch. The first take of ours writes it.
const LATEST_AT: &str = "latestAt";

/// `entityType` of a lease; KCL 3.5 and later keep other things in the table as well.
const ENTITY_LEASE: &str = "LEASE";

/// What an item is.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "made and taken apart at once, and nearly always a lease"
)]
pub(super) enum Row {
    Lease(Lease),
    /// Coordinator state, worker metrics: KCL's own affair.
    NotALease,
    /// A lease of an application that reads many streams. Its key is no shard of ours.
    OtherStream,
}

/// Why an item is no lease that we can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RowFault {
    #[error("it has no {attribute}")]
    Missing { attribute: &'static str },
    #[error("its {attribute} is {found}")]
    Invalid {
        attribute: &'static str,
        found: String,
    },
}

/// Reads an item.
pub(super) fn read(mut item: Item) -> Result<Row, RowFault> {
    if let Some(kind) = item.get(ENTITY_TYPE)
        && kind.as_s().map(String::as_str) != Ok(ENTITY_LEASE)
    {
        return Ok(Row::NotALease);
    }
    if item.contains_key(STREAM_NAME) {
        return Ok(Row::OtherStream);
    }
    let counter = number(&item, LEASE_COUNTER)?.ok_or(RowFault::Missing {
        attribute: LEASE_COUNTER,
    })?;
    let checkpoint = text(&mut item, CHECKPOINT)?.ok_or(RowFault::Missing {
        attribute: CHECKPOINT,
    })?;
    let sub_sequence = number(&item, CHECKPOINT_SUB_SEQUENCE)?.unwrap_or(0);
    Ok(Row::Lease(Lease {
        shard: text(&mut item, LEASE_KEY)?
            .ok_or(RowFault::Missing {
                attribute: LEASE_KEY,
            })?
            .into(),
        owner: text(&mut item, LEASE_OWNER)?.map(WorkerId::new),
        counter,
        checkpoint: Checkpoint::from_columns(&checkpoint, sub_sequence).map_err(|error| {
            RowFault::Invalid {
                attribute: CHECKPOINT,
                found: error.to_string(),
            }
        })?,
        parents: shards(&mut item, PARENTS)?,
        children: shards(&mut item, CHILDREN)?,
        hash_range: hash_range(&mut item)?,
        owner_switches: number(&item, OWNER_SWITCHES)?.unwrap_or(0),
        checkpoint_owner: text(&mut item, CHECKPOINT_OWNER)?.map(WorkerId::new),
        incarnation: incarnation(&mut item),
        incarnation_owner: worker(&mut item, INCARNATION_OWNER),
        successor: worker(&mut item, SUCCESSOR),
        // What is no whole number is not ours, which is what none means too.
        latest_ms: number(&item, LATEST_AT).ok().flatten(),
    }))
}

/// The item of a new lease, as KCL writes it: unowned, so with no owner at all.
pub(super) fn new_item(lease: &NewLease) -> Item {
    let (checkpoint, sub_sequence) = lease.checkpoint.columns();
    let mut item = Item::from([
        (LEASE_KEY.to_owned(), string(lease.shard.as_str())),
        (LEASE_COUNTER.to_owned(), integer(0)),
        (OWNER_SWITCHES.to_owned(), integer(0)),
        (CHECKPOINT.to_owned(), string(checkpoint)),
        (CHECKPOINT_SUB_SEQUENCE.to_owned(), integer(sub_sequence)),
    ]);
    // A set may not be empty.
    if !lease.parents.is_empty() {
        item.insert(PARENTS.to_owned(), string_set(&lease.parents));
    }
    if let Some(range) = lease.hash_range {
        item.insert(
            STARTING_HASH_KEY.to_owned(),
            string(range.start.to_string()),
        );
        item.insert(ENDING_HASH_KEY.to_owned(), string(range.end.to_string()));
    }
    item
}

/// A string value.
pub(super) fn string(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// A plain integer, which is how Java reads it.
pub(super) fn integer(number: impl Into<i128>) -> AttributeValue {
    AttributeValue::N(number.into().to_string())
}

/// A set of shard ids, each once. Not for an empty one.
pub(super) fn string_set(shards: &[ShardId]) -> AttributeValue {
    let mut ids: Vec<String> = shards
        .iter()
        .map(|shard| shard.as_str().to_owned())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    AttributeValue::Ss(ids)
}

fn invalid(attribute: &'static str, found: &AttributeValue) -> RowFault {
    RowFault::Invalid {
        attribute,
        found: format!("{found:?}"),
    }
}

fn text(item: &mut Item, attribute: &'static str) -> Result<Option<String>, RowFault> {
    match item.remove(attribute) {
        None | Some(AttributeValue::Null(_)) => Ok(None),
        Some(AttributeValue::S(text)) => Ok(Some(text)),
        Some(other) => Err(invalid(attribute, &other)),
    }
}

fn number<N: FromStr>(item: &Item, attribute: &'static str) -> Result<Option<N>, RowFault> {
    match item.get(attribute) {
        None | Some(AttributeValue::Null(_)) => Ok(None),
        Some(value) => value
            .as_n()
            .ok()
            .and_then(|digits| digits.parse().ok())
            .map(Some)
            .ok_or_else(|| invalid(attribute, value)),
    }
}

fn shards(item: &mut Item, attribute: &'static str) -> Result<Vec<ShardId>, RowFault> {
    match item.remove(attribute) {
        None | Some(AttributeValue::Null(_)) => Ok(Vec::new()),
        Some(AttributeValue::Ss(ids)) => Ok(ids.into_iter().map(ShardId::from).collect()),
        Some(other) => Err(invalid(attribute, &other)),
    }
}

fn hash_range(item: &mut Item) -> Result<Option<HashRange>, RowFault> {
    let ends = (text(item, STARTING_HASH_KEY)?, text(item, ENDING_HASH_KEY)?);
    let (Some(start), Some(end)) = ends else {
        return Ok(None);
    };
    HashRange::parse(&start, &end)
        .map(Some)
        .map_err(|error| RowFault::Invalid {
            attribute: STARTING_HASH_KEY,
            found: error.to_string(),
        })
}

/// To whom the lease is to be passed on, as [`Lease::passes_to`] says, in what an update left behind.
pub(super) fn passes_to(mut item: Item) -> Option<WorkerId> {
    let to = if item.contains_key(CHECKPOINT_OWNER) {
        LEASE_OWNER
    } else {
        SUCCESSOR
    };
    worker(&mut item, to)
}

fn worker(item: &mut Item, attribute: &'static str) -> Option<WorkerId> {
    text(item, attribute).ok()?.map(WorkerId::new)
}

/// Something else under that name is not ours, which is what none means too.
fn incarnation(item: &mut Item) -> Option<Incarnation> {
    let text = text(item, INCARNATION).ok()??;
    u128::from_str_radix(&text, 16).ok().map(Incarnation)
}
