//! Polling a future inside another runtime's context.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// Polls `inner` where the caller is, with the I/O runtime entered: sockets and timers register there, and whatever it
/// spawns, such as the driver of an HTTP connection, runs there. A guest that keeps this thread busy delays the answer
/// of this one call, and no connection that leases share.
pub(super) struct OnIo<F> {
    io: Handle,
    inner: Pin<Box<F>>,
}

/// Wraps a future.
pub(super) fn on_io<F: Future>(io: &Handle, inner: F) -> OnIo<F> {
    OnIo {
        io: io.clone(),
        inner: Box::pin(inner),
    }
}

impl<F: Future> Future for OnIo<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let _entered = this.io.enter();
        this.inner.as_mut().poll(context)
    }
}
