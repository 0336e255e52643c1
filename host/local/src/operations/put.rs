//! `PutRecord` and `PutRecords`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::admission::{Refused, admit};
use super::constraints::is_decimal;
use super::streams::record_bytes;
use super::{Call, Service, StreamName, encryption, refuse, required, shard_id, unless_dry_run};
use crate::hash_key::{self, HashKey};
use crate::limits;
use crate::sequence::SequenceNumber;
use crate::service_limits::ServiceLimits;
use crate::store::{Append, Batch, Placed, Stream};
use crate::wire::{Blob, Few, ServiceError, THROUGHPUT_EXCEEDED, Text};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecord<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    partition_key: Option<Text<'a>>,
    #[serde(borrow)]
    explicit_hash_key: Option<Text<'a>>,
    data: Option<Blob>,
    #[serde(borrow)]
    sequence_number_for_ordering: Option<Text<'a>>,
    dry_run: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecords<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    records: Option<Few<Entry<'a>, { limits::PUT_RECORDS }>>,
    dry_run: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    #[serde(borrow)]
    partition_key: Option<Text<'a>>,
    #[serde(borrow)]
    explicit_hash_key: Option<Text<'a>>,
    data: Option<Blob>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Put {
    shard_id: String,
    sequence_number: SequenceNumber,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NotPut {
    error_code: &'static str,
    error_message: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Outcome {
    Put(Put),
    NotPut(NotPut),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutAnswer {
    failed_record_count: usize,
    records: Vec<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_type: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutOneAnswer {
    shard_id: String,
    sequence_number: SequenceNumber,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_type: Option<&'static str>,
}

/// Every record's number is above those before it in its shard, so `SequenceNumberForOrdering` asks for nothing more.
pub(super) async fn put_record(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let limits = service.limiter.limits();
    let (stream, mut batch) = {
        let request: PutRecord<'_> = call.decode()?;
        let entry = Entry {
            partition_key: request.partition_key,
            explicit_hash_key: request.explicit_hash_key,
            data: request.data,
        };
        let at = Place(None);
        let data_bytes = entry.data.as_ref().map_or(0, |data| data.0.len());
        let mut batch = Batch::with_capacity(1, data_bytes + limits::KEY_CHARS);
        push(&mut batch, &entry, at)?;
        if let Some(after) = &request.sequence_number_for_ordering
            && after.0.parse::<SequenceNumber>().is_err()
        {
            let message = format!(
                "ExclusiveMinimumSequenceNumber {} used in PutRecord is invalid.",
                after.0
            );
            return Err(ServiceError::InvalidArgument(message));
        }
        // What is wrong with a request by itself is said before what is missing here.
        let stream = find(
            service,
            request.stream_name.as_ref(),
            request.stream_arn.as_ref(),
        )?;
        check_keys([&entry], &stream, |_| at)?;
        check_records(&batch, record_bytes(&stream, &limits), |_| at)?;
        unless_dry_run(request.dry_run)?;
        spread(service, &stream, &mut batch);
        (stream, batch)
    };
    if let Some(refused) = admit(service, call, &stream, &mut batch).first() {
        return Err(ServiceError::ThroughputExceeded(refused.message(&stream)));
    }
    let placed = append(service, &stream, batch).await?;
    let first = placed
        .first()
        .ok_or_else(|| ServiceError::Internal("a record without a place".into()))?;
    call.encode(&PutOneAnswer {
        shard_id: shard_id(first.shard),
        sequence_number: first.sequence,
        encryption_type: encryption::of_records(&stream),
    })
}

pub(super) async fn put_records(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let limits = service.limiter.limits();
    let (stream, mut batch) = {
        let request: PutRecords<'_> = call.decode()?;
        let Few { items, count } = required(request.records, "records")?;
        check_count(count)?;
        let mut batch = Batch::with_capacity(items.len(), call.body.len());
        for (at, entry) in items.iter().enumerate() {
            push(&mut batch, entry, Place(Some(at)))?;
        }
        check_size(&batch, &limits)?;
        // What is wrong with a request by itself is said before what is missing here.
        let stream = find(
            service,
            request.stream_name.as_ref(),
            request.stream_arn.as_ref(),
        )?;
        let at = |at| Place(Some(at));
        check_keys(&items, &stream, at)?;
        check_records(&batch, record_bytes(&stream, &limits), at)?;
        unless_dry_run(request.dry_run)?;
        spread(service, &stream, &mut batch);
        (stream, batch)
    };
    let refused = admit(service, call, &stream, &mut batch);
    let placed = if batch.len() == 0 {
        Vec::new()
    } else {
        append(service, &stream, batch).await?
    };
    call.encode(&PutAnswer {
        failed_record_count: refused.len(),
        records: outcomes(&stream, &placed, &refused),
        encryption_type: encryption::of_records(&stream),
    })
}

/// What became of each record, in their order.
fn outcomes(stream: &Stream, placed: &[Placed], refused: &[Refused]) -> Vec<Outcome> {
    let (mut placed, mut refused) = (placed.iter(), refused.iter().peekable());
    let outcome = |at| match refused.next_if(|r| r.at == at) {
        Some(refused) => Some(Outcome::NotPut(NotPut {
            error_code: THROUGHPUT_EXCEEDED,
            error_message: refused.message(stream),
        })),
        None => placed.next().map(|placed| Outcome::Put(put(placed))),
    };
    (0..).map_while(outcome).collect()
}

fn put(placed: &Placed) -> Put {
    Put {
        shard_id: shard_id(placed.shard),
        sequence_number: placed.sequence,
    }
}

fn check_count(count: usize) -> Result<(), ServiceError> {
    if count == 0 {
        return Err(ServiceError::constraint(
            "[]",
            "records",
            "Member must have length greater than or equal to 1",
        ));
    }
    if count > limits::PUT_RECORDS {
        let rule = format!(
            "Member must have length less than or equal to {}",
            limits::PUT_RECORDS
        );
        return Err(ServiceError::constraint(
            &format!("{count} records"),
            "records",
            &rule,
        ));
    }
    Ok(())
}

/// How large a record may be depends on its stream, so this is checked only once that is found.
fn check_records(
    batch: &Batch,
    most: u64,
    place: impl Fn(usize) -> Place,
) -> Result<(), ServiceError> {
    let mut sizes = batch.sizes().enumerate();
    let Some((at, size)) = sizes.find(|(_, size)| *size as u64 > most) else {
        return Ok(());
    };
    let rule = format!("Member must have length less than or equal to {most}");
    let field = place(at).field("data");
    Err(ServiceError::constraint(
        &format!("{size} bytes"),
        &field,
        &rule,
    ))
}

/// Whether a record has to have a key depends on its stream too: where keys do not matter, it may come without.
fn check_keys<'e>(
    entries: impl IntoIterator<Item = &'e Entry<'e>>,
    stream: &Stream,
    place: impl Fn(usize) -> Place,
) -> Result<(), ServiceError> {
    if spreads(stream) {
        return Ok(());
    }
    let mut keys = entries.into_iter().map(|entry| &entry.partition_key);
    match keys.position(Option::is_none) {
        Some(at) => Err(ServiceError::missing(&place(at).field("partitionKey"))),
        None => Ok(()),
    }
}

/// Whether the stream's records go to all shards alike, whatever their keys are.
fn spreads(stream: &Stream) -> bool {
    stream.settings.spreads && stream.on_demand
}

/// Lets records go to all shards alike, if that is how the stream has it.
fn spread(service: &Service, stream: &Stream, batch: &mut Batch) {
    if spreads(stream) {
        let count = batch.len() as u64;
        batch.spread(service.spread.fetch_add(count, Ordering::Relaxed));
    }
}

fn check_size(batch: &Batch, limits: &ServiceLimits) -> Result<(), ServiceError> {
    let most = limits.put_records_bytes;
    if batch.record_bytes() as u64 <= most {
        return Ok(());
    }
    let most = match most >> 20 {
        megabytes if megabytes << 20 == most => format!("{megabytes} MB"),
        _ => format!("{most} bytes"),
    };
    let message = format!("Records size exceeds {most} limit");
    Err(ServiceError::InvalidArgument(message))
}

fn find(
    service: &Service,
    name: Option<&Text<'_>>,
    arn: Option<&Text<'_>>,
) -> Result<Arc<Stream>, ServiceError> {
    StreamName::new(name.map(|t| t.0.as_ref()), arn.map(|t| t.0.as_ref())).find(service)
}

/// Where in a request a record stands: its index, unless it is the only one.
#[derive(Clone, Copy)]
struct Place(Option<usize>);

impl Place {
    /// The path of one of the record's fields.
    fn field(self, name: &str) -> String {
        match self.0 {
            Some(at) => format!("records.{}.member.{name}", at + 1),
            None => name.to_owned(),
        }
    }
}

/// Adds a record. One without a key gets to its shard by another way, or is refused, once its stream is known.
fn push(batch: &mut Batch, entry: &Entry<'_>, at: Place) -> Result<(), ServiceError> {
    let Some(data) = &entry.data else {
        return Err(ServiceError::missing(&at.field("data")));
    };
    let key = match &entry.partition_key {
        Some(key) => check_key(&key.0, at)?,
        None => "",
    };
    let hash = match &entry.explicit_hash_key {
        Some(text) => hash_key(&text.0, "ExplicitHashKey", || at.field("explicitHashKey"))?,
        None => hash_key::of_partition_key(key),
    };
    batch.push(hash, key, &data.0);
    Ok(())
}

fn check_key(key: &str, at: Place) -> Result<&str, ServiceError> {
    let rule = if key.is_empty() {
        "Member must have length greater than or equal to 1".to_owned()
    } else if key.len() > limits::KEY_CHARS && key.chars().count() > limits::KEY_CHARS {
        let most = limits::KEY_CHARS;
        format!("Member must have length less than or equal to {most}")
    } else {
        return Ok(key);
    };
    let field = at.field("partitionKey");
    Err(ServiceError::constraint(key, &field, &rule))
}

/// A hash key in decimal, without sign or leading zeros; `name` is its field's, and `field` gives the path to it.
pub(super) fn hash_key(
    text: &str,
    name: &str,
    field: impl FnOnce() -> String,
) -> Result<HashKey, ServiceError> {
    if !is_decimal(text, limits::HASH_KEY_DIGITS) {
        let rule = r"Member must satisfy regular expression pattern: 0|([1-9]\d{0,38})";
        return Err(ServiceError::constraint(text, &field(), rule));
    }
    text.parse().map_err(|_| {
        ServiceError::InvalidArgument(format!(
            "Invalid {name}. {name} must be in the range: [0, 2^128-1]. Specified value was {text}"
        ))
    })
}

async fn append(
    service: &Service,
    stream: &Stream,
    batch: Batch,
) -> Result<Vec<Placed>, ServiceError> {
    let append = Append {
        stream: stream.name.clone(),
        batch,
    };
    let placed = service.store.append(append).await;
    placed.map_err(|error| refuse(error, &stream.name))
}
