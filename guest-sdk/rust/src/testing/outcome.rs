//! What a handler under test did.

use std::borrow::Cow;

use super::Input;
use crate::Failure;

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// One verdict for each message of the batch.
    pub verdicts: Vec<Verdict>,
    /// Messages held by earlier calls that this one settled.
    pub released: Vec<Settled>,
    /// What is to be delivered, in order.
    pub emissions: Vec<Emitted>,
    /// Why the call as a whole failed, if it did.
    pub failure: Option<Failure>,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done when its emissions are delivered.
    Ack,
    /// It stays un-acked.
    Hold,
    /// It failed.
    Failed(Failure),
    /// It runs again after an earlier message of its key, which is retried; what the handler said of it is discarded.
    Again,
}

/// A held message that is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The message.
    pub message: Input,
    /// [`Verdict::Ack`] or [`Verdict::Failed`].
    pub verdict: Verdict,
}

/// Something to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// What it comes from.
    pub origin: Origin,
    /// Its key: that of its source where the handler gave none.
    pub key: String,
    /// Its output.
    pub output: String,
    /// Its payload.
    pub data: Vec<u8>,
}

impl Emitted {
    /// Its payload as text, with a replacement character for what is not UTF-8.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.data)
    }
}

/// What an emission comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The message at this index of the batch.
    Message(usize),
    /// The release at this index of the reply.
    Released(usize),
    /// The whole call.
    Call,
}

impl Outcome {
    pub(super) fn failed(messages: usize, failure: Failure) -> Self {
        Self {
            verdicts: vec![Verdict::Failed(failure.clone()); messages],
            released: Vec::new(),
            emissions: Vec::new(),
            failure: Some(failure),
        }
    }
}
