//! Making, describing, resharding and filling streams: what the command line needs beside the ports.

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, StreamStatus};
use bytes::Bytes;
use shardwright_core::ShardId;

use super::error::{kind_of_code, port_error};
use crate::limits::{STREAM_POLL_INTERVAL, STREAM_READY_TIMEOUT};
use crate::ports::{ErrorKind, PortError};

/// A record to put.
#[derive(Clone, Debug)]
pub struct PutEntry {
    /// The partition key.
    pub key: Box<str>,
    /// The hash key that decides the shard, if not the key's own.
    pub explicit_hash_key: Option<u128>,
    /// The payload.
    pub data: Bytes,
}

/// The streams of one account and region.
#[derive(Clone, Debug)]
pub struct StreamAdmin {
    client: Client,
}

impl StreamAdmin {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Creates a stream and waits until it can be used.
    pub async fn create(&self, stream: &str, shards: u32) -> Result<(), PortError> {
        let call = format!("CreateStream {stream}");
        let shards = i32::try_from(shards).unwrap_or(i32::MAX);
        let sent = self
            .client
            .create_stream()
            .stream_name(stream)
            .shard_count(shards)
            .send()
            .await;
        sent.map_err(|error| port_error(call, &error))?;
        self.wait_until_active(stream).await
    }

    /// Whether a stream is there.
    pub async fn exists(&self, stream: &str) -> Result<bool, PortError> {
        match self.status(stream).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits until a stream can be used, or changed again.
    pub async fn wait_until_active(&self, stream: &str) -> Result<(), PortError> {
        let wait = async {
            while self.status(stream).await? != StreamStatus::Active {
                tokio::time::sleep(STREAM_POLL_INTERVAL).await;
            }
            Ok(())
        };
        tokio::time::timeout(STREAM_READY_TIMEOUT, wait)
            .await
            .unwrap_or_else(|_elapsed| {
                let what = format!("stream {stream} is not active after {STREAM_READY_TIMEOUT:?}");
                Err(PortError::new(ErrorKind::Transient, what))
            })
    }

    async fn status(&self, stream: &str) -> Result<StreamStatus, PortError> {
        let call = format!("DescribeStreamSummary {stream}");
        let sent = self
            .client
            .describe_stream_summary()
            .stream_name(stream)
            .send()
            .await;
        let answer = sent.map_err(|error| port_error(call, &error))?;
        let summary = answer.stream_description_summary();
        Ok(summary.map_or(StreamStatus::Creating, |summary| {
            summary.stream_status().clone()
        }))
    }

    /// The names of all streams, through all pages.
    pub async fn list(&self) -> Result<Vec<String>, PortError> {
        let mut names: Vec<String> = Vec::new();
        loop {
            let mut request = self.client.list_streams();
            if let Some(last) = names.last() {
                request = request.exclusive_start_stream_name(last);
            }
            let answer = request
                .send()
                .await
                .map_err(|error| port_error("ListStreams", &error))?;
            names.extend(answer.stream_names().iter().cloned());
            if !answer.has_more_streams() || answer.stream_names().is_empty() {
                return Ok(names);
            }
        }
    }

    /// Splits a shard at a hash key, which becomes the first of the upper half.
    pub async fn split(&self, stream: &str, shard: &ShardId, at: u128) -> Result<(), PortError> {
        let call = format!("SplitShard {shard} of {stream}");
        let request = self
            .client
            .split_shard()
            .stream_name(stream)
            .shard_to_split(shard.as_str());
        let sent = request.new_starting_hash_key(at.to_string()).send().await;
        sent.map_err(|error| port_error(call, &error))?;
        self.wait_until_active(stream).await
    }

    /// Merges two shards that lie side by side.
    pub async fn merge(
        &self,
        stream: &str,
        lower: &ShardId,
        upper: &ShardId,
    ) -> Result<(), PortError> {
        let call = format!("MergeShards {lower} and {upper} of {stream}");
        let request = self
            .client
            .merge_shards()
            .stream_name(stream)
            .shard_to_merge(lower.as_str());
        let sent = request.adjacent_shard_to_merge(upper.as_str()).send().await;
        sent.map_err(|error| port_error(call, &error))?;
        self.wait_until_active(stream).await
    }

    /// Puts records in one request; answers which of them were refused, and why.
    pub async fn put(
        &self,
        stream: &str,
        entries: &[PutEntry],
    ) -> Result<Vec<(usize, PortError)>, PortError> {
        let call = || format!("PutRecords to {stream}");
        let mut records = Vec::with_capacity(entries.len());
        for entry in entries {
            let record = PutRecordsRequestEntry::builder()
                .partition_key(&*entry.key)
                .set_explicit_hash_key(entry.explicit_hash_key.map(|hash| hash.to_string()))
                .data(Blob::new(entry.data.to_vec()))
                .build();
            records.push(record.map_err(|error| {
                PortError::new(ErrorKind::Fatal, format!("{}: {error}", call()))
            })?);
        }
        let sent = self
            .client
            .put_records()
            .stream_name(stream)
            .set_records(Some(records))
            .send()
            .await;
        let answer = sent.map_err(|error| port_error(call(), &error))?;
        let refused = answer
            .records()
            .iter()
            .enumerate()
            .filter_map(|(index, result)| {
                let code = result.error_code()?;
                let kind = kind_of_code(code).unwrap_or(ErrorKind::Transient);
                let message = result.error_message().unwrap_or_default();
                Some((
                    index,
                    PortError::new(kind, format!("{}: {code}: {message}", call())),
                ))
            });
        Ok(refused.collect())
    }
}
