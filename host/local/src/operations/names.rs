//! How requests name streams, shards and consumers.

use std::sync::Arc;

use serde::Deserialize;

use super::constraints::length;
use super::{ACCOUNT, Service};
use crate::clock::Millis;
use crate::store::{Consumer, Stream};
use crate::wire::ServiceError;

/// How a request names its stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamName<'a> {
    name: Option<&'a str>,
    arn: Option<&'a str>,
}

impl<'a> StreamName<'a> {
    pub(super) fn new(name: Option<&'a str>, arn: Option<&'a str>) -> Self {
        Self { name, arn }
    }

    /// The name, given or out of the ARN.
    pub(super) fn name(self) -> Result<&'a str, ServiceError> {
        match (self.name, self.arn) {
            (Some(name), None) => {
                check_name(name, "streamName")?;
                Ok(name)
            }
            (name, Some(arn)) => {
                let Some(Resource::Stream(in_arn)) = Resource::parse(arn) else {
                    let rule = r"Member must satisfy regular expression pattern: arn:aws.*:kinesis:.*:\d{12}:stream/\S+";
                    return Err(ServiceError::constraint(arn, "streamARN", rule));
                };
                if name.is_some_and(|name| name != in_arn) {
                    return Err(ServiceError::InvalidArgument(format!(
                        "StreamARN {arn} is not of the StreamName given"
                    )));
                }
                Ok(in_arn)
            }
            (None, None) => Err(ServiceError::InvalidArgument(
                "either StreamName or StreamARN has to be given".into(),
            )),
        }
    }

    pub(super) fn find(self, service: &Service) -> Result<Arc<Stream>, ServiceError> {
        find_stream(service, self.name()?)
    }
}

/// A request that names a stream and nothing else of interest.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NamesStream {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
}

impl NamesStream {
    pub(super) fn stream(&self) -> StreamName<'_> {
        StreamName::new(self.stream_name.as_deref(), self.stream_arn.as_deref())
    }
}

/// What an ARN of Kinesis names. Any partition, region and account are taken: the endpoint is all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource<'a> {
    Stream(&'a str),
    Consumer(ConsumerName<'a>),
}

/// A consumer as its ARN names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConsumerName<'a> {
    pub(super) stream: &'a str,
    pub(super) consumer: &'a str,
    created_s: u64,
}

impl<'a> Resource<'a> {
    pub(super) fn parse(arn: &'a str) -> Option<Self> {
        let mut parts = arn.splitn(6, ':');
        let is_kinesis = parts.next() == Some("arn")
            && parts.next()?.starts_with("aws")
            && parts.next() == Some("kinesis");
        let account = parts.nth(1)?;
        let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        let path = parts.next()?.strip_prefix("stream/")?;
        if !is_kinesis || !is_account {
            return None;
        }
        let Some((stream, rest)) = path.split_once('/') else {
            return is_name(path).then_some(Self::Stream(path));
        };
        let (consumer, created_s) = rest.strip_prefix("consumer/")?.rsplit_once(':')?;
        let is_named = is_name(stream) && is_name(consumer);
        let created_s = created_s.parse().ok()?;
        is_named.then_some(Self::Consumer(ConsumerName {
            stream,
            consumer,
            created_s,
        }))
    }
}

impl ConsumerName<'_> {
    /// The consumer of this name that was made at this time.
    pub(super) fn find(self, service: &Service) -> Result<(Arc<Stream>, Consumer), ServiceError> {
        let stream = find_stream(service, self.stream)?;
        let found = stream.settings.consumers.get(self.consumer);
        let consumer = found.filter(|c| c.created_ms / 1000 == self.created_s);
        let consumer = consumer
            .cloned()
            .ok_or_else(|| no_consumer(self.consumer, self.stream))?;
        Ok((stream, consumer))
    }
}

/// The consumer that an ARN names.
pub(super) fn consumer_in_arn(arn: &str) -> Result<ConsumerName<'_>, ServiceError> {
    match Resource::parse(arn) {
        Some(Resource::Consumer(consumer)) => Ok(consumer),
        _ => {
            let rule = r"Member must satisfy regular expression pattern: ^(arn):aws.*:kinesis:.*:\d{12}:.*stream\/[a-zA-Z0-9_.-]+\/consumer\/[a-zA-Z0-9_.-]+:[0-9]+";
            Err(ServiceError::constraint(arn, "consumerARN", rule))
        }
    }
}

fn find_stream(service: &Service, name: &str) -> Result<Arc<Stream>, ServiceError> {
    let found = service.store.streams().get(name);
    found.ok_or_else(|| no_stream(name))
}

/// Characters of a stream's or a consumer's name, as the service has it.
const NAME_CHARS: usize = 128;

fn is_name(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    (1..=NAME_CHARS).contains(&name.len()) && name.bytes().all(legal)
}

pub(super) fn check_name(name: &str, field: &str) -> Result<(), ServiceError> {
    length(name, field, 1..=NAME_CHARS)?;
    if is_name(name) {
        return Ok(());
    }
    let rule = "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+";
    Err(ServiceError::constraint(name, field, rule))
}

pub(super) fn stream_arn(region: &str, name: &str) -> String {
    format!("arn:aws:kinesis:{region}:{ACCOUNT}:stream/{name}")
}

pub(super) fn consumer_arn(region: &str, stream: &str, name: &str, created_ms: Millis) -> String {
    let created_s = created_ms / 1000;
    format!("{}/consumer/{name}:{created_s}", stream_arn(region, stream))
}

pub(super) fn shard_id(number: u32) -> String {
    format!("shardId-{number:012}")
}

/// The number in a shard's id.
pub(super) fn shard_number(id: &str) -> Result<u32, ServiceError> {
    check_name(id, "shardId")?;
    id.strip_prefix("shardId-")
        .filter(|digits| digits.len() == 12 && digits.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| ServiceError::ResourceNotFound(format!("Shard {id} does not exist")))
}

pub(super) fn no_stream(name: &str) -> ServiceError {
    ServiceError::ResourceNotFound(format!("Stream {name} under account {ACCOUNT} not found."))
}

pub(super) fn no_shard(number: u32, stream: &str) -> ServiceError {
    let id = shard_id(number);
    ServiceError::ResourceNotFound(format!(
        "Shard {id} in stream {stream} under account {ACCOUNT} does not exist"
    ))
}

pub(super) fn no_consumer(consumer: &str, stream: &str) -> ServiceError {
    ServiceError::ResourceNotFound(format!(
        "Consumer {consumer} under stream {stream} not found for account {ACCOUNT}."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_name_a_stream_or_a_consumer_and_nothing_else() {
        let stream = "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/a.b-c_d";
        assert_eq!(Resource::parse(stream), Some(Resource::Stream("a.b-c_d")));
        let consumer = format!("{stream}/consumer/c:1700000000");
        let named = ConsumerName {
            stream: "a.b-c_d",
            consumer: "c",
            created_s: 1_700_000_000,
        };
        assert_eq!(Resource::parse(&consumer), Some(Resource::Consumer(named)));
        for wrong in [
            "",
            "arn",
            "arn:aws:kinesis:r:123456789012:stream/",
            "arn:aws:kinesis:r:1234:stream/s",
            "arn:aws:dynamodb:r:123456789012:stream/s",
            "arn:aws:kinesis:r:123456789012:table/s",
            "arn:aws:kinesis:r:123456789012:stream/s/consumer/c",
            "arn:aws:kinesis:r:123456789012:stream/s/consumer/c:x",
            "arn:aws:kinesis:r:123456789012:stream/s/other/c:1",
            "arn:aws:kinesis:r:123456789012:stream/s s",
        ] {
            assert_eq!(Resource::parse(wrong), None, "{wrong}");
        }
    }
}
