//! One worker process: its machine, its clock, its consumers, and its calls on the way.

use std::collections::BTreeMap;

use shardwright_core::{
    Checkpoint, Coordinator, CoordinatorEvent, FencedWrite, Incarnation, Instant, Lease, ShardId,
    Tenure, Trouble, TroubleKind, WorkerId,
};

/// A call that is on its way to the table.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Take(Lease, Incarnation),
    Write(FencedWrite),
    Announce(Lease),
}

impl Call {
    /// Whether it changes a row only under the counter that was last seen.
    pub(crate) fn is_fenced(&self) -> bool {
        !matches!(self, Self::Announce(_))
    }

    pub(crate) fn shard(&self) -> &ShardId {
        match self {
            Self::Take(seen, _) | Self::Announce(seen) => &seen.shard,
            Self::Write(write) => &write.held.shard,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Consumer {
    pub(crate) start: Checkpoint,
    /// Every checkpoint that was asked for.
    pub(crate) chain: Vec<Checkpoint>,
    pub(crate) until: Instant,
    pub(crate) is_paused: bool,
    pub(crate) is_told_to_stop: bool,
    pub(crate) has_ended: bool,
}

impl Consumer {
    pub(crate) fn may_dispatch(&self, now: Instant) -> bool {
        !self.is_paused && !self.is_told_to_stop && now < self.until
    }

    pub(crate) fn last(&self) -> Checkpoint {
        self.chain.last().unwrap_or(&self.start).clone()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) number: usize,
    pub(crate) name: WorkerId,
    pub(crate) machine: Coordinator,
    /// How fast its clock runs, in parts per thousand above real time, and where it began.
    pub(crate) drift: i64,
    pub(crate) origin: u64,
    pub(crate) calls: Vec<Call>,
    /// Answers of the table that are on their way.
    pub(crate) answers: Vec<CoordinatorEvent>,
    pub(crate) consumers: BTreeMap<Tenure, Consumer>,
    /// Consumers that have stopped as they were told.
    pub(crate) stopped: BTreeMap<Tenure, Consumer>,
    pub(crate) is_alive: bool,
    pub(crate) is_frozen: bool,
}

impl Process {
    pub(crate) fn clock(&self, real: u64) -> Instant {
        Instant::from_nanos(self.origin + scaled(real, 1000 + self.drift, 1000))
    }

    /// The first real moment at which its clock shows `at`.
    pub(crate) fn real(&self, at: Instant) -> u64 {
        let shown = at.as_nanos().saturating_sub(self.origin);
        let mut real = scaled(shown, 1000, 1000 + self.drift);
        while self.clock(real) < at {
            real += 1;
        }
        real
    }
}

fn scaled(nanos: u64, times: i64, by: i64) -> u64 {
    u64::try_from(i128::from(nanos) * i128::from(times) / i128::from(by)).unwrap_or_default()
}

pub(crate) fn unanswered(call: &Call) -> CoordinatorEvent {
    let trouble = Trouble {
        kind: TroubleKind::Transient,
        what: "no answer".into(),
    };
    match call {
        Call::Announce(seen) => CoordinatorEvent::Announced {
            shard: seen.shard.clone(),
            outcome: Err(trouble),
        },
        Call::Take(seen, incarnation) => CoordinatorEvent::Taken {
            latest_ms: None,
            tenure: Tenure {
                shard: seen.shard.clone(),
                incarnation: *incarnation,
            },
            outcome: Err(trouble.into()),
        },
        Call::Write(write) => CoordinatorEvent::Written {
            tenure: write.held.tenure(),
            outcome: Err(trouble.into()),
        },
    }
}
