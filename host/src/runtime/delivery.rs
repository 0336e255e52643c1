//! Delivers what a run emits, until it is delivered or refused for good.

use shardwright_core::{Delivery, RetryPolicy, Run, ShardId};

use super::generation::Generation;
use super::on_io::on_io;
use super::shared::Shared;
use crate::ports::{DeliveryError, EmissionId, ErrorKind, Outgoing, Sink};

/// A warning after this many failed tries in a row, and after every such number of further ones.
const FAILURES_PER_REPORT: u32 = 5;

/// Delivers everything in `run`, sink by sink, in order.
///
/// A sink that is away is waited for: its emissions are tried again with back-off until `on_failure.retry.max_age`, and
/// meanwhile the lane does nothing else, which is the back-pressure. So is one that refuses everything, since a policy that is
/// wrong is no fault of the messages. What it can never take fails its source.
pub(super) async fn deliver(
    shared: &Shared,
    generation: &Generation,
    shard: &ShardId,
    run: &mut Run<'_>,
) {
    if !run.has_deliveries() {
        return;
    }
    for (number, sink) in generation.parts.sinks.iter().enumerate() {
        let number = number as u32;
        deliver_to(shared, generation.retry, shard, run, number, sink.as_ref()).await;
    }
}

async fn deliver_to(
    shared: &Shared,
    retry: RetryPolicy,
    shard: &ShardId,
    run: &mut Run<'_>,
    number: u32,
    sink: &dyn Sink,
) {
    let began = shared.clock.now();
    let mut entropy = None;
    let mut left: Option<Vec<usize>> = None;
    let mut failures = 0_u32;
    let mut is_help_called = false;
    loop {
        let deliveries: Vec<Delivery<'_>> = run
            .deliveries(number)
            .filter(|delivery| {
                left.as_ref()
                    .is_none_or(|left| left.binary_search(&delivery.id).is_ok())
            })
            .collect();
        if deliveries.is_empty() {
            return;
        }
        let outgoing = outgoing(shared.stream.as_str(), shard, &deliveries);
        let Err(error) = on_io(&shared.io, sink.deliver(&outgoing)).await else {
            return;
        };
        failures += 1;
        let is_too_old = shared.clock.now().since(began) >= retry.max_age;
        let (refused, again) = sort_failures(&error, &deliveries, is_too_old);
        for (id, kind, reason) in refused {
            run.undeliverable(id, kind, &reason);
        }
        if again.is_empty() {
            return;
        }
        left = Some(again);
        let entropy = entropy.get_or_insert_with(|| shared.clock.entropy());
        let wants_help = error.failed.iter().find(|(_, why)| needs_help(why.kind));
        let is_news = wants_help.is_some() && !is_help_called;
        is_help_called |= is_news;
        if is_news || failures.is_multiple_of(FAILURES_PER_REPORT) {
            let pipeline = shared.name();
            let why = wants_help.or(error.failed.first());
            let error = why.map_or("", |(_, why)| &why.what);
            tracing::warn!(pipeline, %shard, failures, error, "a sink does not take emissions; the shard waits for it");
        }
        let pause = retry.pause(failures, entropy.draw() as u64);
        shared.clock.sleep(pause).await;
    }
}

fn outgoing<'a>(
    stream: &'a str,
    shard: &'a ShardId,
    deliveries: &[Delivery<'a>],
) -> Vec<Outgoing<'a>> {
    let outgoing = deliveries.iter().map(|delivery| Outgoing {
        id: EmissionId {
            stream,
            shard,
            from: delivery.from,
            to: delivery.to,
            n: delivery.n,
        },
        key: delivery.key,
        data: delivery.data,
    });
    outgoing.collect()
}

type Refused = (usize, &'static str, String);

/// Whether it is waited for and does not pass by itself.
fn needs_help(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound | ErrorKind::Fatal | ErrorKind::InvalidPosition
    )
}

/// Tells what is refused for good from what is worth another try, the latter rising.
fn sort_failures(
    error: &DeliveryError,
    deliveries: &[Delivery<'_>],
    is_too_old: bool,
) -> (Vec<Refused>, Vec<usize>) {
    let mut refused = Vec::new();
    let mut again = Vec::new();
    for (index, failure) in &error.failed {
        let Some(delivery) = deliveries.get(*index) else {
            continue;
        };
        match failure.kind {
            ErrorKind::Unfit => refused.push((delivery.id, "delivery", failure.what.clone())),
            _ if is_too_old => refused.push((delivery.id, "age", failure.what.clone())),
            _ => again.push(delivery.id),
        }
    }
    again.sort_unstable();
    (refused, again)
}
