//! Asking one of our workers for its lease, by a name in its row.

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use shardwright_core::{Lease, WorkerId};

use super::super::error::port_error;
use super::super::lease_row::{LEASE_KEY, string};
use super::{CONDITION_FAILED, DynamoLeaseTable};
use crate::ports::PortError;

impl DynamoLeaseTable {
    /// The owner finds the name in the answer to its next write. No counter moves, so that this write is still its own.
    pub(super) async fn announce_successor(
        &self,
        seen: &Lease,
        me: &WorkerId,
    ) -> Result<bool, PortError> {
        let (Some(owner), Some(incarnation)) = (&seen.owner, seen.incarnation) else {
            return Ok(false);
        };
        let call = || {
            format!(
                "UpdateItem (announce) of {} in lease table {}",
                seen.shard, self.table
            )
        };
        let known = seen.successor.as_ref().unwrap_or(me);
        let request = self
            .fenced
            .update_item()
            .table_name(&*self.table)
            .key(LEASE_KEY, string(seen.shard.as_str()))
            .update_expression("SET successor = :me")
            .condition_expression(
                "leaseOwner = :owner AND incarnationOwner = :owner AND incarnation = :incarnation \
                 AND attribute_not_exists(checkpointOwner) \
                 AND (attribute_not_exists(successor) OR successor IN (:me, :known))",
            )
            .expression_attribute_values(":owner", string(owner.as_str()))
            .expression_attribute_values(":incarnation", string(incarnation.to_string()))
            .expression_attribute_values(":me", string(me.as_str()))
            .expression_attribute_values(":known", string(known.as_str()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::None);
        match request.send().await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some(CONDITION_FAILED) => Ok(false),
            Err(error) => Err(port_error(call(), &error)),
        }
    }
}
