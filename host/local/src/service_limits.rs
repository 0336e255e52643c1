//! What the service allows, and what it can be set to.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::limits;

/// Limits of the service, per shard unless said otherwise. Sizes always hold; rates only if `throughput` says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceLimits {
    /// Whether the rates are applied.
    pub throughput: bool,
    /// Bytes of data and keys written in a second.
    pub write_bytes_per_s: u64,
    /// Records written in a second.
    pub write_records_per_s: u64,
    /// `GetRecords` in a second.
    pub reads_per_s: u64,
    /// Bytes given by `GetRecords` in a second.
    pub read_bytes_per_s: u64,
    /// Bytes pushed to one consumer in a second.
    pub fan_out_bytes_per_s: u64,
    /// Bytes of data and key in one record.
    pub record_bytes: u64,
    /// Bytes of data and keys in one `PutRecords`.
    pub put_records_bytes: u64,
}

/// A limit that cannot be set.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LimitError {
    /// Not `NAME=NUMBER`, or no such name.
    #[error(
        "'{given}' is no limit: write NAME=NUMBER, with a name of write_bytes_per_s, write_records_per_s, reads_per_s, \
         read_bytes_per_s, fan_out_bytes_per_s, record_bytes, put_records_bytes"
    )]
    NotALimit {
        /// What was given.
        given: String,
    },
    /// Out of its range.
    #[error("{name} has to be from 1 to {most}")]
    OutOfRange {
        /// The limit.
        name: &'static str,
        /// The most that it can be.
        most: u64,
    },
    /// Not an object with these members.
    #[error("{0}")]
    Unreadable(String),
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl ServiceLimits {
    /// As the service has them, and rates not applied.
    pub const DEFAULT: Self = Self {
        throughput: false,
        write_bytes_per_s: 1 << 20,
        write_records_per_s: 1000,
        reads_per_s: 5,
        read_bytes_per_s: 2 << 20,
        fan_out_bytes_per_s: 2 << 20,
        record_bytes: limits::RECORD_BYTES as u64,
        put_records_bytes: limits::PUT_BYTES as u64,
    };

    /// These limits with some replaced, given as a JSON object.
    pub(crate) fn with_json(self, changes: &[u8]) -> Result<Self, LimitError> {
        let unreadable = |error: serde_json::Error| LimitError::Unreadable(error.to_string());
        let changes: Map<String, Value> = serde_json::from_slice(changes).map_err(unreadable)?;
        let mut all = serde_json::to_value(self).map_err(unreadable)?;
        if let Some(all) = all.as_object_mut() {
            all.extend(changes);
        }
        serde_json::from_value::<Self>(all)
            .map_err(unreadable)?
            .check()
    }

    /// These limits with one replaced; setting a rate applies the rates.
    pub fn with(self, limit: &Limit) -> Result<Self, LimitError> {
        let mut limits = self;
        let (field, is_rate) = match limit.name.as_str() {
            "write_bytes_per_s" => (&mut limits.write_bytes_per_s, true),
            "write_records_per_s" => (&mut limits.write_records_per_s, true),
            "reads_per_s" => (&mut limits.reads_per_s, true),
            "read_bytes_per_s" => (&mut limits.read_bytes_per_s, true),
            "fan_out_bytes_per_s" => (&mut limits.fan_out_bytes_per_s, true),
            "record_bytes" => (&mut limits.record_bytes, false),
            "put_records_bytes" => (&mut limits.put_records_bytes, false),
            _ => {
                return Err(LimitError::NotALimit {
                    given: format!("{}={}", limit.name, limit.value),
                });
            }
        };
        *field = limit.value;
        limits.throughput |= is_rate;
        limits.check()
    }

    fn check(self) -> Result<Self, LimitError> {
        // More in a second is no limit on one machine, and keeps what is counted in range.
        let most_rate = 1 << 40;
        let most_size = limits::PUT_BYTES as u64;
        for (name, value, most) in [
            ("write_bytes_per_s", self.write_bytes_per_s, most_rate),
            ("write_records_per_s", self.write_records_per_s, most_rate),
            ("reads_per_s", self.reads_per_s, most_rate),
            ("read_bytes_per_s", self.read_bytes_per_s, most_rate),
            ("fan_out_bytes_per_s", self.fan_out_bytes_per_s, most_rate),
            ("record_bytes", self.record_bytes, most_size),
            ("put_records_bytes", self.put_records_bytes, most_size),
        ] {
            if !(1..=most).contains(&value) {
                return Err(LimitError::OutOfRange { name, most });
            }
        }
        Ok(self)
    }
}

/// One limit as it is given on a command line: `NAME=NUMBER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    name: String,
    value: u64,
}

impl FromStr for Limit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let parsed = text.split_once('=').and_then(|(name, value)| {
            let limit = Self {
                name: name.replace('-', "_"),
                value: value.parse().ok()?,
            };
            Some(limit)
        });
        let limit = parsed.ok_or_else(|| LimitError::NotALimit { given: text.into() })?;
        ServiceLimits::DEFAULT.with(&limit)?;
        Ok(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_can_be_set_by_name_and_by_json_to_the_same() {
        let all = serde_json::to_value(ServiceLimits::DEFAULT).unwrap();
        for name in all.as_object().unwrap().keys() {
            if name == "throughput" {
                continue;
            }
            let by_name = ServiceLimits::DEFAULT
                .with(&format!("{name}=7").parse().unwrap())
                .unwrap();
            let json = format!("{{\"{name}\": 7, \"throughput\": {}}}", by_name.throughput);
            let by_json = ServiceLimits::DEFAULT.with_json(json.as_bytes()).unwrap();
            assert_eq!(by_name, by_json, "{name}");
            assert_ne!(by_name, ServiceLimits::DEFAULT, "{name}");
        }
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for text in ["", "reads_per_s", "reads_per_s=x", "reads_per_s=0", "no=1"] {
            assert!(text.parse::<Limit>().is_err(), "{text}");
        }
        for json in [
            "",
            "[]",
            "{\"no\": 1}",
            "{\"reads_per_s\": 0}",
            "{\"record_bytes\": 99999999}",
        ] {
            assert!(
                ServiceLimits::DEFAULT.with_json(json.as_bytes()).is_err(),
                "{json}"
            );
        }
    }
}
