//! `UpdateStreamRecordDistributionStrategy`: whether the shards of an on-demand stream get records by key, or all alike.

use serde::Deserialize;

use super::constraints::one_of;
use super::{Call, Service, StreamName, required};
use crate::store::{Edit, Stream};
use crate::wire::ServiceError;

const AUTO: &str = "AUTO";
const BY_KEY: &str = "USER_PARTITION_KEY";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Update {
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    record_distribution_strategy: Option<String>,
}

pub(super) async fn update(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: Update = call.decode()?;
    let arn = required(request.stream_arn, "streamARN")?;
    let strategy = required(
        request.record_distribution_strategy,
        "recordDistributionStrategy",
    )?;
    let spreads = spreads(&strategy)?;
    let stream = StreamName::new(None, Some(&arn)).find(service)?;
    check_mode(spreads, stream.on_demand)?;
    service.edit(&stream.name, Edit::Spread { spreads }).await?;
    Ok(super::nothing())
}

/// Whether a strategy is the one that goes by no key.
pub(super) fn spreads(strategy: &str) -> Result<bool, ServiceError> {
    Ok(one_of(strategy, "recordDistributionStrategy", &[AUTO, BY_KEY])? == AUTO)
}

pub(super) fn check_mode(spreads: bool, on_demand: bool) -> Result<(), ServiceError> {
    if spreads && !on_demand {
        return Err(ServiceError::InvalidArgument(
            "RecordDistributionStrategy AUTO is for streams in on-demand mode.".into(),
        ));
    }
    Ok(())
}

/// How a description names it, of streams that can have it.
pub(super) fn described(stream: &Stream) -> Option<&'static str> {
    let strategy = if stream.settings.spreads {
        AUTO
    } else {
        BY_KEY
    };
    stream.on_demand.then_some(strategy)
}
