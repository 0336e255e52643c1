//! Tells when a new generation has taken over in every shard of a pipeline, and for how long lanes stood still for it.

use std::collections::BTreeMap;
use std::time::Duration;

use shardwright_core::pipeline::PipelineName;
use shardwright_core::{Instant, ShardId};

/// The shards of a pipeline in this process, and the generation that they come to.
#[derive(Debug, Default)]
pub(super) struct TakeOvers {
    /// The generation that all lanes of a shard have come to.
    shards: BTreeMap<ShardId, u64>,
    under_way: Option<TakeOver>,
}

#[derive(Debug)]
struct TakeOver {
    number: u64,
    began: Instant,
    pauses: Vec<Duration>,
}

impl TakeOvers {
    pub(super) fn join(&mut self, shard: &ShardId, number: u64) {
        self.shards.insert(shard.clone(), number);
    }

    pub(super) fn leave(&mut self, now: Instant, shard: &ShardId, pipeline: &PipelineName) {
        self.shards.remove(shard);
        self.tell(now, pipeline);
    }

    pub(super) fn begin(&mut self, now: Instant, number: u64, pipeline: &PipelineName) {
        // Pauses on the way to a generation that was passed over count for the one that is come to.
        let pauses = self.under_way.take().map(|before| before.pauses);
        self.under_way = Some(TakeOver {
            number,
            began: now,
            pauses: pauses.unwrap_or_default(),
        });
        self.tell(now, pipeline);
    }

    pub(super) fn settled(
        &mut self,
        now: Instant,
        shard: &ShardId,
        number: u64,
        pauses: Vec<Duration>,
        pipeline: &PipelineName,
    ) {
        if let Some(at) = self.shards.get_mut(shard) {
            *at = number;
        }
        if let Some(take_over) = &mut self.under_way {
            take_over.pauses.extend(pauses);
        }
        self.tell(now, pipeline);
    }

    fn tell(&mut self, now: Instant, pipeline: &PipelineName) {
        let shards = &self.shards;
        let is_there = |take_over: &mut TakeOver| {
            let number = take_over.number;
            shards.values().all(|shard| *shard >= number)
        };
        let Some(mut done) = self.under_way.take_if(is_there) else {
            return;
        };
        done.pauses.sort_unstable();
        tracing::info!(
            %pipeline,
            generation = done.number,
            shards = shards.len(),
            lanes = done.pauses.len(),
            pause_p50 = ?quantile(&done.pauses, 50),
            pause_p99 = ?quantile(&done.pauses, 99),
            after = ?now.since(done.began),
            "a new generation has taken over"
        );
    }
}

/// Of rising values, the one that so many percent do not exceed; zero of none.
fn quantile(rising: &[Duration], percent: usize) -> Duration {
    let rank = (rising.len() * percent).div_ceil(100).max(1);
    rising.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_value_that_was_measured() {
        let values: Vec<Duration> = (1..=200).map(Duration::from_micros).collect();
        assert_eq!(quantile(&values, 50), Duration::from_micros(100));
        assert_eq!(quantile(&values, 99), Duration::from_micros(198));
        assert_eq!(quantile(&values[..1], 99), Duration::from_micros(1));
        assert_eq!(quantile(&[], 99), Duration::ZERO);
    }
}
