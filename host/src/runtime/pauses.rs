//! Tells when shards of a pipeline stand still since a plugin fails everything, and when none does any more.

use std::collections::BTreeSet;

use shardwright_core::{Instant, Paused, ShardId};

use crate::limits::PAUSE_LINE_EVERY;

/// The shards of a pipeline in this process that are paused.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    shards: BTreeSet<ShardId>,
    since: Instant,
    told: Instant,
}

impl Pauses {
    /// A shard is paused, or one more probe of it has failed.
    pub(super) fn go_on(
        &mut self,
        now: Instant,
        shard: &ShardId,
        paused: &Paused,
        plugin: &str,
        pipeline: &str,
    ) {
        let is_first = self.shards.is_empty();
        self.shards.insert(shard.clone());
        if is_first {
            self.since = paused.since;
        } else if now.since(self.told) < PAUSE_LINE_EVERY {
            return;
        }
        self.told = now;
        let what = if is_first {
            "a plugin fails everything: it is paused and tried now and then, and nothing is given up"
        } else {
            "a plugin still fails everything"
        };
        tracing::warn!(
            pipeline,
            %shard,
            // Steps are counted from 1 wherever a person reads them.
            step = paused.cause.step.map_or(0, |step| step + 1),
            plugin,
            shards = self.shards.len(),
            since = ?now.since(self.since),
            // The guest's own words must not look like lines of the host.
            error = %paused.cause.reason.replace(['\n', '\r'], " | "),
            "{what}"
        );
    }

    /// The step has answered.
    pub(super) fn end(&mut self, now: Instant, shard: &ShardId, pipeline: &str) {
        if self.shards.remove(shard) && self.shards.is_empty() {
            let after = now.since(self.since);
            tracing::info!(
                pipeline,
                ?after,
                "the plugin answers again; no shard is paused any more"
            );
        }
    }

    /// A shard is not consumed here any more.
    pub(super) fn leave(&mut self, shard: &ShardId) {
        self.shards.remove(shard);
    }
}
