//! What crosses the wire: requests decoded, answers encoded, errors in the service's shape. JSON 1.1 for now; the
//! typed requests and answers are the same for any other encoding.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeOwned, Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Millis;

mod error;

pub(crate) use error::ServiceError;

/// The content type of requests and answers.
pub(crate) const JSON: &str = "application/x-amz-json-1.1";

/// Reads a request that owns what it has.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, ServiceError> {
    decode_borrowed(body)
}

/// Reads a request whose strings may borrow from the body.
pub(crate) fn decode_borrowed<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ServiceError> {
    // A request without members may come without a body.
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| ServiceError::Serialization(error.to_string()))
}

/// Writes an answer.
pub(crate) fn encode<T: Serialize>(answer: &T) -> Result<Vec<u8>, ServiceError> {
    serde_json::to_vec(answer).map_err(|error| ServiceError::Internal(error.to_string()))
}

/// Bytes: base64 in JSON.
#[derive(Debug)]
pub(crate) struct Blob(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64;

        impl Visitor<'_> for Base64 {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string in base64")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Blob, E> {
                STANDARD.decode(text).map(Blob).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Base64)
    }
}

/// Bytes of an answer, borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlobRef<'a>(pub(crate) &'a [u8]);

impl Serialize for BlobRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self.0))
    }
}

/// A string that borrows from the body unless it has escapes.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// A time: seconds since the epoch with a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timestamp(pub(crate) Millis);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / 1000.0)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        if !seconds.is_finite() {
            return Err(D::Error::custom("a timestamp has to be finite"));
        }
        // Negative times are the epoch: nothing is older.
        #[expect(clippy::cast_sign_loss, reason = "clamped to what is not negative")]
        Ok(Self((seconds * 1000.0).round().max(0.0) as Millis))
    }
}
