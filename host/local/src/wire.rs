//! What crosses the wire: requests decoded, answers encoded, errors in the service's shape. One set of typed requests
//! and answers serves both encodings: JSON 1.1, and CBOR 1.1 as the Java SDK speaks it.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

mod cbor;
mod error;
pub(crate) mod event_stream;
mod json;
mod values;

pub(crate) use error::{ServiceError, THROUGHPUT_EXCEEDED};
pub(crate) use values::{Blob, BlobRef, Few, FewPairs, Timestamp};

/// How a request is written, and so its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    Cbor,
}

impl Encoding {
    /// What a content type says; one that is missing or strange is JSON, which then says what is wrong with the body.
    pub(crate) fn of(content_type: Option<&str>) -> Self {
        let kind = content_type.unwrap_or_default().trim_start();
        let is_cbor = |name: &str| {
            kind.get(..name.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(name))
        };
        if is_cbor("application/x-amz-cbor") || is_cbor("application/cbor") {
            Self::Cbor
        } else {
            Self::Json
        }
    }

    /// The content type of an answer.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/x-amz-json-1.1",
            Self::Cbor => "application/x-amz-cbor-1.1",
        }
    }

    /// A body as `decode` takes it.
    pub(crate) fn prepare(self, body: Bytes) -> Bytes {
        match self {
            Self::Json => body,
            Self::Cbor => match cbor::without_tags(&body) {
                Cow::Borrowed(_) => body,
                Cow::Owned(untagged) => untagged.into(),
            },
        }
    }

    /// Reads a request, whose strings may borrow from the body. One without members may come without a body.
    pub(crate) fn decode<'a, T: Deserialize<'a>>(self, body: &'a [u8]) -> Result<T, ServiceError> {
        match self {
            Self::Json => {
                let body = if body.is_empty() { b"{}" } else { body };
                serde_json::from_slice(body)
                    .map_err(|error| ServiceError::Serialization(error.to_string()))
            }
            Self::Cbor => {
                let body = if body.is_empty() {
                    cbor::EMPTY_MAP
                } else {
                    body
                };
                cbor4ii::serde::from_slice(body)
                    .map_err(|error| ServiceError::Serialization(error.to_string()))
            }
        }
    }

    /// Writes an answer.
    pub(crate) fn encode<T: Serialize>(self, answer: &T) -> Result<Vec<u8>, ServiceError> {
        match self {
            Self::Json => {
                json::encode(answer).map_err(|error| ServiceError::Internal(error.to_string()))
            }
            Self::Cbor => cbor4ii::serde::to_vec(Vec::new(), answer)
                .map_err(|error| ServiceError::Internal(error.to_string())),
        }
    }
}

/// A string that borrows from the body unless it has escapes.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);
