//! Channels, which deliver a stream's records to S3. There is no S3 here, so none is made, and there is none to be found.

use serde::{Deserialize, Serialize};

use super::{Call, check_name, limited, required};
use crate::limits;
use crate::wire::ServiceError;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Create {
    channel_name: Option<String>,
}

pub(super) fn create(call: &Call) -> Result<Vec<u8>, ServiceError> {
    let name = required(call.decode::<Create>()?.channel_name, "channelName")?;
    check_name(&name, "channelName")?;
    Err(ServiceError::LimitExceeded(
        "This endpoint can have 0 channels: it delivers nothing to S3.".into(),
    ))
}

#[derive(Deserialize)]
struct NamesChannel {
    #[serde(rename = "ChannelARN")]
    arn: Option<String>,
}

/// Whatever is asked of a channel.
pub(super) fn find(call: &Call) -> Result<Vec<u8>, ServiceError> {
    let arn = required(call.decode::<NamesChannel>()?.arn, "channelARN")?;
    let mut parts = arn.splitn(6, ':').skip(2);
    if parts.next() != Some("kinesis") || !parts.nth(2).is_some_and(|p| p.starts_with("channel/")) {
        let rule = r"Member must satisfy regular expression pattern: arn:aws.*:kinesis:.*:\d{12}:channel/\S+";
        return Err(ServiceError::constraint(&arn, "channelARN", rule));
    }
    Err(ServiceError::ResourceNotFound(format!(
        "Channel {arn} not found."
    )))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct List {
    max_results: Option<i64>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListAnswer {
    channel_summaries: [(); 0],
}

pub(super) fn list(call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: List = call.decode()?;
    let most = limits::LIST_MAX;
    limited(request.max_results, "maxResults", most, most)?;
    if request.next_token.is_some() {
        // No listing of channels ever gave one.
        return Err(ServiceError::InvalidArgument("Invalid NextToken.".into()));
    }
    call.encode(&ListAnswer {
        channel_summaries: [],
    })
}
