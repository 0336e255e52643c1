//! What is set on a stream beside its shards: tags, consumers, and what descriptions show. Kept as one document in the
//! stream's row, because it is small, bounded, and read and written as a whole.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Under a key, if at all.
    pub(crate) encryption: Option<Encryption>,
    /// Metrics that are asked for by shard.
    pub(crate) shard_metrics: BTreeSet<String>,
    /// Who may do what, as it was given.
    pub(crate) policy: Option<String>,
    /// KiB of data and key in one record, if that was set.
    pub(crate) record_kib: Option<u32>,
    /// Records go to all shards alike, whatever their keys, while the stream is on demand.
    pub(crate) spreads: bool,
}

/// What a stream is said to be encrypted with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Encryption {
    pub(crate) key: String,
    /// Records that arrived before were not.
    pub(crate) since_ms: Millis,
}

/// A reader of the stream that is pushed its records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Consumer {
    /// With the name it is the consumer's identity: one made later under the same name is another.
    pub(crate) created_ms: Millis,
    #[serde(default)]
    pub(crate) tags: Tags,
    #[serde(default)]
    pub(crate) policy: Option<String>,
}

/// What has tags and a policy: the stream, or one of its consumers.
pub(crate) type Tagged = Option<String>;

/// A change of what is set.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Register {
        consumer: String,
        tags: Tags,
    },
    Deregister {
        consumer: String,
    },
    Tag {
        on: Tagged,
        tags: Tags,
    },
    Untag {
        on: Tagged,
        keys: Vec<String>,
    },
    Encrypt {
        key: Option<String>,
    },
    /// These metrics and no others.
    Monitor {
        metrics: BTreeSet<String>,
    },
    Policy {
        on: Tagged,
        policy: Option<String>,
    },
    RecordSize {
        kib: u32,
    },
    Spread {
        spreads: bool,
    },
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
                    policy: None,
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
            Edit::Encrypt { key } => {
                let since_ms = settings.encryption.map_or(now, |e| e.since_ms);
                settings.encryption = key.map(|key| Encryption { key, since_ms });
            }
            Edit::Monitor { metrics } => settings.shard_metrics = metrics,
            Edit::Policy { on: None, policy } => settings.policy = policy,
            Edit::Policy {
                on: Some(consumer),
                policy,
            } => settings.consumer_mut(consumer)?.policy = policy,
            Edit::RecordSize { kib } => settings.record_kib = Some(kib),
            Edit::Spread { spreads } => settings.spreads = spreads,
        }
        Ok(settings)
    }

    fn tags_mut(&mut self, on: Tagged) -> Result<&mut Tags, SettingsError> {
        match on {
            None => Ok(&mut self.tags),
            Some(consumer) => Ok(&mut self.consumer_mut(consumer)?.tags),
        }
    }

    fn consumer_mut(&mut self, consumer: String) -> Result<&mut Consumer, SettingsError> {
        match self.consumers.get_mut(&consumer) {
            Some(found) => Ok(found),
            None => Err(SettingsError::NoConsumer { consumer }),
        }
    }
}
