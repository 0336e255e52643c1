//! The service's errors.

use serde::Serialize;
use thiserror::Error;

use super::Encoding;
use crate::limits;

/// An error as the service answers it: a type that clients match, and a message for people.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum ServiceError {
    #[error("{0}")]
    ResourceNotFound(String),
    #[error("{0}")]
    ResourceInUse(String),
    #[error("{0}")]
    InvalidArgument(String),
    #[error("{0}")]
    Validation(String),
    #[error("{0}")]
    LimitExceeded(String),
    #[error("{0}")]
    ThroughputExceeded(String),
    #[error("{0}")]
    ExpiredIterator(String),
    #[error("{0}")]
    ExpiredNextToken(String),
    /// What was only to be tried would have been done.
    #[error("Request would have succeeded, but DryRun flag is set.")]
    DryRun,
    #[error("{0}")]
    Serialization(String),
    #[error("{0}")]
    UnknownOperation(String),
    #[error("{0}")]
    RequestTooLarge(String),
    #[error("{0}")]
    RequestTimeout(String),
    #[error("{0}")]
    Internal(String),
    #[error("{0}")]
    Unavailable(String),
}

/// What throttling is called, of a request and of one record.
pub(crate) const THROUGHPUT_EXCEEDED: &str = "ProvisionedThroughputExceededException";

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "__type")]
    kind: &'a str,
    message: &'a str,
}

impl ServiceError {
    /// The service's name of the error.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::ResourceNotFound(_) => "ResourceNotFoundException",
            Self::ResourceInUse(_) => "ResourceInUseException",
            Self::InvalidArgument(_) => "InvalidArgumentException",
            Self::Validation(_) => "ValidationException",
            Self::LimitExceeded(_) => "LimitExceededException",
            Self::ThroughputExceeded(_) => THROUGHPUT_EXCEEDED,
            Self::ExpiredIterator(_) => "ExpiredIteratorException",
            Self::ExpiredNextToken(_) => "ExpiredNextTokenException",
            Self::DryRun => "DryRunOperationException",
            Self::Serialization(_) => "SerializationException",
            Self::UnknownOperation(_) => "UnknownOperationException",
            Self::RequestTooLarge(_) => "RequestEntityTooLargeException",
            Self::RequestTimeout(_) => "RequestTimeoutException",
            Self::Internal(_) => "InternalFailure",
            Self::Unavailable(_) => "ServiceUnavailable",
        }
    }

    /// The HTTP status that goes with it.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::RequestTimeout(_) => 408,
            Self::RequestTooLarge(_) => 413,
            Self::Internal(_) => 500,
            Self::Unavailable(_) => 503,
            _ => 400,
        }
    }

    /// The body of the answer.
    pub(crate) fn body(&self, encoding: Encoding) -> Vec<u8> {
        let body = Body {
            kind: self.kind(),
            message: &self.to_string(),
        };
        encoding.encode(&body).unwrap_or_default()
    }

    /// One field that breaks a constraint of the service's model, in the service's words.
    pub(crate) fn constraint(value: &str, field: &str, constraint: &str) -> Self {
        let shown: String = value.chars().take(limits::VALUE_CHARS).collect();
        Self::Validation(format!(
            "1 validation error detected: Value '{shown}' at '{field}' failed to satisfy constraint: {constraint}"
        ))
    }

    /// A field that has to be there and is not.
    pub(crate) fn missing(field: &str) -> Self {
        Self::Validation(format!(
            "1 validation error detected: Value null at '{field}' failed to satisfy constraint: Member must not be null"
        ))
    }
}
