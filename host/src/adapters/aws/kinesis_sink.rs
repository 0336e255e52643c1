//! Delivering emissions to a Kinesis stream with `PutRecords`.

mod plan;

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, PutRecordsResultEntry};
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
use shardwright_core::pipeline::Order;

use super::error::{kind_of_code, port_error};
use crate::ports::{DeliveryError, ErrorKind, Outgoing, PortError, PortFuture, Sink};

/// A Kinesis stream to write to, by name. Cloning it is cheap.
///
/// The stream keeps no idempotency key, so that a record whose acknowledgement was lost is there twice. An emission's
/// key becomes the partition key. One without a key gets `sequence/sub-sequence/n` of its id: it has no order to keep,
/// spreads over the shards, and goes to the same shard when it is sent again.
///
/// `PutRecords` neither keeps the order of its records nor fails them together. With [`Order::PerKey`] a request
/// therefore carries at most one record per key, and the next of that key is sent when the one before has been
/// acknowledged: an emission per key in a batch costs nothing, many of one key cost a request each.
#[derive(Clone, Debug)]
pub struct KinesisSink {
    client: Client,
    stream: Arc<str>,
    order: Order,
}

impl KinesisSink {
    pub(super) fn new(client: Client, stream: &str, order: Order) -> Self {
        Self {
            client,
            stream: stream.into(),
            order,
        }
    }

    async fn put(&self, emissions: &[Outgoing<'_>]) -> Result<(), DeliveryError> {
        let mut outcome = Outcome::default();
        let plan = plan::plan(emissions, self.order);
        for (index, error) in plan.refused {
            outcome.fail(index, emissions[index].key, error);
        }
        for mut request in plan.requests {
            if self.order == Order::PerKey {
                request.retain(|&index| !outcome.holds_back(index, emissions[index].key));
            }
            if !request.is_empty() {
                self.put_request(emissions, &request, &mut outcome).await;
            }
        }
        outcome.failed.sort_unstable_by_key(|(index, _)| *index);
        if outcome.failed.is_empty() {
            Ok(())
        } else {
            Err(DeliveryError {
                failed: outcome.failed,
            })
        }
    }

    async fn put_request<'a>(
        &self,
        emissions: &[Outgoing<'a>],
        request: &[usize],
        outcome: &mut Outcome<'a>,
    ) {
        let call = || format!("PutRecords to {}", self.stream);
        let mut fail_all = |error: PortError| {
            for &index in request {
                outcome.fail(index, emissions[index].key, error.clone());
            }
        };
        let entries: Result<Vec<_>, _> = request
            .iter()
            .map(|&index| entry(&emissions[index]))
            .collect();
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                return fail_all(PortError::new(
                    ErrorKind::Fatal,
                    format!("{}: {error}", call()),
                ));
            }
        };
        let sent = self
            .client
            .put_records()
            .stream_name(&*self.stream)
            .set_records(Some(entries))
            .send()
            .await;
        let results = match sent {
            Ok(answer) => answer.records,
            Err(error) => {
                let mut failed = port_error(call(), &error);
                // What was checked beforehand is taken by any stream; but not every one takes what is large.
                let is_invalid = error.code().is_some_and(is_about_the_records);
                if is_invalid
                    && request
                        .iter()
                        .all(|&index| plan::is_large(&emissions[index]))
                {
                    failed.kind = ErrorKind::Unfit;
                }
                return fail_all(failed);
            }
        };
        if results.len() != request.len() {
            // Which of them are delivered cannot be told, so that all are sent again.
            let what = format!(
                "{}: {} results for {} records",
                call(),
                results.len(),
                request.len()
            );
            return fail_all(PortError::new(ErrorKind::Transient, what));
        }
        for (&index, result) in request.iter().zip(&results) {
            if let Some(error) = self.error_of(result) {
                outcome.fail(index, emissions[index].key, error);
            }
        }
    }

    fn error_of(&self, result: &PutRecordsResultEntry) -> Option<PortError> {
        let code = result.error_code()?;
        Some(PortError::new(
            // What the service says of a single record is about the moment, unless we know better.
            kind_of_code(code).unwrap_or(ErrorKind::Transient),
            format!(
                "PutRecords to {}: {code}: {}",
                self.stream,
                result.error_message().unwrap_or("no message")
            ),
        ))
    }
}

impl Sink for KinesisSink {
    fn delivered_means(&self) -> &'static str {
        "PutRecords has acknowledged the record, which Kinesis has then stored in three availability zones"
    }

    fn deliver<'a>(
        &'a self,
        emissions: &'a [Outgoing<'a>],
    ) -> PortFuture<'a, Result<(), DeliveryError>> {
        Box::pin(self.put(emissions))
    }

    fn sync(&self) -> PortFuture<'_, Result<(), PortError>> {
        // An acknowledged record is durable.
        Box::pin(async { Ok(()) })
    }
}

/// What has failed so far in one call.
#[derive(Default)]
struct Outcome<'a> {
    failed: Vec<(usize, PortError)>,
    /// The first index of a key that has failed.
    keys: HashMap<&'a str, usize>,
}

impl<'a> Outcome<'a> {
    fn fail(&mut self, index: usize, key: &'a str, error: PortError) {
        if !key.is_empty() {
            let first = self.keys.entry(key).or_insert(index);
            *first = index.min(*first);
        }
        self.failed.push((index, error));
    }

    /// Whether an earlier emission of the key has failed; then this one fails with it, unsent.
    fn holds_back(&mut self, index: usize, key: &'a str) -> bool {
        let is_held = self.keys.get(key).is_some_and(|&first| first < index);
        if is_held {
            let what = "held back: an earlier emission of its key was not delivered";
            self.failed
                .push((index, PortError::new(ErrorKind::Transient, what)));
        }
        is_held
    }
}

/// Whether a code says that the request itself is wrong, and not who makes it or what it is made to.
fn is_about_the_records(code: &str) -> bool {
    matches!(code, "InvalidArgumentException" | "ValidationException")
}

fn entry(
    emission: &Outgoing<'_>,
) -> Result<PutRecordsRequestEntry, aws_sdk_kinesis::error::BuildError> {
    PutRecordsRequestEntry::builder()
        .partition_key(plan::partition_key(emission))
        .data(Blob::new(emission.data))
        .build()
}
