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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::InitialPosition;
    use crate::pipeline::{
        Batch, DeadLetterTarget, Endpoint, Flow, Handling, KinesisSource, Leases, OnFailure, Pace,
        Place, PluginRef, Poll, Retry, Route, Sink, SinkName, StdoutFormat, Step, StepLimits,
    };

    /// Every knob of a pipeline that this model turns, each with two positions.
    const KNOBS: usize = 20;

    /// What turning a knob rebuilds: the naive side of the comparison.
    fn rebuilt_by(knob: usize) -> Rebuild {
        match knob {
            0..=8 => Rebuild::Source,
            9..=13 => Rebuild::Flow,
            _ => Rebuild::Generation,
        }
    }

    fn pipeline(name: &str, knobs: &[bool]) -> Pipeline {
        let number = |knob: usize| u32::from(knobs[knob]) + 1;
        let time = |knob: usize| Duration::from_secs(number(knob).into());
        let place = |knob: usize| Place {
            region: Some(format!("region-{}", knobs[knob]).as_str().into()),
            endpoint: if knobs[knob] {
                Endpoint::Local
            } else {
                Endpoint::Aws
            },
        };
        let sink = SinkName::from("out");
        Pipeline {
            name: name.into(),
            tenant: knobs[0].then(|| "acme".into()),
            source: KinesisSource {
                stream: if knobs[1] { "a" } else { "b" }.into(),
                place: place(2),
                start: InitialPosition::AtTimestamp(number(3).into()),
                poll: Poll {
                    interval: time(4),
                    max_records: number(5),
                    pace: if knobs[6] {
                        Pace::Service
                    } else {
                        Pace::Unlimited
                    },
                },
                deaggregate: None,
                leases: Leases {
                    table: "table".into(),
                    place: place(7),
                    failover: time(8),
                    max_leases: None,
                },
            },
            flow: Flow {
                lanes: 8,
                in_flight_records: number(9).into(),
                in_flight_bytes: number(10).into(),
                span: number(11).into(),
                hold: Duration::from_secs(number(11).into()),
                batch: Batch {
                    records: number(12),
                    bytes: 1,
                    wait: Duration::ZERO,
                },
            },
            checkpoint_every: time(13),
            handling: if knobs[14] {
                Handling::Mirror { to: sink.clone() }
            } else {
                Handling::Steps(vec![Step {
                    plugin: PluginRef::Builtin("discard".into()),
                    config: "{}".into(),
                    limits: StepLimits {
                        memory: 1,
                        time: Duration::ZERO,
                        wait: Duration::ZERO,
                    },
                    outputs: BTreeMap::from([("default".into(), Route::Sink(sink.clone()))]),
                }])
            },
            sinks: BTreeMap::from([(
                if knobs[15] { sink } else { "other".into() },
                Sink::Stdout(StdoutFormat::Plain),
            )]),
            on_failure: OnFailure {
                retry: Retry {
                    attempts: number(16),
                    backoff_min: time(17),
                    backoff_max: time(18),
                    max_age: time(19),
                },
                dead_letter: DeadLetterTarget::DataDirectory,
            },
        }
    }

    type Set = BTreeMap<String, Vec<bool>>;

    fn sets() -> impl Strategy<Value = (Set, Set)> {
        let base =
            prop::collection::btree_map("[a-d]", prop::collection::vec(any::<bool>(), KNOBS), 0..4);
        // Few turned knobs, so that every kind of change comes up; and some that come and go.
        let turns = prop::collection::vec(("[a-d]", 0..KNOBS), 0..4);
        let others =
            prop::collection::btree_map("[a-f]", prop::collection::vec(any::<bool>(), KNOBS), 0..2);
        (base, turns, others, prop::option::of("[a-d]")).prop_map(|(base, turns, others, gone)| {
            let mut wanted = base.clone();
            wanted.extend(others);
            for (name, knob) in turns {
                if let Some(knobs) = wanted.get_mut(&name) {
                    knobs[knob] ^= true;
                }
            }
            wanted.retain(|name, _| gone.as_ref() != Some(name));
            (base, wanted)
        })
    }

    proptest! {
        #[test]
        fn a_diff_is_what_a_naive_comparison_finds((running, wanted) in sets(), reversed in any::<bool>()) {
            let build = |set: &Set| set.iter().map(|(name, knobs)| pipeline(name, knobs)).collect::<Vec<_>>();
            let (old, mut new) = (build(&running), build(&wanted));
            if reversed {
                new.reverse();
            }
            let diff = PipelineDiff::between(&old, &new);
            prop_assert_eq!(diff.is_empty(), running == wanted);

            let mut expected = BTreeMap::new();
            for name in running.keys().chain(wanted.keys()) {
                let change = match (running.get(name), wanted.get(name)) {
                    (Some(_), None) => Some(Change::Removed),
                    (None, _) => Some(Change::Added),
                    (Some(old), Some(new)) => (0..KNOBS)
                        .filter(|knob| old[*knob] != new[*knob])
                        .map(rebuilt_by)
                        .max()
                        .map(Change::Changed),
                };
                if let Some(change) = change {
                    expected.insert(PipelineName::from(name.as_str()), change);
                }
            }
            prop_assert_eq!(diff.changes, expected);
        }
    }
}
