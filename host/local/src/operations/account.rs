//! The account's limits and settings. It is this endpoint's one account: its limits are the endpoint's own bounds, and
//! nothing is billed, so it has made no commitment and streams have no warm throughput.

use serde::{Deserialize, Serialize};

use super::constraints::one_of;
use super::{Call, NamesStream, Service, required};
use crate::limits;
use crate::wire::ServiceError;

const ENABLED: &str = "ENABLED";
const DISABLED: &str = "DISABLED";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct LimitsAnswer {
    shard_limit: usize,
    open_shard_count: usize,
    on_demand_stream_count: usize,
    on_demand_stream_count_limit: usize,
}

pub(super) fn describe_limits(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let streams = service.store.streams().all();
    call.encode(&LimitsAnswer {
        shard_limit: limits::SHARDS,
        open_shard_count: streams.iter().map(|s| s.open_shards().count()).sum(),
        on_demand_stream_count: streams.iter().filter(|s| s.on_demand).count(),
        on_demand_stream_count_limit: limits::STREAMS,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SettingsAnswer {
    minimum_throughput_billing_commitment: CommitmentShown,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CommitmentShown {
    status: &'static str,
}

pub(super) fn describe_settings(call: &Call) -> Result<Vec<u8>, ServiceError> {
    call.encode(&SettingsAnswer {
        minimum_throughput_billing_commitment: CommitmentShown { status: DISABLED },
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateSettings {
    minimum_throughput_billing_commitment: Option<CommitmentAsked>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CommitmentAsked {
    status: Option<String>,
}

/// To leave things as they are is granted.
pub(super) fn update_settings(call: &Call) -> Result<Vec<u8>, ServiceError> {
    let field = "minimumThroughputBillingCommitment";
    let asked: UpdateSettings = call.decode()?;
    let asked = required(asked.minimum_throughput_billing_commitment, field)?;
    let field = "minimumThroughputBillingCommitment.status";
    let status = required(asked.status, field)?;
    if one_of(&status, field, &[ENABLED, DISABLED])? == ENABLED {
        return Err(ServiceError::InvalidArgument(
            "MinimumThroughputBillingCommitment cannot be enabled: this endpoint bills nothing."
                .into(),
        ));
    }
    describe_settings(call)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateWarmThroughput {
    #[serde(rename = "WarmThroughputMiBps")]
    mibps: Option<i64>,
}

/// Refused as in any account without the commitment.
pub(super) fn update_warm_throughput(
    service: &Service,
    call: &Call,
) -> Result<Vec<u8>, ServiceError> {
    let asked: UpdateWarmThroughput = call.decode()?;
    let asked = required(asked.mibps, "warmThroughputMiBps")?;
    call.decode::<NamesStream>()?.stream().find(service)?;
    refuse_warm_throughput(Some(asked))?;
    Ok(super::nothing())
}

/// Refuses a request that wants a stream to be warm.
pub(super) fn refuse_warm_throughput(asked: Option<i64>) -> Result<(), ServiceError> {
    match asked {
        None => Ok(()),
        Some(mibps) if mibps < 0 => {
            let rule = "Member must have value greater than or equal to 0";
            let mibps = mibps.to_string();
            Err(ServiceError::constraint(&mibps, "warmThroughputMiBps", rule))
        }
        Some(_) => Err(ServiceError::Validation(
            "WarmThroughput is for streams of accounts whose MinimumThroughputBillingCommitment is enabled.".into(),
        )),
    }
}
