//! Shard iterators and `NextToken`s: what the client has to hand back, unread. They carry all they stand for, so that
//! whoever takes the endpoint over honours them.

use base64_simd::URL_SAFE_NO_PAD;
use md5::{Digest, Md5};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock::{Clock, Millis};
use crate::limits;
use crate::operations::ShardFilter;

/// A token that cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum TokenError {
    #[error("not a token of this endpoint")]
    Invalid,
    #[error("made at {made_ms}, now is {now_ms}")]
    Expired { made_ms: Millis, now_ms: Millis },
}

/// Bytes of the digest in front: enough to tell a damaged token.
const DIGEST: usize = 8;

/// Where a read of a shard goes on.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct ShardIterator {
    /// By name, for the message when the stream is gone.
    pub(crate) name: String,
    /// The stream's own id: one made later under the same name is another.
    pub(crate) stream: i64,
    pub(crate) shard: u32,
    /// The index of the next record.
    pub(crate) index: u64,
    pub(crate) made_ms: Millis,
}

/// Where a listing goes on, and what it lists: the client gives nothing else with it.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct ListingToken {
    pub(crate) name: String,
    pub(crate) stream: i64,
    /// The last shard that was given.
    pub(crate) after: u32,
    pub(crate) filter: Option<ShardFilter>,
    pub(crate) made_ms: Millis,
}

/// Where a listing of a stream's consumers goes on.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct ConsumersToken {
    pub(crate) stream: i64,
    /// The name of the last one that was given.
    pub(crate) after: String,
    pub(crate) made_ms: Millis,
}

/// Tokens age by the endpoint's clock.
pub(crate) trait Token: Serialize + DeserializeOwned {
    /// Distinguishes tokens of one kind from those of another.
    const KIND: &'static [u8];

    fn made_ms(&self) -> Millis;

    /// The text that the client gets.
    fn seal(&self) -> String {
        let body = serde_json::to_vec(self).unwrap_or_default();
        let mut bytes = digest(Self::KIND, &body).to_vec();
        bytes.extend_from_slice(&body);
        URL_SAFE_NO_PAD.encode_to_string(bytes)
    }

    /// Reads a text that the client gave.
    fn open(text: &str, clock: &Clock) -> Result<Self, TokenError> {
        let bytes = URL_SAFE_NO_PAD
            .decode_to_vec(text)
            .map_err(|_| TokenError::Invalid)?;
        let (seal, body) = bytes.split_at_checked(DIGEST).ok_or(TokenError::Invalid)?;
        if seal != digest(Self::KIND, body) {
            return Err(TokenError::Invalid);
        }
        let token: Self = serde_json::from_slice(body).map_err(|_| TokenError::Invalid)?;
        let (made_ms, now_ms) = (token.made_ms(), clock.now());
        if u128::from(now_ms.saturating_sub(made_ms)) > limits::TOKEN_AGE.as_millis() {
            return Err(TokenError::Expired { made_ms, now_ms });
        }
        Ok(token)
    }
}

impl Token for ShardIterator {
    const KIND: &'static [u8] = b"iterator";

    fn made_ms(&self) -> Millis {
        self.made_ms
    }
}

impl Token for ListingToken {
    const KIND: &'static [u8] = b"listing";

    fn made_ms(&self) -> Millis {
        self.made_ms
    }
}

impl Token for ConsumersToken {
    const KIND: &'static [u8] = b"consumers";

    fn made_ms(&self) -> Millis {
        self.made_ms
    }
}

fn digest(kind: &[u8], body: &[u8]) -> [u8; DIGEST] {
    let full = Md5::new().chain_update(kind).chain_update(body).finalize();
    let mut short = [0; DIGEST];
    short.copy_from_slice(&full[..DIGEST]);
    short
}
