//! Ends connections on which nothing happens, so that whoever holds them keeps nobody else out.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Counts what is under way on a connection and may be silent for long.
#[derive(Clone, Debug, Default)]
pub(super) struct UnderWay(Arc<AtomicUsize>);

/// Something is under way until this is dropped.
#[derive(Debug)]
pub(super) struct Busy(UnderWay);

impl UnderWay {
    pub(super) fn begin(&self) -> Busy {
        self.0.fetch_add(1, Ordering::AcqRel);
        Busy(self.clone())
    }

    fn is_any(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let UnderWay(count) = &self.0;
        count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How long a connection may be silent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Until its first byte.
    pub(super) first: Duration,
    /// Between any two, while nothing is under way.
    pub(super) idle: Duration,
}

/// The watch over one connection.
pub(super) struct Watch {
    patience: Patience,
    under_way: UnderWay,
    /// When a byte last came or went; nothing before the first.
    moved: Option<Instant>,
    /// Not set anew with every byte: when it goes off, it looks at what has happened since.
    alarm: Pin<Box<Sleep>>,
}

impl Watch {
    pub(super) fn new(patience: Patience) -> Self {
        Self {
            patience,
            under_way: UnderWay::default(),
            moved: None,
            alarm: Box::pin(tokio::time::sleep(patience.first)),
        }
    }

    pub(super) fn under_way(&self) -> UnderWay {
        self.under_way.clone()
    }

    /// Bytes came or went.
    pub(super) fn has_moved(&mut self) {
        self.moved = Some(Instant::now());
    }

    /// Waits for a connection's next byte; an error once it has been silent for too long.
    pub(super) fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.alarm.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let since = if self.under_way.is_any() {
                now
            } else {
                match self.moved {
                    Some(moved) => moved,
                    None => return Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                }
            };
            let until = since + self.patience.idle;
            if until <= now {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.alarm.as_mut().reset(until);
        }
        Poll::Pending
    }
}
