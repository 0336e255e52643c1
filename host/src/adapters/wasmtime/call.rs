//! One call into a guest, within its limits.

use std::future::Future;
use std::sync::Arc;

use wasmtime::Store;

use super::console::Console;
use super::failure::call_error;
use super::gate::Share;
use super::guest::Guest;
use super::meter::{Meter, metered};
use crate::ports::{CallError, PluginLimits};

/// What bounds a call, taken out of the store, which the call itself borrows.
pub(super) struct Call {
    meter: Arc<Meter>,
    share: Arc<Share>,
    stderr: Console,
    limits: PluginLimits,
}

/// Why a call ended without an answer.
pub(super) enum Ended {
    /// Something went wrong in wasmtime or in the guest.
    Guest(wasmtime::Error),
    /// We ended it.
    Host(CallError),
}

impl From<wasmtime::Error> for Ended {
    fn from(error: wasmtime::Error) -> Self {
        Self::Guest(error)
    }
}

impl Call {
    /// Prepares a call, or a series of them.
    pub(super) fn new(store: &mut Store<Guest>, limits: PluginLimits) -> Self {
        let guest = store.data();
        let call = Self {
            meter: Arc::clone(&guest.meter),
            share: Arc::clone(&guest.share),
            stderr: guest.stderr.clone(),
            limits,
        };
        call.stderr.forget();
        begin(store);
        call
    }

    /// Runs it. If the future is dropped, or the answer is an error, the store is dead.
    pub(super) async fn run<T>(
        self,
        call: impl Future<Output = Result<T, Ended>>,
    ) -> Result<T, CallError> {
        let limits = &self.limits;
        match metered(&self.meter, limits.wait, self.share.turn(), call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Ended::Guest(error))) => Err(call_error(&error, limits, self.stderr.end())),
            Ok(Err(Ended::Host(error))) => Err(error),
            Err(_waited_too_long) => Err(CallError::Wait {
                limit: limits.wait,
                stderr: self.stderr.end(),
            }),
        }
    }
}

/// Starts the count of what one call of a series may use.
pub(super) fn begin(store: &mut Store<Guest>) {
    store.set_epoch_deadline(1);
    store.data().meter.begin_call();
}
