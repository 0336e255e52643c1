//! What is set on a stream beside its shards: tags and consumers. Kept as one document in the stream's row, because it
//! is small, bounded, and read and written as a whole.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock::Millis;
use crate::limits;

/// Tags by key.
pub(crate) type Tags = BTreeMap<String, String>;

/// Everything that is set on one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    pub(crate) tags: Tags,
    /// By name.
    pub(crate) consumers: BTreeMap<String, Consumer>,
}

/// A reader of the stream that is pushed its records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Consumer {
    /// With the name it is the consumer's identity: one made later under the same name is another.
    pub(crate) created_ms: Millis,
    #[serde(default)]
    pub(crate) tags: Tags,
}

/// What has tags: the stream, or one of its consumers.
pub(crate) type Tagged = Option<String>;

/// A change of what is set.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Register { consumer: String, tags: Tags },
    Deregister { consumer: String },
    Tag { on: Tagged, tags: Tags },
    Untag { on: Tagged, keys: Vec<String> },
}

/// Why it cannot be changed.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum SettingsError {
    #[error("consumer {consumer} exists")]
    ConsumerExists { consumer: String },
    #[error("no consumer {consumer}")]
    NoConsumer { consumer: String },
    #[error("the stream has consumers")]
    HasConsumers,
    #[error("more than {} consumers", limits::CONSUMERS)]
    TooManyConsumers,
    #[error("more than {} tags", limits::TAGS)]
    TooManyTags,
}

impl Settings {
    /// These settings, changed.
    pub(super) fn edited(&self, edit: Edit, now: Millis) -> Result<Self, SettingsError> {
        let mut settings = self.clone();
        match edit {
            Edit::Register { consumer, tags } => {
                if settings.consumers.contains_key(&consumer) {
                    return Err(SettingsError::ConsumerExists { consumer });
                }
                if settings.consumers.len() >= limits::CONSUMERS {
                    return Err(SettingsError::TooManyConsumers);
                }
                let created = Consumer {
                    created_ms: now,
                    tags,
                };
                settings.consumers.insert(consumer, created);
            }
            Edit::Deregister { consumer } => {
                if settings.consumers.remove(&consumer).is_none() {
                    return Err(SettingsError::NoConsumer { consumer });
                }
            }
            Edit::Tag { on, tags } => {
                let tagged = settings.tags_mut(on)?;
                tagged.extend(tags);
                if tagged.len() > limits::TAGS {
                    return Err(SettingsError::TooManyTags);
                }
            }
            Edit::Untag { on, keys } => {
                let tagged = settings.tags_mut(on)?;
                for key in keys {
                    tagged.remove(&key);
                }
            }
        }
        Ok(settings)
    }

    fn tags_mut(&mut self, on: Tagged) -> Result<&mut Tags, SettingsError> {
        match on {
            None => Ok(&mut self.tags),
            Some(consumer) => match self.consumers.get_mut(&consumer) {
                Some(found) => Ok(&mut found.tags),
                None => Err(SettingsError::NoConsumer { consumer }),
            },
        }
    }
}
