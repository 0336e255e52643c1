//! What an ARN names: a stream, or a consumer of one. Tags and policies are on either.

use serde::Deserialize;

use super::names::Resource;
use super::{Service, StreamName, required};
use crate::store::{Tagged, Tags};
use crate::wire::ServiceError;

/// A request that names a resource by its ARN.
#[derive(Deserialize)]
pub(super) struct NamesResource {
    #[serde(rename = "ResourceARN")]
    arn: Option<String>,
}

/// A stream, or the consumer of it if that is the resource, and what is set on it.
pub(super) struct Found {
    pub(super) stream: String,
    pub(super) on: Tagged,
    pub(super) tags: Tags,
    pub(super) policy: Option<String>,
}

impl NamesResource {
    pub(super) fn find(self, service: &Service) -> Result<Found, ServiceError> {
        let arn = required(self.arn, "resourceARN")?;
        match Resource::parse(&arn) {
            Some(Resource::Stream(_)) => {
                let stream = StreamName::new(None, Some(&arn)).find(service)?;
                Ok(Found {
                    stream: stream.name.clone(),
                    on: None,
                    tags: stream.settings.tags.clone(),
                    policy: stream.settings.policy.clone(),
                })
            }
            Some(Resource::Consumer(name)) => {
                let (stream, consumer) = name.find(service)?;
                Ok(Found {
                    stream: stream.name.clone(),
                    on: Some(name.consumer.into()),
                    tags: consumer.tags,
                    policy: consumer.policy,
                })
            }
            None => {
                let rule = r"Member must satisfy regular expression pattern: arn:aws.*:kinesis:.*:\d{12}:.*(stream|channel)/\S+";
                Err(ServiceError::constraint(&arn, "resourceARN", rule))
            }
        }
    }
}
