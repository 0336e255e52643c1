//! Faults as a client meets them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::faults::{Drawn, Fault, FaultKind};
use crate::wire::ServiceError;

/// Resets a connection in place of its next bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Reset(Arc<AtomicBool>);

impl Reset {
    /// Whatever is written from now on, by any request of the connection, resets it.
    pub(super) fn at_next_write(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn is_due(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Waits as drawn.
pub(super) async fn delay(drawn: Drawn) {
    if !drawn.delay.is_zero() {
        tokio::time::sleep(drawn.delay).await;
    }
}

/// Refuses what is to be refused. Otherwise gives the fault that goes with the request, if any.
pub(super) fn refuse(drawn: Drawn, reset: &Reset) -> Result<Option<Fault>, ServiceError> {
    let Some(fault) = drawn.fault else {
        return Ok(None);
    };
    let on_demand = || "A fault that was asked for.".to_owned();
    match fault.kind {
        FaultKind::Throttle => Err(ServiceError::ThroughputExceeded(on_demand())),
        FaultKind::ServerError => Err(ServiceError::Internal(on_demand())),
        FaultKind::Unavailable => Err(ServiceError::Unavailable(on_demand())),
        FaultKind::ExpiredIterator => Err(ServiceError::ExpiredIterator(on_demand())),
        FaultKind::Reset => {
            reset.at_next_write();
            // Never seen: writing it resets the connection.
            Err(ServiceError::Internal(on_demand()))
        }
        FaultKind::Latency
        | FaultKind::PartialThrottle
        | FaultKind::DuplicatedRead
        | FaultKind::AppliedButTimedOut
        | FaultKind::DroppedSubscription => Ok(Some(fault)),
    }
}

/// Loses the answer of what was carried out, if that is the fault.
pub(super) async fn after(fault: Option<Fault>, reset: &Reset) {
    if let Some(fault) = fault.filter(|f| f.kind == FaultKind::AppliedButTimedOut) {
        tokio::time::sleep(Duration::from_millis(fault.ms)).await;
        reset.at_next_write();
    }
}
