//! What happens to leases, in the log. Info is what somebody may wonder about later, warn what somebody should look at.

use shardwright_core::{Happening, Lease, LostReason, ShardId, WorkerId};
use tracing::{info, warn};

/// Whoever had the lease, and handed it over or lost it.
fn former_owner(seen: &Lease) -> Option<&WorkerId> {
    if seen.is_handed_over() {
        seen.incarnation_owner.as_ref()
    } else {
        seen.actual_owner()
    }
}

pub(super) fn happened(happening: &Happening) {
    match happening {
        Happening::Created(lease) => {
            info!(shard = %lease.shard, checkpoint = %lease.checkpoint, "lease created");
        }
        Happening::Taken { tenure, seen } => info!(
            shard = %tenure.shard,
            incarnation = %tenure.incarnation,
            counter = seen.counter + 1,
            from = former_owner(seen).map_or("nobody", |owner| owner.as_str()),
            checkpoint = %seen.checkpoint,
            "lease taken"
        ),
        Happening::TakeLost(shard) => info!(%shard, "lease not taken, its row has changed"),
        Happening::WaitingForParents { shard, parents } => {
            let parents: Vec<&str> = parents.iter().map(ShardId::as_str).collect();
            info!(%shard, parents = parents.join(" "), "shard waits for its parents to be read to their ends");
        }
        Happening::Lost { tenure, why } => match why {
            LostReason::Taken { owner, counter } => warn!(
                shard = %tenure.shard,
                incarnation = %tenure.incarnation,
                by = owner.as_ref().map_or("nobody", |owner| owner.as_str()),
                counter,
                "lease lost to another worker"
            ),
            LostReason::Expired => warn!(
                shard = %tenure.shard,
                incarnation = %tenure.incarnation,
                "lease lost, it could not be renewed in time"
            ),
        },
        Happening::Asked { shard, owner } => {
            info!(%shard, %owner, "lease asked for, its owner has more than its share");
        }
        Happening::HandingOver { tenure, to } => {
            info!(shard = %tenure.shard, %to, "another worker is to have the lease; finishing what was begun");
        }
        Happening::Released { tenure, to: None } => {
            info!(shard = %tenure.shard, "lease released");
        }
        Happening::Released {
            tenure,
            to: Some(to),
        } => {
            info!(shard = %tenure.shard, %to, "lease handed over");
        }
        Happening::OutrunByRetention { shard, checkpoint } => warn!(
            %shard,
            %checkpoint,
            "the stream has forgotten the shard before it was read to its end; what was left in it is lost"
        ),
        Happening::CameTooLate(shard) => info!(
            %shard,
            "the row of a closed shard was made after its descendants had begun at the latest; it is deleted, unread"
        ),
        Happening::Ended(tenure) => info!(shard = %tenure.shard, "shard read to its end"),
        Happening::Deleted(shard) => info!(%shard, "row of a finished shard deleted"),
        Happening::Refused { tenure, why } => {
            warn!(shard = %tenure.shard, incarnation = %tenure.incarnation, %why, "checkpoint refused");
        }
        Happening::EndBlocked { shard, why } => {
            warn!(%shard, why, "the shard has ended, but its children's leases cannot be made yet");
        }
        Happening::SyncRefused(why) => warn!(%why, "no leases can be made from the shard listing"),
        Happening::Retrying { call, trouble } => warn!(call, %trouble, "trying again"),
    }
}
