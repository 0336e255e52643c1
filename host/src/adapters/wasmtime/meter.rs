//! Whose time it is: the guest's own, or spent waiting in the host.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, Sleep, sleep_until};

use super::gate::Turn;
use super::limits::TICK;

/// Measures one instance.
///
/// The guest's own time is the processor time of the thread while it polls the guest: a guest that is pre-empted, by
/// another guest or by the system, is not charged for what others use, and neither is one that sleeps. It is looked at
/// only when an epoch passes, so that a call shorter than a tick costs no clock reading; the part of a call before its
/// first tick is therefore free. Relaxed ordering is enough: only the thread that polls the guest reads and writes, and
/// the executor orders one poll before the next.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Own time of all polls that have ended, ns.
    ran: AtomicU64,
    /// The thread's clock when this poll began, ns.
    resumed: AtomicU64,
    /// `ran` at the first tick of this call, ns; 0 before it.
    call_began: AtomicU64,
    /// Waited in this call, ns.
    waited: AtomicU64,
    /// The guest has just been pre-empted, so that the poll that ends now is no wait.
    preempted: AtomicBool,
}

/// A guest has waited in host calls for as long as it may.
#[derive(Debug)]
pub(super) struct WaitedTooLong;

impl Meter {
    /// A call begins.
    pub(super) fn begin_call(&self) {
        self.call_began.store(0, Ordering::Relaxed);
        self.waited.store(0, Ordering::Relaxed);
    }

    /// An epoch has passed under the guest: its own time in this call so far.
    pub(super) fn tick(&self) -> Duration {
        let in_this_poll = thread_nanos().saturating_sub(self.resumed.load(Ordering::Relaxed));
        let ran = self.ran.load(Ordering::Relaxed) + in_this_poll;
        self.preempted.store(true, Ordering::Relaxed);
        match self.call_began.load(Ordering::Relaxed) {
            0 => {
                self.call_began.store(ran.max(1), Ordering::Relaxed);
                Duration::ZERO
            }
            began => Duration::from_nanos(ran.saturating_sub(began)),
        }
    }

    fn resume(&self) {
        self.resumed.store(thread_nanos(), Ordering::Relaxed);
    }

    /// The poll is over: its processor time, ns.
    fn pause(&self) -> u64 {
        let in_this_poll = thread_nanos().saturating_sub(self.resumed.load(Ordering::Relaxed));
        self.ran.fetch_add(in_this_poll, Ordering::Relaxed);
        in_this_poll
    }

    fn add_wait(&self, waited: Duration) {
        let nanos = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        let sum = self.waited.load(Ordering::Relaxed).saturating_add(nanos);
        self.waited.store(sum, Ordering::Relaxed);
    }

    fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited.load(Ordering::Relaxed))
    }
}

/// Runs a guest's future under its meter, whenever it is its turn, and gives up when it has waited for `limit` in host calls.
pub(super) async fn metered<T>(
    meter: &Meter,
    limit: Duration,
    mut turn: Turn<'_>,
    guest: impl Future<Output = T>,
) -> Result<T, WaitedTooLong> {
    let mut guest = pin!(guest);
    let mut alarm: Option<Pin<Box<Sleep>>> = None;
    let mut waiting_since: Option<Instant> = None;
    poll_fn(move |cx| {
        if let Some(since) = waiting_since.take() {
            meter.add_wait(since.elapsed());
        }
        if turn.poll_enter(cx).is_pending() {
            return Poll::Pending;
        }
        meter.preempted.store(false, Ordering::Relaxed);
        meter.resume();
        let polled = guest.as_mut().poll(cx);
        turn.leave(meter.pause());
        if let Poll::Ready(value) = polled {
            return Poll::Ready(Ok(value));
        }
        if meter.preempted.load(Ordering::Relaxed) {
            // It has woken itself, and continues as soon as the others have had their turn.
            return Poll::Pending;
        }
        let left = limit.saturating_sub(meter.waited());
        if left.is_zero() {
            return Poll::Ready(Err(WaitedTooLong));
        }
        let now = Instant::now();
        waiting_since = Some(now);
        let deadline = now + left;
        let alarm = alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if alarm.deadline() != deadline {
            alarm.as_mut().reset(deadline);
        }
        alarm.as_mut().poll(cx).map(|()| Err(WaitedTooLong))
    })
    .await
}

/// The processor time this thread has used, ns.
fn thread_nanos() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
    .as_nanos()
    .try_into()
    .unwrap_or(u64::MAX)
}

/// Whether a call that has run for `ran` since its first tick is over its limit.
pub(super) fn is_over(ran: Duration, limit: Duration) -> bool {
    // Up to a tick passed before the first one was seen.
    ran + TICK > limit
}
