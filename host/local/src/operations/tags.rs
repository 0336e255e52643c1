//! Tags of streams and consumers: by stream's name, and by any resource's ARN.

use serde::{Deserialize, Serialize};

use super::constraints::{count, length};
use super::resources::NamesResource;
use super::{Call, NamesStream, Service, limited, required};
use crate::limits;
use crate::store::{Edit, Tags};
use crate::wire::{Few, FewPairs, ServiceError};

/// Tags as a request gives them.
pub(super) type TagsAsked = FewPairs<{ limits::TAGS_ASKED }>;
type KeysAsked = Few<String, { limits::TAGS }>;

/// Tags that may be set.
pub(super) fn check_tags(asked: TagsAsked) -> Result<Tags, ServiceError> {
    count(asked.count, "{...}", "tags", 1..=limits::TAGS_ASKED)?;
    for (key, value) in &asked.items {
        length(key, "tags.1.member.key", 1..=limits::TAG_KEY_CHARS)?;
        length(value, "tags.1.member.value", 0..=limits::TAG_VALUE_CHARS)?;
        let is_reserved = key
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("aws:"));
        if is_reserved {
            return Err(ServiceError::InvalidArgument(
                "Tag keys that begin with aws: are reserved.".into(),
            ));
        }
    }
    Ok(asked.items.into_iter().collect())
}

fn check_keys(asked: Option<KeysAsked>) -> Result<Vec<String>, ServiceError> {
    let asked = required(asked, "tagKeys")?;
    count(asked.count, "[...]", "tagKeys", 1..=limits::TAGS)?;
    for key in &asked.items {
        length(key, "tagKeys.1.member", 1..=limits::TAG_KEY_CHARS)?;
    }
    Ok(asked.items)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Add {
    tags: Option<TagsAsked>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Remove {
    tag_keys: Option<KeysAsked>,
}

pub(super) async fn add_to_stream(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: Add = call.decode()?;
    let tags = check_tags(required(request.tags, "tags")?)?;
    let stream = call.decode::<NamesStream>()?.stream().find(service)?;
    let edit = Edit::Tag { on: None, tags };
    service.edit(&stream.name, edit).await?;
    Ok(super::nothing())
}

pub(super) async fn remove_from_stream(
    service: &Service,
    call: &Call,
) -> Result<Vec<u8>, ServiceError> {
    let keys = check_keys(call.decode::<Remove>()?.tag_keys)?;
    let stream = call.decode::<NamesStream>()?.stream().find(service)?;
    let edit = Edit::Untag { on: None, keys };
    service.edit(&stream.name, edit).await?;
    Ok(super::nothing())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListForStream {
    exclusive_start_tag_key: Option<String>,
    limit: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TagsAnswer<'a> {
    tags: Vec<Tag<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    has_more_tags: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Tag<'a> {
    key: &'a str,
    value: &'a str,
}

fn shown<'a>((key, value): (&'a String, &'a String)) -> Tag<'a> {
    Tag { key, value }
}

pub(super) fn list_for_stream(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: ListForStream = call.decode()?;
    let most = limited(request.limit, "limit", limits::TAGS, limits::TAGS)?;
    let stream = call.decode::<NamesStream>()?.stream().find(service)?;
    let after = request.exclusive_start_tag_key;
    let mut rest = stream
        .settings
        .tags
        .iter()
        .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after))
        .peekable();
    let tags = rest.by_ref().take(most).map(shown).collect();
    call.encode(&TagsAnswer {
        tags,
        has_more_tags: Some(rest.peek().is_some()),
    })
}

pub(super) async fn tag(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let request: Add = call.decode()?;
    let tags = check_tags(required(request.tags, "tags")?)?;
    let found = call.decode::<NamesResource>()?.find(service)?;
    let edit = Edit::Tag { on: found.on, tags };
    service.edit(&found.stream, edit).await?;
    Ok(super::nothing())
}

pub(super) async fn untag(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let keys = check_keys(call.decode::<Remove>()?.tag_keys)?;
    let found = call.decode::<NamesResource>()?.find(service)?;
    let edit = Edit::Untag { on: found.on, keys };
    service.edit(&found.stream, edit).await?;
    Ok(super::nothing())
}

pub(super) fn list(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    let found = call.decode::<NamesResource>()?.find(service)?;
    call.encode(&TagsAnswer {
        tags: found.tags.iter().map(shown).collect(),
        has_more_tags: None,
    })
}
