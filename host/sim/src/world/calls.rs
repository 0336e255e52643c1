//! Calls to the lease table: some are lost, some late, and of some nobody hears.

use std::time::Duration;

use shardwright_core::{
    Checkpoint, CoordinatorEvent, FencedWrite, Incarnation, Lease, LeaseChange, NewLease, ShardId,
    Tenure, Trouble, TroubleKind, WorkerId, WriteFailure,
};

use super::{Event, World};
use crate::faults::Fault;
use crate::plan::Target;

/// The host's own division of a lease's duration: after so long a fenced write counts as unanswered.
const WRITE_DIVISOR: u32 = 4;

/// A call on its way to the table.
#[derive(Debug)]
pub(super) struct TableCall {
    process: usize,
    call: Call,
    /// How long the answer takes; none: nobody waits for it.
    back: Option<Duration>,
}

#[derive(Debug)]
pub(super) enum Call {
    Create(NewLease),
    Take(Lease, WorkerId, Incarnation),
    Write(FencedWrite),
    Announce(Lease, WorkerId),
    Delete(ShardId),
}

impl Call {
    /// What its caller hears when no answer comes.
    fn unanswered(&self, kind: TroubleKind) -> CoordinatorEvent {
        let trouble = trouble(kind);
        match self {
            Self::Create(lease) => CoordinatorEvent::Created {
                shard: lease.shard.clone(),
                outcome: Err(trouble),
            },
            Self::Take(seen, _, incarnation) => CoordinatorEvent::Taken {
                latest_ms: seen.latest_ms,
                tenure: Tenure {
                    shard: seen.shard.clone(),
                    incarnation: *incarnation,
                },
                outcome: Err(WriteFailure::Trouble(trouble)),
            },
            Self::Write(write) => CoordinatorEvent::Written {
                tenure: write.held.tenure(),
                outcome: Err(WriteFailure::Trouble(trouble)),
            },
            Self::Announce(seen, _) => CoordinatorEvent::Announced {
                shard: seen.shard.clone(),
                outcome: Err(trouble),
            },
            Self::Delete(shard) => CoordinatorEvent::Deleted {
                shard: shard.clone(),
                outcome: Err(trouble),
            },
        }
    }
}

pub(super) fn trouble(kind: TroubleKind) -> Trouble {
    Trouble {
        kind,
        what: "simulated".to_owned(),
    }
}

impl World<'_> {
    pub(super) fn call(&mut self, process: usize, call: Call) {
        let longest = self.plan.settings.failover / WRITE_DIVISOR;
        if self.is_refused(Fault::TableThrottled, Target::Table) {
            let hop = self.hop();
            let kind = TroubleKind::Throttled;
            return self.after(hop, Event::Leases(process, call.unanswered(kind)));
        }
        let (mut there, mut back) = (self.hop(), self.hop());
        if self.strikes(Fault::CallSlow) {
            there += self.time.time(Duration::ZERO, longest / 2);
            back += self.time.time(Duration::ZERO, longest / 2);
        }
        let mut is_heard = true;
        if self.strikes(Fault::RequestLate) {
            there += self.time.time(longest / 2, self.plan.settings.failover * 3);
        }
        if self.strikes(Fault::ReplyLost) {
            is_heard = false;
        }
        is_heard &= there + back < longest;
        let is_lost = self.strikes(Fault::RequestLost);
        if !is_heard || is_lost {
            let kind = TroubleKind::Transient;
            self.after(longest, Event::Leases(process, call.unanswered(kind)));
        }
        if !is_lost {
            let back = is_heard.then_some(back);
            let call = TableCall {
                process,
                call,
                back,
            };
            self.after(there, Event::Table(Box::new(call)));
        }
    }

    pub(super) fn reach_table(&mut self, call: TableCall) {
        let TableCall {
            process,
            call,
            back,
        } = call;
        let answer = match call {
            Call::Create(lease) => {
                let is_new = self.table.create(&lease);
                if is_new && let Some(index) = self.stream.index(&lease.shard) {
                    self.ledger.shard(index).was_leased = true;
                    if lease.checkpoint == Checkpoint::Latest
                        && self
                            .ledger
                            .may_skip(&self.stream, self.plan.settings.start, index)
                    {
                        self.ledger.skip_before(index, usize::MAX);
                    }
                }
                CoordinatorEvent::Created {
                    shard: lease.shard,
                    outcome: Ok(is_new),
                }
            }
            Call::Take(seen, me, incarnation) => self.take(process, &seen, &me, incarnation),
            Call::Write(write) => self.write(process, &write),
            Call::Announce(seen, me) => {
                let is_named = self.table.announce(&seen, &me);
                if is_named {
                    self.tell(|| format!("  row {}: p{process} asks for it", seen.shard));
                }
                CoordinatorEvent::Announced {
                    shard: seen.shard,
                    outcome: Ok(is_named),
                }
            }
            Call::Delete(shard) => {
                self.delete(&shard);
                CoordinatorEvent::Deleted {
                    shard,
                    outcome: Ok(()),
                }
            }
        };
        if let Some(back) = back {
            self.after(back, Event::Leases(process, answer));
        }
    }

    fn take(
        &mut self,
        process: usize,
        seen: &Lease,
        me: &WorkerId,
        incarnation: Incarnation,
    ) -> CoordinatorEvent {
        let before = self.table.row(&seen.shard).map(|row| row.counter);
        if let Some(row) = self.table.row(&seen.shard)
            && row.successor.as_ref() == Some(me)
        {
            self.stolen.extend(row.incarnation);
        }
        let outcome = self.table.take(seen, me, incarnation);
        if let (Ok(held), Some(row)) = (&outcome, self.table.row(&seen.shard)) {
            let row = row.clone();
            self.trace.mix(held.counter);
            let is_carried_out = before != Some(row.counter);
            if is_carried_out {
                self.tell(|| {
                    format!(
                        "  row {}: counter {}, taken by p{process}",
                        row.shard, row.counter
                    )
                });
                if before != Some(seen.counter) {
                    self.hold(Err((
                        "LE-1",
                        format!(
                            "a take under counter {} is carried out at {before:?}",
                            seen.counter
                        ),
                    )));
                }
            }
            let rule = self.ledger.check_author(process, &row);
            self.hold(rule);
        }
        CoordinatorEvent::Taken {
            latest_ms: seen.latest_ms,
            tenure: Tenure {
                shard: seen.shard.clone(),
                incarnation,
            },
            outcome,
        }
    }

    fn write(&mut self, process: usize, write: &FencedWrite) -> CoordinatorEvent {
        let shard = &write.held.shard;
        let before = self.table.row(shard).cloned();
        let outcome = self.table.write(write);
        let after = self.table.row(shard).cloned();
        if let (Some(before), Some(after)) = (before, after) {
            if before != after {
                self.trace.mix(after.counter);
                self.tell(|| {
                    let what = match &write.change {
                        LeaseChange::Renew => "renewed".to_owned(),
                        LeaseChange::Checkpoint { to, .. } => format!("checkpoint {to}"),
                        LeaseChange::Release { to } => format!("released to {to:?}"),
                    };
                    format!(
                        "  row {shard}: counter {}, {what} by p{process}",
                        after.counter
                    )
                });
                let rule = self.ledger.check_write(
                    &self.stream,
                    &self.table,
                    process,
                    (&before, write),
                    &after,
                );
                self.hold(rule);
            } else if outcome.is_ok() {
                let rule = self.ledger.check_author(process, &after);
                self.hold(rule);
            }
        }
        CoordinatorEvent::Written {
            tenure: write.held.tenure(),
            outcome,
        }
    }

    fn delete(&mut self, shard: &ShardId) {
        if let Some(row) = self.table.row(shard) {
            let is_finished = row.checkpoint == Checkpoint::ShardEnd;
            self.tell(|| format!("  row {shard} is deleted"));
            let is_gone = self
                .stream
                .index(shard)
                .is_some_and(|index| self.stream.is_gone(index));
            if !is_finished && !is_gone {
                self.hold(Err((
                    "DL-1",
                    format!("the row of {shard} is deleted before its end"),
                )));
            }
        }
        self.table.delete(shard);
        self.ledger.writers.retain(|(of, _), _| of != shard);
    }

    pub(super) fn begin_scan(&mut self, process: usize) {
        if self.is_refused(Fault::TableThrottled, Target::Table) {
            let hop = self.hop();
            let refused = Err(trouble(TroubleKind::Throttled));
            return self.after(
                hop,
                Event::Leases(process, CoordinatorEvent::Listed(refused)),
            );
        }
        let mut takes = self.hop();
        if self.strikes(Fault::ScanSlow) {
            takes += self
                .time
                .time(Duration::ZERO, self.plan.settings.failover * 2);
        }
        let before = self.table.clone();
        self.after(takes, Event::ScanEnds { process, before });
    }

    pub(super) fn end_scan(&mut self, process: usize, before: &crate::table::Table) {
        let dice = &mut self.time;
        let rows = self.table.scan(before, || dice.strikes(500));
        self.tell_leases(process, CoordinatorEvent::Listed(Ok(rows)));
    }
}
