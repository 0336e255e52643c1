//! Writes that only the holder of a lease's counter may do (LE-1, LE-2), and telling a lost reply from a lost lease.
//!
//! A write whose condition failed may be the second try of one that was carried out and whose reply never came. The row
//! tells, and comes with the refusal: such a write has left my incarnation and the counter that I would have written.
//! The owner's name alone would not do, since two processes may carry one name.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use shardwright_core::{Checkpoint, HeldLease, Incarnation, Lease, RowAfter, ShardId, WorkerId};

use super::super::error::port_error;
use super::super::lease_row::{self, LEASE_KEY, Row, integer, string, string_set};
use super::{DynamoLeaseTable, unreadable_row};
use crate::ports::{LeaseWriteError, PortError};

/// Why a write was not carried out.
enum Refusal {
    /// The condition did not hold. The row as it was found then, if there is one.
    Condition(Option<Box<Lease>>),
    /// The call itself did not succeed.
    Port(PortError),
}

impl DynamoLeaseTable {
    pub(super) async fn take_lease(
        &self,
        seen: &Lease,
        me: &WorkerId,
        incarnation: Incarnation,
    ) -> Result<HeldLease, LeaseWriteError> {
        let held = HeldLease {
            shard: seen.shard.clone(),
            owner: me.clone(),
            counter: seen.counter + 1,
            incarnation,
        };
        let is_switch = seen.owner.as_ref().is_some_and(|owner| owner != me)
            || seen.checkpoint_owner.as_ref() == Some(me);
        let mut update = String::from(
            "SET leaseCounter = :n, leaseOwner = :me, incarnation = :incarnation, incarnationOwner = :me",
        );
        if seen.latest_ms.is_some() {
            update.push_str(", latestAt = if_not_exists(latestAt, :latest)");
        }
        // A handoff's owner must not stay: KCL 3 would take it for the one who processes.
        update.push_str(" REMOVE checkpointOwner, successor");
        if is_switch {
            update.push_str(" ADD ownerSwitchesSinceCheckpoint :one");
        }
        let mut request = self
            .fenced_update(&seen.shard, seen.counter)
            .update_expression(update)
            .condition_expression("leaseCounter = :c")
            .expression_attribute_values(":me", string(me.as_str()))
            .expression_attribute_values(":incarnation", string(incarnation.to_string()));
        if is_switch {
            request = request.expression_attribute_values(":one", integer(1));
        }
        if let Some(latest_ms) = seen.latest_ms {
            request = request.expression_attribute_values(":latest", integer(latest_ms));
        }
        match self.send("take", &seen.shard, request).await {
            Ok(_) => Ok(held),
            Err(Refusal::Condition(Some(found))) if is_held_by(&found, &held, held.counter) => {
                Ok(held)
            }
            Err(refusal) => Err(refused(&seen.shard, refusal)),
        }
    }

    pub(super) async fn renew_lease(&self, held: &HeldLease) -> Result<RowAfter, LeaseWriteError> {
        let renewed = held.counter + 1;
        let request = self
            .fenced_update(&held.shard, held.counter)
            .update_expression("SET leaseCounter = :n")
            .condition_expression("leaseCounter = :c AND attribute_not_exists(checkpointOwner)")
            .return_values(ReturnValue::AllNew);
        match self.send("renew", &held.shard, request).await {
            Ok(successor) => Ok(row_after(renewed, successor)),
            Err(Refusal::Condition(Some(found))) if is_held_by(&found, held, renewed) => {
                Ok(row_after(renewed, found.passes_to().cloned()))
            }
            Err(Refusal::Condition(Some(found))) if is_handed_over_by_me(&found, held) => {
                self.renew_in_handoff(held).await
            }
            Err(refusal) => Err(refused(&held.shard, refusal)),
        }
    }

    /// KCL 3 has named a new owner, who waits until the old one has written its last checkpoint and let go. Until then
    /// the lease is kept alive by the old one, which is this process.
    async fn renew_in_handoff(&self, held: &HeldLease) -> Result<RowAfter, LeaseWriteError> {
        let renewed = held.counter + 1;
        let request = self
            .fenced_update(&held.shard, held.counter)
            .update_expression("SET leaseCounter = :n")
            .condition_expression("leaseCounter = :c AND checkpointOwner = :me")
            .expression_attribute_values(":me", string(held.owner.as_str()))
            .return_values(ReturnValue::AllNew);
        match self.send("renew", &held.shard, request).await {
            Ok(successor) => Ok(row_after(renewed, successor)),
            Err(Refusal::Condition(Some(found))) if is_held_by(&found, held, renewed) => {
                Ok(row_after(renewed, found.passes_to().cloned()))
            }
            Err(refusal) => Err(refused(&held.shard, refusal)),
        }
    }

    pub(super) async fn write_checkpoint(
        &self,
        held: &HeldLease,
        checkpoint: &Checkpoint,
        children: &[ShardId],
    ) -> Result<RowAfter, LeaseWriteError> {
        let renewed = held.counter + 1;
        let (text, sub_sequence) = checkpoint.columns();
        let mut update = String::from(
            "SET leaseCounter = :n, checkpoint = :s, checkpointSubSequenceNumber = :u, \
             ownerSwitchesSinceCheckpoint = :zero",
        );
        // A set may not be empty.
        if !children.is_empty() {
            update.push_str(", childShardIds = :children");
        }
        update.push_str(
            " REMOVE pendingCheckpoint, pendingCheckpointSubSequenceNumber, pendingCheckpointState",
        );
        let mut request = self
            .fenced_update(&held.shard, held.counter)
            .update_expression(update)
            .condition_expression("leaseCounter = :c")
            .expression_attribute_values(":s", string(text))
            .expression_attribute_values(":u", integer(sub_sequence))
            .expression_attribute_values(":zero", integer(0))
            .return_values(ReturnValue::AllNew);
        if !children.is_empty() {
            request = request.expression_attribute_values(":children", string_set(children));
        }
        match self.send("checkpoint", &held.shard, request).await {
            Ok(successor) => Ok(row_after(renewed, successor)),
            Err(Refusal::Condition(Some(found)))
                if is_held_by(&found, held, renewed) && found.checkpoint == *checkpoint =>
            {
                Ok(row_after(renewed, found.passes_to().cloned()))
            }
            Err(refusal) => Err(refused(&held.shard, refusal)),
        }
    }

    pub(super) async fn release_lease(
        &self,
        held: &HeldLease,
        to: Option<&WorkerId>,
    ) -> Result<(), LeaseWriteError> {
        let request = self
            .fenced_update(&held.shard, held.counter)
            .condition_expression("leaseCounter = :c AND leaseOwner = :me")
            .expression_attribute_values(":me", string(held.owner.as_str()));
        let request = match to {
            None => request
                .update_expression("SET leaseCounter = :n REMOVE leaseOwner, checkpointOwner"),
            // To KCL the successor is the owner from now on. That it has not begun yet, the incarnation tells ours.
            Some(to) => request
                .update_expression(
                    "SET leaseCounter = :n, leaseOwner = :to, successor = :to \
                     REMOVE checkpointOwner ADD ownerSwitchesSinceCheckpoint :one",
                )
                .expression_attribute_values(":to", string(to.as_str()))
                .expression_attribute_values(":one", integer(1)),
        };
        match self.send("release", &held.shard, request).await {
            Ok(_) => Ok(()),
            Err(Refusal::Condition(Some(found))) if is_released_by(&found, held) => Ok(()),
            Err(Refusal::Condition(Some(found))) if is_handed_over_by_me(&found, held) => {
                self.finish_handoff(held).await
            }
            Err(refusal) => Err(refused(&held.shard, refusal)),
        }
    }

    /// Lets the new owner, whom the row already names, begin.
    async fn finish_handoff(&self, held: &HeldLease) -> Result<(), LeaseWriteError> {
        let request = self
            .fenced_update(&held.shard, held.counter)
            .update_expression(
                "SET leaseCounter = :n REMOVE checkpointOwner ADD ownerSwitchesSinceCheckpoint :one",
            )
            .condition_expression("leaseCounter = :c AND checkpointOwner = :me")
            .expression_attribute_values(":me", string(held.owner.as_str()))
            .expression_attribute_values(":one", integer(1));
        match self.send("release", &held.shard, request).await {
            Ok(_) => Ok(()),
            Err(Refusal::Condition(Some(found))) if is_released_by(&found, held) => Ok(()),
            Err(refusal) => Err(refused(&held.shard, refusal)),
        }
    }

    /// An update of one row with `:c` and `:n` bound, the counter that it must find and the one that it writes.
    fn fenced_update(&self, shard: &ShardId, counter: u64) -> UpdateItemFluentBuilder {
        self.fenced
            .update_item()
            .table_name(&*self.table)
            .key(LEASE_KEY, string(shard.as_str()))
            .expression_attribute_values(":c", integer(counter))
            .expression_attribute_values(":n", integer(counter + 1))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    /// Makes the call. Answers to whom the lease is to be passed on, if the row was asked for.
    async fn send(
        &self,
        op: &str,
        shard: &ShardId,
        request: UpdateItemFluentBuilder,
    ) -> Result<Option<WorkerId>, Refusal> {
        let call = || format!("UpdateItem ({op}) of {shard} in lease table {}", self.table);
        let error = match request.send().await {
            Ok(answer) => return Ok(answer.attributes.and_then(lease_row::passes_to)),
            Err(error) => error,
        };
        let Some(UpdateItemError::ConditionalCheckFailedException(refusal)) =
            error.as_service_error()
        else {
            return Err(Refusal::Port(port_error(call(), &error)));
        };
        // A row that is gone comes with no image, and so does any row from a server that does not know images.
        let found = match &refusal.item {
            Some(item) => match lease_row::read(item.clone()) {
                Ok(Row::Lease(lease)) => Some(lease),
                Ok(Row::NotALease | Row::OtherStream) => None,
                Err(fault) => return Err(Refusal::Port(unreadable_row(&call(), &fault))),
            },
            None => self.read(shard).await.map_err(Refusal::Port)?,
        };
        Err(Refusal::Condition(found.map(Box::new)))
    }
}

fn row_after(counter: u64, successor: Option<WorkerId>) -> RowAfter {
    RowAfter { counter, successor }
}

/// Whether the row is as my own write left it: nobody else writes my incarnation.
fn is_held_by(found: &Lease, held: &HeldLease, counter: u64) -> bool {
    found.counter == counter
        && found.actual_owner() == Some(&held.owner)
        && found.incarnation == Some(held.incarnation)
}

/// Whether the row is as my release left it.
fn is_released_by(found: &Lease, held: &HeldLease) -> bool {
    found.counter == held.counter + 1
        && found.checkpoint_owner.is_none()
        && found.owner.as_ref() != Some(&held.owner)
        && found.incarnation == Some(held.incarnation)
}

/// Whether a handoff, which does not move the counter, has begun from me to somebody else.
fn is_handed_over_by_me(found: &Lease, held: &HeldLease) -> bool {
    is_held_by(found, held, held.counter)
        && found.checkpoint_owner.is_some()
        && found.owner.as_ref() != Some(&held.owner)
}

fn refused(shard: &ShardId, refusal: Refusal) -> LeaseWriteError {
    match refusal {
        Refusal::Port(error) => LeaseWriteError::Port(error),
        Refusal::Condition(found) => LeaseWriteError::Lost {
            shard: shard.clone(),
            owner: found
                .as_ref()
                .and_then(|found| found.actual_owner().cloned()),
            counter: found.as_ref().map(|found| found.counter),
        },
    }
}
