//! `PutResourcePolicy`, `GetResourcePolicy` and `DeleteResourcePolicy`. A policy is kept and given back, and asks nothing of
//! anybody: there is one account, and no signature is checked.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::resources::NamesResource;
use super::{Call, Service, required};
use crate::limits;
use crate::store::Edit;
use crate::wire::ServiceError;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Put {
    policy: Option<String>,
}

pub(super) async fn put(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let policy = required(call.decode::<Put>()?.policy, "policy")?;
    let found = call.decode::<NamesResource>()?.find(service)?;
    check(&policy)?;
    let edit = Edit::Policy {
        on: found.on,
        policy: Some(policy),
    };
    service.edit(&found.stream, edit).await?;
    Ok(super::nothing())
}

/// A policy is a JSON document with statements. What they say is nobody's to judge here.
fn check(policy: &str) -> Result<(), ServiceError> {
    if policy.len() > limits::POLICY_BYTES {
        return Err(ServiceError::LimitExceeded(format!(
            "A policy has at most {} bytes.",
            limits::POLICY_BYTES
        )));
    }
    let document = serde_json::from_str::<Map<String, Value>>(policy);
    if document.is_ok_and(|document| document.contains_key("Statement")) {
        return Ok(());
    }
    Err(ServiceError::InvalidArgument(
        "The policy is not a JSON document with a Statement.".into(),
    ))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PolicyAnswer {
    policy: String,
}

/// Without a policy it is the empty document.
pub(super) fn get(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let found = call.decode::<NamesResource>()?.find(service)?;
    call.encode(&PolicyAnswer {
        policy: found.policy.unwrap_or_else(|| "{}".into()),
    })
}

pub(super) async fn delete(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let found = call.decode::<NamesResource>()?.find(service)?;
    if found.policy.is_none() {
        return Err(ServiceError::ResourceNotFound(format!(
            "No resource policy found for stream {} or its consumer.",
            found.stream
        )));
    }
    let edit = Edit::Policy {
        on: found.on,
        policy: None,
    };
    service.edit(&found.stream, edit).await?;
    Ok(super::nothing())
}
