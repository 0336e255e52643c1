//! `PutRecord` and `PutRecords`.

use serde::{Deserialize, Serialize};

use super::{Call, Service, StreamName, no_stream, refuse, required, shard_id};
use crate::hash_key::{self, HashKey};
use crate::limits;
use crate::sequence::SequenceNumber;
use crate::store::{Append, Batch, Placed};
use crate::wire::{Blob, Few, ServiceError, Text};

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
struct PutAnswer {
    failed_record_count: u32,
    records: Vec<Put>,
}

/// Every record's number is above those before it in its shard, so `SequenceNumberForOrdering` asks for nothing more.
pub(super) async fn put_record(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let (stream, batch) = {
        let request: PutRecord<'_> = call.decode()?;
        let key = required(request.partition_key, "partitionKey")?;
        let data = required(request.data, "data")?;
        if let Some(after) = &request.sequence_number_for_ordering
            && after.0.parse::<SequenceNumber>().is_err()
        {
            let message = format!(
                "ExclusiveMinimumSequenceNumber {} used in PutRecord is invalid.",
                after.0
            );
            return Err(ServiceError::InvalidArgument(message));
        }
        let stream = name_of(request.stream_name.as_ref(), request.stream_arn.as_ref())?;
        let mut batch = Batch::with_capacity(1, data.0.len() + key.0.len());
        push(&mut batch, &key, request.explicit_hash_key.as_ref(), &data)?;
        (stream, batch)
    };
    let placed = append(service, stream, batch).await?;
    let first = placed
        .first()
        .ok_or_else(|| ServiceError::Internal("a record without a place".into()))?;
    call.encode(&Put {
        shard_id: shard_id(first.shard),
        sequence_number: first.sequence,
    })
}

pub(super) async fn put_records(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let (stream, batch) = {
        let request: PutRecords<'_> = call.decode()?;
        let stream = name_of(request.stream_name.as_ref(), request.stream_arn.as_ref())?;
        let Few { items, count } = required(request.records, "records")?;
        check_count(count)?;
        let mut bytes = 0;
        let mut records = Vec::with_capacity(items.len());
        for entry in items {
            let key = required(entry.partition_key, "records.1.member.partitionKey")?;
            let data = required(entry.data, "records.1.member.data")?;
            bytes += data.0.len() + key.0.len();
            records.push((key, entry.explicit_hash_key, data));
        }
        if bytes > limits::PUT_BYTES {
            let message = format!("Records size exceeds {} MB limit", limits::PUT_BYTES >> 20);
            return Err(ServiceError::InvalidArgument(message));
        }
        let mut batch = Batch::with_capacity(records.len(), bytes);
        for (key, explicit, data) in &records {
            push(&mut batch, key, explicit.as_ref(), data)?;
        }
        (stream, batch)
    };
    let placed = append(service, stream, batch).await?;
    let record = |p: &Placed| Put {
        shard_id: shard_id(p.shard),
        sequence_number: p.sequence,
    };
    call.encode(&PutAnswer {
        failed_record_count: 0,
        records: placed.iter().map(record).collect(),
    })
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

fn name_of(name: Option<&Text<'_>>, arn: Option<&Text<'_>>) -> Result<String, ServiceError> {
    let stream = StreamName::new(name.map(|t| t.0.as_ref()), arn.map(|t| t.0.as_ref()));
    stream.name().map(str::to_owned)
}

fn push(
    batch: &mut Batch,
    key: &Text<'_>,
    explicit: Option<&Text<'_>>,
    data: &Blob,
) -> Result<(), ServiceError> {
    let key = key.0.as_ref();
    if key.is_empty() {
        return Err(ServiceError::constraint(
            key,
            "partitionKey",
            "Member must have length greater than or equal to 1",
        ));
    }
    if key.len() > limits::KEY_CHARS && key.chars().count() > limits::KEY_CHARS {
        let rule = format!(
            "Member must have length less than or equal to {}",
            limits::KEY_CHARS
        );
        return Err(ServiceError::constraint(key, "partitionKey", &rule));
    }
    if data.0.len() + key.len() > limits::RECORD_BYTES {
        let rule = format!(
            "Member must have length less than or equal to {}",
            limits::RECORD_BYTES
        );
        return Err(ServiceError::constraint(
            &format!("{} bytes", data.0.len()),
            "data",
            &rule,
        ));
    }
    let hash = match explicit {
        Some(text) => explicit_hash_key(&text.0)?,
        None => hash_key::of_partition_key(key),
    };
    batch.push(hash, key, &data.0);
    Ok(())
}

/// A hash key in decimal, without sign or leading zeros.
pub(super) fn explicit_hash_key(text: &str) -> Result<HashKey, ServiceError> {
    let digits = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    if !digits {
        let rule = "Member must satisfy regular expression pattern: 0|([1-9]\\d{0,38})";
        return Err(ServiceError::constraint(text, "explicitHashKey", rule));
    }
    text.parse().map_err(|_| {
        ServiceError::InvalidArgument(format!(
            "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was {text}"
        ))
    })
}

async fn append(
    service: &Service,
    stream: String,
    batch: Batch,
) -> Result<Vec<Placed>, ServiceError> {
    // Asked here as well as by the writer, so that requests for a stream that is not there do not queue.
    let found = service
        .store
        .streams()
        .get(&stream)
        .ok_or_else(|| no_stream(&stream))?;
    service
        .store
        .append(Append { stream, batch })
        .await
        .map_err(|error| refuse(error, &found.name))
}
