//! What a new set of pipelines changes in a running one.

use std::collections::BTreeMap;

use super::{Pipeline, PipelineName};

/// What happens to one pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new: start it.
    Added,
    /// It is gone: drain it and release its leases.
    Removed,
    /// It is another: rebuild this much of it.
    Changed(Rebuild),
}

/// How much of a pipeline is rebuilt, each including what is above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rebuild {
    /// Plugins, sinks, routes and failure handling: a new generation takes over at a batch boundary (HR-1). Shards are
    /// read on.
    Generation,
    /// The window, the lanes or the checkpoint interval: each shard drains, and goes on from its watermark under the
    /// lease that it has.
    Flow,
    /// The stream, how it is read, or the lease table: the pipeline drains, releases its leases and starts anew.
    Source,
}

/// The pipelines that a new set adds, removes and changes; what is not named stays untouched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PipelineDiff {
    /// By name, in order.
    pub changes: BTreeMap<PipelineName, Change>,
}

impl PipelineDiff {
    /// Compares two sets, each with names of its own. The order within a set means nothing.
    pub fn between(running: &[Pipeline], wanted: &[Pipeline]) -> Self {
        let running: BTreeMap<_, _> = running.iter().map(|one| (&one.name, one)).collect();
        let wanted: BTreeMap<_, _> = wanted.iter().map(|one| (&one.name, one)).collect();
        let removed = running
            .keys()
            .filter(|name| !wanted.contains_key(*name))
            .map(|name| ((*name).clone(), Change::Removed));
        let rest = wanted.iter().filter_map(|(name, new)| {
            let change = match running.get(*name) {
                None => Change::Added,
                Some(old) => Change::Changed(rebuild(old, new)?),
            };
            Some(((*name).clone(), change))
        });
        Self {
            changes: removed.chain(rest).collect(),
        }
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// The most that any difference asks for. Both sides are taken apart field by field, so that a field that is added
/// to [`Pipeline`] does not compile until somebody has decided what it rebuilds.
fn rebuild(old: &Pipeline, new: &Pipeline) -> Option<Rebuild> {
    let Pipeline {
        name: _,
        tenant,
        source,
        flow,
        handling,
        sinks,
        on_failure,
        checkpoint_every,
    } = old;
    // A tenant's quotas and meters are bound to a pipeline when it starts.
    if *tenant != new.tenant || *source != new.source {
        Some(Rebuild::Source)
    } else if *flow != new.flow || *checkpoint_every != new.checkpoint_every {
        Some(Rebuild::Flow)
    } else if *handling != new.handling || *sinks != new.sinks || *on_failure != new.on_failure {
        Some(Rebuild::Generation)
    } else {
        None
    }
}
