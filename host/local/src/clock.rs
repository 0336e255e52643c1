//! The endpoint's clock, which tests can set.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Milliseconds since the epoch.
pub(crate) type Millis = u64;

/// The latest time a clock can be set to: sequence numbers carry seconds in 36 bits.
pub(crate) const LATEST: Millis = ((1 << 36) - 1) * 1000;

/// What the endpoint takes for the time: the system's, shifted or frozen if a test says so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    mode: Mutex<Mode>,
    set: Notify,
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    /// The system's time and so many milliseconds.
    Shifted(Millis),
    /// Stands still.
    Frozen(Millis),
}

impl Default for Mode {
    fn default() -> Self {
        Self::Shifted(0)
    }
}

impl Clock {
    pub(crate) fn now(&self) -> Millis {
        match *self.mode() {
            Mode::Shifted(by) => system_now().saturating_add(by).min(LATEST),
            Mode::Frozen(at) => at,
        }
    }

    /// Stands still at `at` from now on, but for `advance`.
    pub(crate) fn freeze(&self, at: Millis) {
        self.change(|_| Mode::Frozen(at.min(LATEST)));
    }

    /// Moves forward; a running clock keeps running.
    pub(crate) fn advance(&self, by: Duration) {
        let by = Millis::try_from(by.as_millis()).unwrap_or(LATEST);
        self.change(|mode| match mode {
            Mode::Shifted(already) => Mode::Shifted(already.saturating_add(by).min(LATEST)),
            Mode::Frozen(at) => Mode::Frozen(at.saturating_add(by).min(LATEST)),
        });
    }

    /// Follows the system's time again.
    pub(crate) fn follow_system(&self) {
        self.change(|_| Mode::default());
    }

    /// Once the clock is set, after this future is first polled or enabled.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.0.set.notified()
    }

    fn change(&self, change: impl FnOnce(Mode) -> Mode) {
        let mut mode = self.mode();
        *mode = change(*mode);
        drop(mode);
        self.0.set.notify_waiters();
    }

    fn mode(&self) -> std::sync::MutexGuard<'_, Mode> {
        self.0.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn system_now() -> Millis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(LATEST)
}
