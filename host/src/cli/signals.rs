//! The two signals that stop a process in good order, of which a second one ends it at once; and the one that makes it look
//! at its files.

use std::io;
use std::process;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a shell reports for a process that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Waits for SIGTERM or SIGINT.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on. Called in a runtime.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Ends the process at the next one.
    pub(super) async fn exit_at_next(mut self) {
        let name = self.next().await;
        tracing::warn!(
            "{name} again: stopping at once; what was begun is delivered again by the next run"
        );
        process::exit(INTERRUPTED);
    }
}

/// Waits for SIGHUP.
pub(super) struct Hangups(Signal);

impl Hangups {
    /// Listens from now on. Called in a runtime.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
