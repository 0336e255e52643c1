//! Calls to the lease table: some are lost, some late, and of some nobody hears.

use std::time::Duration;

use shardwright_core::{
    CoordinatorEvent, FencedWrite, Incarnation, Lease, NewLease, ShardId, Tenure, Trouble,
    TroubleKind, WorkerId, WriteFailure,
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

impl World {
    pub(super) fn call(&mut self, process: usize, call: Call) {
        let longest = self.scene.plan.settings.failover / WRITE_DIVISOR;
        if self.scene.is_refused(Fault::TableThrottled, Target::Table) {
            let hop = self.scene.hop();
            let kind = TroubleKind::Throttled;
            return self.after(hop, Event::Leases(process, call.unanswered(kind)));
        }
        let (mut there, mut back) = (self.scene.hop(), self.scene.hop());
        if self.scene.strikes(Fault::CallSlow) {
            there += self.scene.time.time(Duration::ZERO, longest / 2);
            back += self.scene.time.time(Duration::ZERO, longest / 2);
        }
        let mut is_heard = true;
        if self.scene.strikes(Fault::RequestLate) {
            there += self
                .scene
                .time
                .time(longest / 2, self.scene.plan.settings.failover * 3);
        }
        if self.scene.strikes(Fault::ReplyLost) {
            is_heard = false;
        }
        is_heard &= there + back < longest;
        let is_lost = self.scene.strikes(Fault::RequestLost);
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
                let is_new = self.scene.create(&lease);
                CoordinatorEvent::Created {
                    shard: lease.shard,
                    outcome: Ok(is_new),
                }
            }
            Call::Take(seen, me, incarnation) => {
                let outcome = self.scene.take(process, &seen, &me, incarnation);
                CoordinatorEvent::Taken {
                    latest_ms: seen.latest_ms,
                    tenure: Tenure {
                        shard: seen.shard,
                        incarnation,
                    },
                    outcome,
                }
            }
            Call::Write(write) => {
                let outcome = self.scene.write(process, &write);
                CoordinatorEvent::Written {
                    tenure: write.held.tenure(),
                    outcome,
                }
            }
            Call::Announce(seen, me) => {
                let is_named = self.scene.announce(process, &seen, &me);
                CoordinatorEvent::Announced {
                    shard: seen.shard,
                    outcome: Ok(is_named),
                }
            }
            Call::Delete(shard) => {
                self.scene.delete(&shard);
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

    pub(super) fn begin_scan(&mut self, process: usize) {
        if self.scene.is_refused(Fault::TableThrottled, Target::Table) {
            let hop = self.scene.hop();
            let refused = Err(trouble(TroubleKind::Throttled));
            return self.after(
                hop,
                Event::Leases(process, CoordinatorEvent::Listed(refused)),
            );
        }
        let mut takes = self.scene.hop();
        if self.scene.strikes(Fault::ScanSlow) {
            takes += self
                .scene
                .time
                .time(Duration::ZERO, self.scene.plan.settings.failover * 2);
        }
        let before = self.scene.table.clone();
        self.after(takes, Event::ScanEnds { process, before });
    }

    pub(super) fn end_scan(&mut self, process: usize, before: &crate::table::Table) {
        let dice = &mut self.scene.time;
        let rows = self.scene.table.scan(before, || dice.strikes(500));
        self.tell_leases(process, CoordinatorEvent::Listed(Ok(rows)));
    }
}
