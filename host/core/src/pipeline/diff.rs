//! What a new set of pipelines changes in a running one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Flow, KinesisSource, Pipeline, PipelineName};

/// What happens to one pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new: start it.
    Added,
    /// It is gone: drain it and release its leases.
    Removed,
    /// It is another: rebuild this much of it.
    Changed {
        /// The most that any of the fields asks for.
        rebuild: Rebuild,
        /// The fields that are others, as the YAML calls them.
        fields: Vec<&'static str>,
    },
}

impl Change {
    /// Whether leases are released for it.
    pub fn releases_leases(&self) -> bool {
        match self {
            Self::Added => false,
            Self::Removed => true,
            Self::Changed { rebuild, .. } => *rebuild == Rebuild::Restart,
        }
    }
}

/// How much of a pipeline is rebuilt, each including what is above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rebuild {
    /// Plugins, sinks, routes, failure handling and bounds: a new generation takes over, each lane at a batch boundary of
    /// its own (HR-1). Shards are read on.
    Generation,
    /// The number of lanes: the batches that are out come back first, and what is queued is spread anew. Shards are read
    /// on.
    Lanes,
    /// The stream, how its records are taken apart, or the lease table: the pipeline drains, releases its leases and
    /// starts anew. Nothing of this can change under a lease.
    Restart,
}

/// The pipelines that a new set adds, removes and changes; what is not named stays untouched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PipelineDiff {
    /// By name, in order.
    pub changes: BTreeMap<PipelineName, Change>,
}

impl PipelineDiff {
    /// Compares two sets, each with names of its own. The order within a set means nothing.
    pub fn between(running: &[Arc<Pipeline>], wanted: &[Arc<Pipeline>]) -> Self {
        let running: BTreeMap<_, _> = running.iter().map(|one| (&one.name, one)).collect();
        let wanted: BTreeMap<_, _> = wanted.iter().map(|one| (&one.name, one)).collect();
        let removed = running
            .keys()
            .filter(|name| !wanted.contains_key(*name))
            .map(|name| ((*name).clone(), Change::Removed));
        let rest = wanted.iter().filter_map(|(name, new)| {
            let change = match running.get(*name) {
                None => Change::Added,
                Some(old) => changed(old, new)?,
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

/// What differs, field by field. Both sides are taken apart, so that a field that is added to [`Pipeline`] does not compile
/// until somebody has decided what it rebuilds.
fn changed(old: &Pipeline, new: &Pipeline) -> Option<Change> {
    let Pipeline {
        name: _,
        tenant,
        source:
            KinesisSource {
                stream,
                place,
                start,
                poll,
                deaggregate,
                leases,
            },
        flow:
            Flow {
                lanes,
                in_flight_records,
                in_flight_bytes,
                span,
                batch,
                hold,
            },
        handling,
        sinks,
        on_failure,
        checkpoint_every,
    } = old;
    let in_flight = (*in_flight_records, *in_flight_bytes);
    let new_in_flight = (new.flow.in_flight_records, new.flow.in_flight_bytes);
    let looks = [
        // A tenant's quotas and meters are bound to a pipeline when it starts.
        (Rebuild::Restart, "tenant", *tenant != new.tenant),
        (Rebuild::Restart, "stream", *stream != new.source.stream),
        (
            Rebuild::Restart,
            "region or endpoint",
            *place != new.source.place,
        ),
        (Rebuild::Restart, "start", *start != new.source.start),
        // A checkpoint inside a container means another place when containers are opened otherwise.
        (
            Rebuild::Restart,
            "deaggregate",
            *deaggregate != new.source.deaggregate,
        ),
        (Rebuild::Restart, "leases", *leases != new.source.leases),
        (Rebuild::Lanes, "lanes", *lanes != new.flow.lanes),
        (Rebuild::Generation, "read", *poll != new.source.poll),
        (Rebuild::Generation, "in_flight", in_flight != new_in_flight),
        (Rebuild::Generation, "span", *span != new.flow.span),
        (Rebuild::Generation, "batch", *batch != new.flow.batch),
        (Rebuild::Generation, "hold", *hold != new.flow.hold),
        (Rebuild::Generation, "steps", *handling != new.handling),
        (Rebuild::Generation, "sinks", *sinks != new.sinks),
        (
            Rebuild::Generation,
            "on_failure",
            *on_failure != new.on_failure,
        ),
        (
            Rebuild::Generation,
            "checkpoint",
            *checkpoint_every != new.checkpoint_every,
        ),
    ];
    let differ = looks.into_iter().filter(|(.., differs)| *differs);
    let (rebuilds, fields): (Vec<Rebuild>, Vec<&str>) =
        differ.map(|(rebuild, field, _)| (rebuild, field)).unzip();
    let rebuild = rebuilds.into_iter().max()?;
    Some(Change::Changed { rebuild, fields })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroU32;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::InitialPosition;
    use crate::pipeline::{
        Batch, DeadLetterTarget, Endpoint, Flow, Handling, KinesisSource, Leases, OnFailure, Pace,
        Place, PluginRef, Poll, Retry, Route, Sink, SinkName, StdoutFormat, Step, StepLimits,
    };

    /// Every knob of a pipeline that this model turns, each with two positions.
    const KNOBS: usize = 23;

    /// What turning a knob rebuilds: the naive side of the comparison.
    fn rebuilt_by(knob: usize) -> Rebuild {
        match knob {
            0..=3 | 7 | 8 => Rebuild::Restart,
            20 => Rebuild::Lanes,
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
                lanes: number(20) as u16,
                in_flight_records: number(9).into(),
                in_flight_bytes: number(10).into(),
                span: number(11).into(),
                hold: time(21),
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
                breaker: NonZeroU32::new(number(22)),
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
            let build = |set: &Set| set.iter().map(|(name, knobs)| Arc::new(pipeline(name, knobs))).collect::<Vec<_>>();
            let (old, mut new) = (build(&running), build(&wanted));
            if reversed {
                new.reverse();
            }
            let diff = PipelineDiff::between(&old, &new);
            prop_assert_eq!(diff.is_empty(), running == wanted);

            let is_known = |name: &PipelineName| running.contains_key(name.as_str()) || wanted.contains_key(name.as_str());
            prop_assert!(diff.changes.keys().all(is_known));
            for name in running.keys().chain(wanted.keys()) {
                let change = diff.changes.get(&PipelineName::from(name.as_str()));
                let (Some(old), Some(new)) = (running.get(name), wanted.get(name)) else {
                    let expected = if running.contains_key(name) { Change::Removed } else { Change::Added };
                    prop_assert_eq!(change, Some(&expected));
                    continue;
                };
                let turned = || (0..KNOBS).filter(|knob| old[*knob] != new[*knob]);
                match change {
                    None => prop_assert_eq!(turned().count(), 0),
                    Some(Change::Changed { rebuild, fields }) => {
                        prop_assert_eq!(Some(*rebuild), turned().map(rebuilt_by).max());
                        prop_assert!(!fields.is_empty() && fields.len() <= turned().count());
                    }
                    Some(other) => prop_assert!(false, "{} is {:?}", name, other),
                }
            }
        }
    }
}
