//! `SubscribeToShard`: records pushed to a consumer as they come.
//!
//! A subscription reads only when its client takes the next event, so a slow client costs no memory. It lasts until it is
//! five minutes old, taken over, or at the shard's end.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::Instant;

use super::get::{ChildShard, Position, Records, child_shards, millis_behind};
use super::names::{ConsumerName, consumer_in_arn, no_consumer};
use super::{
    ACCOUNT, Call, Service, no_shard, no_stream, refuse, required, shard_id, shard_number,
    unless_dry_run,
};
use crate::clock::Millis;
use crate::faults::FaultKind;
use crate::limits;
use crate::sequence::SequenceNumber;
use crate::store::{Page, PageLimit, Shard, Span, Stream, Tail};
use crate::subscriptions::{NotNow, Subscriber, TakenOver};
use crate::throughput::Bucket;
use crate::wire::event_stream::{event, exception};
use crate::wire::{Encoding, ServiceError, Timestamp};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SubscribeToShard {
    #[serde(rename = "ConsumerARN")]
    consumer_arn: Option<String>,
    shard_id: Option<String>,
    starting_position: Option<StartingPosition>,
    dry_run: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StartingPosition {
    r#type: Option<String>,
    sequence_number: Option<String>,
    timestamp: Option<Timestamp>,
}

/// The initial response has no members.
#[derive(Serialize)]
struct Begun {}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShardEvent<'a> {
    records: Records<'a>,
    /// Missing in a shard's last event.
    #[serde(skip_serializing_if = "Option::is_none")]
    continuation_sequence_number: Option<SequenceNumber>,
    millis_behind_latest: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    child_shards: Option<Vec<ChildShard>>,
}

#[derive(Serialize)]
struct Failure<'a> {
    message: &'a str,
}

/// A subscription that has begun: a message at a time.
#[derive(Debug)]
pub(crate) struct Subscription {
    service: Arc<Service>,
    encoding: Encoding,
    consumer_arn: String,
    stream: i64,
    stream_name: String,
    shard: u32,
    /// Of every version of the shard.
    tail: Arc<Tail>,
    /// The index of the next record.
    next: u64,
    /// When the last record that was given had arrived: names the place it left off.
    arrival_ms: Millis,
    begun_ms: Millis,
    pushed: Bucket,
    taken_over: oneshot::Receiver<TakenOver>,
    /// When the client last heard something.
    told_at: Option<Instant>,
    /// Events until it breaks off on purpose.
    events_left: Option<u64>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing is said yet.
    New,
    Pushing,
    Over,
}

/// What a subscription does next.
enum Step {
    Say(Vec<u8>),
    /// The last words.
    End(Vec<u8>),
    /// No more is said.
    Close,
    Wait(Duration),
}

/// The subscription breaks off without an end: a fault that was asked for.
#[derive(Debug, thiserror::Error)]
#[error("a subscription was dropped on demand")]
pub(crate) struct Dropped;

/// Begins a subscription, which may end another one of the same consumer to the same shard.
pub(crate) async fn subscribe(
    service: &Arc<Service>,
    call: &Call,
) -> Result<Subscription, ServiceError> {
    let request: SubscribeToShard = call.decode()?;
    let consumer_arn = required(request.consumer_arn, "consumerARN")?;
    let shard = required(request.shard_id, "shardId")?;
    let position = required(request.starting_position, "startingPosition")?;
    let kind = required(position.r#type, "startingPosition.type")?;
    let position = Position {
        kind: &kind,
        sequence: position.sequence_number.as_deref(),
        timestamp: position.timestamp,
        operation: "SubscribeToShard",
        kind_field: "startingPosition.type",
        sequence_field: "startingPosition.sequenceNumber",
    };
    position.check()?;
    let named = consumer_in_arn(&consumer_arn)?;
    let number = shard_number(&shard)?;
    let (stream, consumer) = named.find(service)?;
    let shard = stream
        .shard(number)
        .ok_or_else(|| no_shard(number, &stream.name))?;
    let next = position.index(service, &stream, shard).await?;
    unless_dry_run(request.dry_run)?;
    let now = service.clock.now();
    // By what it is, not by its ARN's text: that may name any region and account.
    let subscriber = Subscriber {
        stream: stream.id,
        consumer: named.consumer.into(),
        registered_ms: consumer.created_ms,
        shard: number,
    };
    let taken_over =
        service
            .subscriptions
            .begin(subscriber, now)
            .map_err(|reason| match reason {
                NotNow::TooSoon => in_use(&named, &stream.name, number),
                NotNow::Closed => ServiceError::Unavailable("The endpoint stops.".into()),
            })?;
    let fault = call
        .fault
        .filter(|f| f.kind == FaultKind::DroppedSubscription);
    Ok(Subscription {
        service: Arc::clone(service),
        encoding: call.encoding,
        stream: stream.id,
        stream_name: stream.name.clone(),
        shard: number,
        tail: Arc::clone(&shard.tail),
        next,
        arrival_ms: now,
        begun_ms: now,
        pushed: Bucket::default(),
        taken_over,
        told_at: None,
        events_left: fault.map(|f| f.events),
        stage: Stage::New,
        consumer_arn,
    })
}

fn in_use(consumer: &ConsumerName<'_>, stream: &str, shard: u32) -> ServiceError {
    ServiceError::ResourceInUse(format!(
        "Another active subscription exists for this consumer: {ACCOUNT}:{stream}:{}:{}",
        shard_id(shard),
        consumer.consumer
    ))
}

impl Subscription {
    /// The next message; nothing once the subscription is over. Waits until there is something to say.
    pub(crate) async fn message(&mut self) -> Option<Result<Vec<u8>, Dropped>> {
        match self.stage {
            Stage::Over => return None,
            Stage::New => {
                self.stage = Stage::Pushing;
                return Some(Ok(self.framed("initial-response", &Begun {})));
            }
            Stage::Pushing => {}
        }
        if let Some(left) = &mut self.events_left {
            if *left == 0 {
                self.stage = Stage::Over;
                // What was said before goes out first.
                tokio::task::yield_now().await;
                return Some(Err(Dropped));
            }
            *left -= 1;
        }
        let (service, tail) = (Arc::clone(&self.service), Arc::clone(&self.tail));
        loop {
            // Asked for before the looks below, so that what happens after them is not missed.
            let (moved, changed) = (tail.moved(), service.store.streams().changed());
            let set = service.clock.changed();
            tokio::pin!(moved, changed, set);
            moved.as_mut().enable();
            changed.as_mut().enable();
            set.as_mut().enable();
            // Each time, and not only when there is nothing to say: one that is far behind has to end as soon as any other.
            match self.taken_over.try_recv() {
                Err(TryRecvError::Empty) => {}
                told => return self.end_by_another(told.ok()),
            }
            let wait = match self.step().await {
                Ok(Step::Say(message)) => return Some(Ok(message)),
                Ok(Step::End(message)) => {
                    self.stage = Stage::Over;
                    return Some(Ok(message));
                }
                Ok(Step::Close) => {
                    self.stage = Stage::Over;
                    return None;
                }
                Ok(Step::Wait(wait)) => wait,
                Err(error) => {
                    self.stage = Stage::Over;
                    return Some(Ok(self.failed(&error)));
                }
            };
            tokio::select! {
                () = moved => {}
                () = changed => {}
                () = set => {}
                () = tokio::time::sleep(wait) => {}
                told = &mut self.taken_over => return self.end_by_another(told.ok()),
            }
        }
    }

    /// Ends, with a word if someone takes over and without one if the endpoint stops.
    fn end_by_another(&mut self, by: Option<TakenOver>) -> Option<Result<Vec<u8>, Dropped>> {
        self.stage = Stage::Over;
        by.map(|TakenOver| Ok(self.failed(&self.is_taken_over())))
    }

    /// Looks at the shard as it is now.
    async fn step(&mut self) -> Result<Step, ServiceError> {
        let now = self.service.clock.now();
        let age = Duration::from_millis(now.saturating_sub(self.begun_ms));
        let Some(rest) = limits::SUBSCRIPTION_LIFE
            .checked_sub(age)
            .filter(|rest| !rest.is_zero())
        else {
            return Ok(Step::Close);
        };
        // The stream first, then the tail: a shard that is closed here has no records past the tail that is read next.
        let stream = self.find_stream()?;
        let shard = stream
            .shard(self.shard)
            .ok_or_else(|| no_shard(self.shard, &stream.name))?;
        let end = shard.tail.next();
        let from = self.next.max(shard.tail.first());
        if from >= end && !shard.is_open() {
            return Ok(Step::End(self.shard_end(&stream, shard)));
        }
        let paused = self.service.limiter.with(|_, limits| {
            let wait = self.pushed.wait(limits.fan_out_bytes_per_s, now);
            Duration::from_millis(wait)
        });
        let paused = paused.filter(|wait| !wait.is_zero());
        if from < end && paused.is_none() {
            let span = Span {
                stream: stream.id,
                shard: shard.number,
                from,
                end,
            };
            return Ok(Step::Say(self.push(&stream, shard, span).await?));
        }
        let due = self.told_at.map_or(Duration::ZERO, |told| {
            limits::HEARTBEAT.saturating_sub(told.elapsed())
        });
        if due.is_zero() {
            let page = Page::empty(from);
            return Ok(Step::Say(self.say(&stream, shard, &page, end)));
        }
        Ok(Step::Wait(due.min(rest).min(paused.unwrap_or(due))))
    }

    async fn push(
        &mut self,
        stream: &Stream,
        shard: &Shard,
        span: Span,
    ) -> Result<Vec<u8>, ServiceError> {
        let limit = PageLimit {
            records: limits::GET_RECORDS,
            bytes: limits::EVENT_BYTES,
        };
        let page = self.service.store.read(span, limit).await;
        let page = page.map_err(|error| refuse(error, &stream.name))?;
        let now = self.service.clock.now();
        let pushed = &mut self.pushed;
        self.service.limiter.with(|_, limits| {
            pushed.charge(page.bytes() as u64, limits.fan_out_bytes_per_s, now);
        });
        Ok(self.say(stream, shard, &page, span.end))
    }

    /// An event with the records of `page`, of a shard that has them up to `end`.
    fn say(&mut self, stream: &Stream, shard: &Shard, page: &Page, end: u64) -> Vec<u8> {
        self.told_at = Some(Instant::now());
        self.next = page.next;
        self.arrival_ms = page.last_arrival_ms().unwrap_or(self.arrival_ms);
        let said = ShardEvent {
            records: Records {
                page,
                shard,
                stream,
            },
            // That of the last record, or of where the next one will be after: AFTER_SEQUENCE_NUMBER goes on here.
            continuation_sequence_number: Some(
                shard.sequence(page.next.saturating_sub(1), self.arrival_ms),
            ),
            millis_behind_latest: millis_behind(
                self.arrival_ms,
                page.next < end,
                self.service.clock.now(),
            ),
            child_shards: None,
        };
        self.framed("SubscribeToShardEvent", &said)
    }

    fn shard_end(&self, stream: &Stream, shard: &Shard) -> Vec<u8> {
        let page = Page::empty(self.next);
        let said = ShardEvent {
            records: Records {
                page: &page,
                shard,
                stream,
            },
            continuation_sequence_number: None,
            millis_behind_latest: 0,
            child_shards: Some(child_shards(stream, shard.number)),
        };
        self.framed("SubscribeToShardEvent", &said)
    }

    /// The stream, while it and the consumer are there.
    fn find_stream(&self) -> Result<Arc<Stream>, ServiceError> {
        let found = self.service.store.streams().get(&self.stream_name);
        let stream = found
            .filter(|s| s.id == self.stream)
            .ok_or_else(|| no_stream(&self.stream_name))?;
        let consumer = consumer_in_arn(&self.consumer_arn)?;
        if consumer.find(&self.service).is_err() {
            return Err(no_consumer(consumer.consumer, &stream.name));
        }
        Ok(stream)
    }

    fn is_taken_over(&self) -> ServiceError {
        match consumer_in_arn(&self.consumer_arn) {
            Ok(consumer) => in_use(&consumer, &self.stream_name, self.shard),
            Err(error) => error,
        }
    }

    fn framed<T: Serialize>(&self, kind: &str, said: &T) -> Vec<u8> {
        match self.encoding.encode(said) {
            Ok(payload) => event(kind, self.encoding.content_type(), &payload),
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&self, error: &ServiceError) -> Vec<u8> {
        let message = error.to_string();
        let payload = self.encoding.encode(&Failure { message: &message });
        exception(
            error.kind(),
            self.encoding.content_type(),
            &payload.unwrap_or_default(),
        )
    }
}
