//! Which records of a put the service takes now.

use super::{ACCOUNT, Call, Service, shard_id};
use crate::faults::{FaultKind, Random};
use crate::store::{Batch, Stream};

/// A record that is not taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    /// Its place in the request.
    pub(super) at: usize,
    /// The shard it would have gone to.
    shard: u32,
}

impl Refused {
    pub(super) fn message(self, stream: &Stream) -> String {
        format!(
            "Rate exceeded for shard {} in stream {} under account {ACCOUNT}.",
            shard_id(self.shard),
            stream.name
        )
    }
}

/// Takes out of `batch` what a shard has no room for, or what a fault asks for; gives those records in their order.
pub(super) fn admit(
    service: &Service,
    call: &Call,
    stream: &Stream,
    batch: &mut Batch,
) -> Vec<Refused> {
    let fault = call.fault.filter(|f| f.kind == FaultKind::PartialThrottle);
    let mut refused = Vec::new();
    if let Some(fault) = fault {
        let mut random = Random::new(fault.seed);
        // At least this one, so that the fault is one.
        let unlucky = random.next() as usize % batch.len().max(1);
        take_out(stream, batch, &mut refused, |at, _, _| {
            at == unlucky || random.next().is_multiple_of(2)
        });
        return refused;
    }
    service.limiter.with(|throughput, limits| {
        let now = service.clock.now();
        take_out(stream, batch, &mut refused, |_, shard, bytes| {
            !throughput.admit_write((stream.id, shard), bytes, limits, now)
        });
    });
    refused
}

fn take_out(
    stream: &Stream,
    batch: &mut Batch,
    refused: &mut Vec<Refused>,
    mut is_refused: impl FnMut(usize, u32, u64) -> bool,
) {
    let routes = stream.routes();
    let mut at = 0;
    batch.retain(|hash, bytes| {
        let route = routes.find(hash).and_then(|route| routes.shard(route));
        // The store refuses what no shard owns.
        let shard = route.map(|s| s.number);
        let is_refused = shard.is_some_and(|shard| is_refused(at, shard, bytes as u64));
        if let Some(shard) = shard.filter(|_| is_refused) {
            refused.push(Refused { at, shard });
        }
        at += 1;
        !is_refused
    });
}
