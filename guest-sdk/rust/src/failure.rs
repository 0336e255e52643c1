//! Why a message was not handled.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// Why a message, or a whole call, was not handled.
///
/// Every [`Error`] converts into a [`Failure::Retry`], so `?` works on whatever a handler calls: an error that nobody has
/// judged counts as transient, and the pipeline's retry budget ends it in the dead-letter sink. Where trying again
/// cannot help, say so with [`OrReject::or_reject`] or [`Failure::reject`].
///
/// ```
/// use shardwright_guest::{Failure, OrReject};
///
/// fn number(data: &[u8]) -> Result<u64, Failure> {
///     let text = std::str::from_utf8(data).or_reject()?;
///     if text.is_empty() {
///         return Err(Failure::reject("an empty message is not a number"));
///     }
///     text.parse().or_reject()
/// }
///
/// assert_eq!(number(b"17"), Ok(17));
/// assert!(matches!(number(b"x"), Err(Failure::Reject { .. })));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Transient: try the message again. Later messages of its key wait until it has been.
    Retry {
        /// The least time to wait, kept to the millisecond. `None`: the pipeline's own back-off.
        after: Option<Duration>,
        /// What went wrong: one line a person can act on.
        reason: String,
    },
    /// Permanent: the message goes to the dead-letter sink with its whole payload.
    Reject {
        /// What is wrong with it: one line a person can act on.
        reason: String,
    },
}

impl Failure {
    /// A transient failure, retried after the pipeline's own back-off.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry {
            after: None,
            reason: reason.into(),
        }
    }

    /// A transient failure, retried no sooner than `after`.
    pub fn retry_after(after: Duration, reason: impl Into<String>) -> Self {
        Self::Retry {
            after: Some(after),
            reason: reason.into(),
        }
    }

    /// A permanent failure.
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject {
            reason: reason.into(),
        }
    }

    /// What went wrong.
    pub fn reason(&self) -> &str {
        match self {
            Self::Retry { reason, .. } | Self::Reject { reason } => reason,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry {
                after: None,
                reason,
            } => write!(f, "retry: {reason}"),
            Self::Retry {
                after: Some(after),
                reason,
            } => write!(f, "retry after {after:?}: {reason}"),
            Self::Reject { reason } => write!(f, "reject: {reason}"),
        }
    }
}

// `Failure` is no `Error` itself, as that would overlap with this conversion of every one.
impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::retry(with_causes(&error))
    }
}

/// Turns an error into a permanent failure.
pub trait OrReject<T> {
    /// The value, or [`Failure::Reject`] with the error and its causes as the reason.
    fn or_reject(self) -> Result<T, Failure>;
}

impl<T, E: Error> OrReject<T> for Result<T, E> {
    fn or_reject(self) -> Result<T, Failure> {
        self.map_err(|error| Failure::reject(with_causes(&error)))
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
