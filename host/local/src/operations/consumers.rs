//! The registry of consumers, to which records are pushed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::names::{consumer_arn, consumer_in_arn, no_consumer};
use super::tags::{TagsAsked, check_tags};
use super::{Call, Service, StreamName, check_name, limited, no_stream, required, stream_arn};
use crate::limits;
use crate::store::{Consumer, Edit, Stream};
use crate::token::{ConsumersToken, Token};
use crate::wire::{ServiceError, Timestamp};

/// A consumer in an answer.
#[derive(Serialize)]
struct Shown {
    #[serde(rename = "ConsumerName")]
    name: String,
    #[serde(rename = "ConsumerARN")]
    arn: String,
    #[serde(rename = "ConsumerStatus")]
    status: &'static str,
    #[serde(rename = "ConsumerCreationTimestamp")]
    creation_timestamp: Timestamp,
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    stream_arn: Option<String>,
}

fn shown(call: &Call, stream: &Stream, name: &str, consumer: &Consumer) -> Shown {
    Shown {
        name: name.into(),
        arn: consumer_arn(&call.region, &stream.name, name, consumer.created_ms),
        // Registered before it is answered, so no other status is ever seen.
        status: "ACTIVE",
        creation_timestamp: Timestamp(consumer.created_ms),
        stream_arn: None,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Register {
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    consumer_name: Option<String>,
    tags: Option<TagsAsked>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RegisterAnswer {
    consumer: Shown,
}

pub(super) async fn register(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: Register = call.decode()?;
    let arn = required(request.stream_arn, "streamARN")?;
    let name = required(request.consumer_name, "consumerName")?;
    check_name(&name, "consumerName")?;
    let tags = request.tags.map(check_tags).transpose()?;
    let stream = StreamName::new(None, Some(&arn)).find(service)?;
    let edit = Edit::Register {
        consumer: name.clone(),
        tags: tags.unwrap_or_default(),
    };
    service.edit(&stream.name, edit).await?;
    let (stream, consumer) = by_name(service, &arn, &name)?;
    call.encode(&RegisterAnswer {
        consumer: shown(call, &stream, &name, &consumer),
    })
}

/// How a request names a consumer: by its own ARN, or by its stream's and its name.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NamesConsumer {
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    consumer_name: Option<String>,
    #[serde(rename = "ConsumerARN")]
    consumer_arn: Option<String>,
}

impl NamesConsumer {
    fn find(self, service: &Service) -> Result<(Arc<Stream>, String, Consumer), ServiceError> {
        let by_arn = self.consumer_arn.as_deref().map(consumer_in_arn);
        match (by_arn.transpose()?, self.stream_arn, self.consumer_name) {
            (Some(named), arn, name) => {
                let (stream, consumer) = named.find(service)?;
                let other_name = name.is_some_and(|name| name != named.consumer);
                let arn = arn.as_deref();
                let other_stream = match arn.map(|arn| StreamName::new(None, Some(arn)).name()) {
                    Some(other) => other? != stream.name,
                    None => false,
                };
                if other_name || other_stream {
                    return Err(ServiceError::InvalidArgument(
                        "ConsumerARN is not of the StreamARN and ConsumerName given.".into(),
                    ));
                }
                Ok((stream, named.consumer.into(), consumer))
            }
            (None, Some(arn), Some(name)) => {
                check_name(&name, "consumerName")?;
                let (stream, consumer) = by_name(service, &arn, &name)?;
                Ok((stream, name, consumer))
            }
            _ => Err(ServiceError::InvalidArgument(
                "Either ConsumerARN or both StreamARN and ConsumerName have to be given.".into(),
            )),
        }
    }
}

fn by_name(
    service: &Service,
    stream_arn: &str,
    name: &str,
) -> Result<(Arc<Stream>, Consumer), ServiceError> {
    let stream = StreamName::new(None, Some(stream_arn)).find(service)?;
    let consumer = stream.settings.consumers.get(name).cloned();
    let consumer = consumer.ok_or_else(|| no_consumer(name, &stream.name))?;
    Ok((stream, consumer))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeAnswer {
    consumer_description: Shown,
}

pub(super) fn describe(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let (stream, name, consumer) = call.decode::<NamesConsumer>()?.find(service)?;
    call.encode(&DescribeAnswer {
        consumer_description: Shown {
            stream_arn: Some(stream_arn(&call.region, &stream.name)),
            ..shown(call, &stream, &name, &consumer)
        },
    })
}

pub(super) async fn deregister(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let (stream, consumer, _) = call.decode::<NamesConsumer>()?.find(service)?;
    service
        .edit(&stream.name, Edit::Deregister { consumer })
        .await?;
    Ok(super::nothing())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct List {
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    next_token: Option<String>,
    max_results: Option<i64>,
    stream_creation_timestamp: Option<Timestamp>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListAnswer {
    consumers: Vec<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

pub(super) fn list(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: List = call.decode()?;
    let most = limited(
        request.max_results,
        "maxResults",
        limits::LIST_CONSUMERS,
        limits::LIST_MAX,
    )?;
    let arn = required(request.stream_arn, "streamARN")?;
    let stream = StreamName::new(None, Some(&arn)).find(service)?;
    let is_other = |at: Timestamp| at.0 / 1000 != stream.created_ms / 1000;
    let after = match (&request.next_token, request.stream_creation_timestamp) {
        (Some(_), Some(_)) => {
            return Err(ServiceError::InvalidArgument(
                "NextToken and StreamCreationTimestamp cannot be provided together.".into(),
            ));
        }
        (Some(token), None) => {
            let token = ConsumersToken::open(token, &service.clock)
                .map_err(|error| super::refuse_next_token(&error))?;
            if token.stream != stream.id {
                return Err(ServiceError::InvalidArgument(
                    "The NextToken is of another stream.".into(),
                ));
            }
            Some(token.after)
        }
        (None, Some(at)) if is_other(at) => return Err(no_stream(&stream.name)),
        (None, _) => None,
    };
    let mut rest = stream
        .settings
        .consumers
        .iter()
        .filter(|(name, _)| after.as_ref().is_none_or(|after| *name > after))
        .peekable();
    let page: Vec<_> = rest.by_ref().take(most).collect();
    let next_token = match (page.last(), rest.peek()) {
        (Some((last, _)), Some(_)) => Some(
            ConsumersToken {
                stream: stream.id,
                after: (*last).clone(),
                made_ms: service.clock.now(),
            }
            .seal(),
        ),
        _ => None,
    };
    call.encode(&ListAnswer {
        consumers: page
            .into_iter()
            .map(|(name, consumer)| shown(call, &stream, name, consumer))
            .collect(),
        next_token,
    })
}
