//! What an SDK's error means.
//!
//! The service's code decides, modelled or not: a stand-in that leaves a model out still sends the code. Then the HTTP
//! status, then how the call broke off.

use std::error::Error;
use std::fmt::Display;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::ports::{ErrorKind, PortError};

/// The error of a call; `call` says what was asked of whom.
pub(super) fn port_error<E>(call: impl Display, error: &SdkError<E, HttpResponse>) -> PortError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let (code, message) = (service.err().code(), service.err().message());
            let kind = code
                .and_then(kind_of_code)
                .unwrap_or_else(|| kind_of_status(status));
            let what = format!(
                "{call}: {}: {}{}",
                code.unwrap_or("no code"),
                message.unwrap_or("no message"),
                code.and_then(advice).unwrap_or_default(),
            );
            PortError::new(kind, what)
        }
        SdkError::TimeoutError(_) => {
            PortError::new(ErrorKind::Transient, format!("{call}: no answer in time"))
        }
        SdkError::ResponseError(response) => PortError::new(
            match response.raw().status().as_u16() {
                status @ 400.. => kind_of_status(status),
                // An answer that broke off.
                _ => ErrorKind::Transient,
            },
            format!("{call}: the answer cannot be read: {}", chain(error)),
        ),
        SdkError::DispatchFailure(_) => dispatch_failure(&call, error),
        // ConstructionFailure, and what later SDKs may add.
        _ => PortError::new(
            ErrorKind::Fatal,
            format!("{call}: it cannot be asked: {}", chain(error)),
        ),
    }
}

/// What the service's code means, if we know the code.
pub(super) fn kind_of_code(code: &str) -> Option<ErrorKind> {
    Some(match code {
        "ProvisionedThroughputExceededException"
        | "LimitExceededException"
        | "KMSThrottlingException"
        | "ThrottlingException"
        | "Throttling"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "SlowDown" => ErrorKind::Throttled,
        "ExpiredIteratorException" => ErrorKind::ExpiredIterator,
        "ResourceNotFoundException" => ErrorKind::NotFound,
        // A resource in use is one that is being made or changed; a listing's token that has expired is a listing that
        // has to start over.
        "InternalFailure"
        | "InternalFailureException"
        | "InternalServerError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "ResourceInUseException"
        | "ExpiredNextTokenException"
        | "TransactionInProgressException" => ErrorKind::Transient,
        "AccessDeniedException"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "InvalidArgumentException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "KMSAccessDeniedException"
        | "KMSDisabledException"
        | "KMSInvalidStateException"
        | "KMSNotFoundException"
        | "KMSOptInRequired"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "OptInRequired"
        | "RequestExpired"
        | "SerializationException"
        | "SignatureDoesNotMatch"
        | "UnknownOperationException"
        | "UnrecognizedClientException"
        | "ValidationException" => ErrorKind::Fatal,
        _ => return None,
    })
}

fn kind_of_status(status: u16) -> ErrorKind {
    match status {
        429 => ErrorKind::Throttled,
        408 | 500.. => ErrorKind::Transient,
        _ => ErrorKind::Fatal,
    }
}

/// What a person can do about a code whose message does not say.
fn advice(code: &str) -> Option<&'static str> {
    Some(match code {
        "ExpiredTokenException" => {
            " (the session token has expired: sign in again, or let AWS_PROFILE name a profile that renews it)"
        }
        "InvalidSignatureException" | "SignatureDoesNotMatch" | "RequestExpired" => {
            " (is the secret key right, and does this machine's clock run true?)"
        }
        "UnrecognizedClientException" | "InvalidClientTokenId" => {
            " (the access key is not known there: check AWS_ACCESS_KEY_ID or the profile, and the region)"
        }
        "AccessDeniedException" => " (the credentials are good, their policy does not allow it)",
        _ => return None,
    })
}

fn dispatch_failure<E>(call: &impl Display, error: &SdkError<E, HttpResponse>) -> PortError
where
    E: Error + 'static,
{
    match find::<CredentialsError>(error) {
        Some(CredentialsError::CredentialsNotLoaded(_)) => PortError::new(
            ErrorKind::Fatal,
            format!(
                "{call}: no AWS credentials were found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY, or give the instance or container a role"
            ),
        ),
        Some(CredentialsError::InvalidConfiguration(_)) => PortError::new(
            ErrorKind::Fatal,
            format!(
                "{call}: the AWS credentials are not set up right: {}",
                chain(error)
            ),
        ),
        // The provider itself is a service that may be slow, throttled or away.
        Some(_) => PortError::new(
            ErrorKind::Transient,
            format!(
                "{call}: the AWS credentials could not be had: {}",
                chain(error)
            ),
        ),
        None => {
            let is_our_fault = match error {
                SdkError::DispatchFailure(failure) => failure.is_user(),
                _ => false,
            };
            let kind = if is_our_fault {
                ErrorKind::Fatal
            } else {
                ErrorKind::Transient
            };
            PortError::new(
                kind,
                format!("{call}: it was not reached: {}", chain(error)),
            )
        }
    }
}

/// The error and its causes, outermost first, in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    causes(error)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
