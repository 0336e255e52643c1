//! Leaves the end of an HTTP/2 connection to its client.
//!
//! A client that wants nothing more says so (`GOAWAY`) while it still has answers to read: the SDK for JavaScript does as soon as a
//! subscription begins. Once its last stream is sent, HTTP/2 would have the connection closed. But Node throws away what was
//! received and not yet read when the other side closes, so that a consumer that takes its time would lose the last events.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::sync::watch;

/// Whether a connection speaks HTTP/2, which its first request tells.
#[derive(Clone, Debug, Default)]
pub(super) struct Http2(Arc<AtomicBool>);

impl Http2 {
    pub(super) fn is_spoken(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// How one connection ends.
pub(super) struct Parting {
    http2: Http2,
    stopping: watch::Receiver<bool>,
    stage: Stage,
}

enum Stage {
    /// The connection is in use.
    Ahead,
    /// It is the client's to close, until the endpoint stops.
    Waiting(Pin<Box<dyn Future<Output = ()> + Send>>),
    Over,
}

impl Parting {
    pub(super) fn new(stopping: watch::Receiver<bool>) -> Self {
        Self {
            http2: Http2::default(),
            stopping,
            stage: Stage::Ahead,
        }
    }

    pub(super) fn http2(&self) -> Http2 {
        self.http2.clone()
    }

    /// Whether there is nobody to wait for, now or any more.
    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if matches!(self.stage, Stage::Ahead) {
            if !self.http2.0.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            let mut stopping = self.stopping.clone();
            self.stage = Stage::Waiting(Box::pin(async move {
                // An error means that the handle is gone: the same.
                let _: Result<_, _> = stopping.wait_for(|stop| *stop).await;
            }));
        }
        if let Stage::Waiting(told) = &mut self.stage
            && told.as_mut().poll(cx).is_pending()
        {
            return Poll::Pending;
        }
        self.end();
        Poll::Ready(())
    }

    /// The client has closed, or was waited for in vain.
    pub(super) fn end(&mut self) {
        self.stage = Stage::Over;
    }
}
