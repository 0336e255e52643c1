//! The breaker of one shard: it pauses the lanes when a step fails everything that it is given.
//!
//! A message is tried a few times and then given up. That is right when it is the message that is wrong; when it is the
//! plugin, it would lead the whole stream into the dead letters. Before a message is given up, the breaker is therefore
//! asked. It *spares* the message, and *opens*, if the step that fails it has failed so many different messages, and has
//! answered for none since this one failed first. An answer is an ack, a hold, a rejection or an emission: anything but a
//! request to try again, and no reply at all.
//!
//! While it is open, one small batch at a time goes out, a *probe*, and after each that failed there is a pause, which
//! doubles. Nothing is given up meanwhile over the step that is paused for. Its first answer closes the breaker, and
//! messages that it failed since the one before begin their tries anew. So a message that is wrong itself is given up in
//! the end, once the step has answered for another.

use std::num::NonZeroU32;

use crate::backoff::Backoff;
use crate::lanes::Cause;
use crate::limits::{PROBE_PAUSE_FIRST, PROBE_PAUSE_MAX};
use crate::time::Instant;

#[cfg(test)]
mod tests;

/// Steps of a pipeline. One beyond the 64th is not known apart from those that it does not have: no breaker opens for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepSet(u64);

impl StepSet {
    /// The steps before this one.
    pub fn before(step: usize) -> Self {
        let beyond = u32::try_from(step)
            .ok()
            .and_then(|step| 1_u64.checked_shl(step));
        Self(beyond.map_or(u64::MAX, |beyond| beyond - 1))
    }

    /// Adds a step.
    pub fn add(&mut self, step: usize) {
        let bit = u32::try_from(step)
            .ok()
            .and_then(|step| 1_u64.checked_shl(step));
        self.0 |= bit.unwrap_or(0);
    }

    /// Adds the steps of another set.
    pub fn add_all(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// One more than the last.
    fn end(self) -> usize {
        (u64::BITS - self.0.leading_zeros()) as usize
    }

    fn has(self, step: usize) -> bool {
        let bit = u32::try_from(step)
            .ok()
            .and_then(|step| 1_u64.checked_shl(step));
        self.0 & bit.unwrap_or(0) != 0
    }
}

/// A shard stands still, since a step fails everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paused {
    /// Since when.
    pub since: Instant,
    /// How the step failed the message that would have been given up.
    pub cause: Cause,
    /// Probes that have failed.
    pub probes: u32,
}

/// What may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Whatever there is.
    All,
    /// A probe.
    Probe,
    /// Nothing.
    Nothing,
}

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probed {
    /// A message failed.
    Failed,
    /// None did: it was cut in halves, or nothing of it came to the step that is paused for.
    NothingYet,
}

/// The breaker closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    /// When the step that it was open for had answered the last time, if ever.
    pub(crate) last_answer: Option<Instant>,
}

/// What a step has done since it last answered for a message.
#[derive(Clone, Copy, Debug, Default)]
struct Streak {
    answered: Option<Instant>,
    /// Different messages that it failed since.
    failed: u32,
}

#[derive(Debug)]
struct Open {
    paused: Paused,
    step: usize,
    /// No probe goes out before.
    next: Instant,
    /// The lane that runs one.
    probing: Option<usize>,
    /// The lane that is asked for one first, so that all have their turn.
    first: usize,
}

/// The breaker of one shard.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// Different messages that must have failed; none: it never opens.
    after: Option<NonZeroU32>,
    steps: Vec<Streak>,
    open: Option<Open>,
}

impl Breaker {
    pub(crate) fn set_after(&mut self, after: Option<NonZeroU32>) {
        self.after = after;
        if after.is_none() {
            self.open = None;
        }
    }

    pub(crate) fn paused(&self) -> Option<&Paused> {
        self.open.as_ref().map(|open| &open.paused)
    }

    /// A message has failed that had not since its tries began.
    pub(crate) fn failed(&mut self, cause: &Cause) {
        if let Some(streak) = cause.step.and_then(|step| self.steps.get_mut(step)) {
            streak.failed = streak.failed.saturating_add(1);
        } else if let Some(step @ 0..64) = cause.step {
            self.steps.resize_with(step + 1, Streak::default);
            self.steps[step].failed = 1;
        }
    }

    /// Whether a message is not to be given up that failed `since` then.
    pub(crate) fn spares(
        &mut self,
        now: Instant,
        since: Instant,
        cause: &Cause,
        random: u64,
    ) -> bool {
        let (Some(after), Some(step)) = (self.after, cause.step) else {
            return false;
        };
        let streak = self.steps.get(step).copied().unwrap_or_default();
        if streak.failed < after.get() || streak.answered.is_some_and(|at| since <= at) {
            return false;
        }
        if self.open.is_none() {
            self.open = Some(Open {
                paused: Paused {
                    since: now,
                    cause: cause.clone(),
                    probes: 0,
                },
                step,
                next: now + pause(1, random),
                probing: None,
                first: 0,
            });
        }
        true
    }

    /// These steps have answered.
    pub(crate) fn answered(&mut self, now: Instant, steps: StepSet) -> Option<Closed> {
        let closed = self.open.take_if(|open| steps.has(open.step));
        let before =
            closed.map(|open| self.steps.get(open.step).and_then(|streak| streak.answered));
        if self.steps.len() < steps.end() {
            self.steps.resize_with(steps.end(), Streak::default);
        }
        for (step, streak) in self.steps.iter_mut().enumerate() {
            if steps.has(step) {
                *streak = Streak {
                    answered: Some(now),
                    failed: 0,
                };
            }
        }
        before.map(|last_answer| Closed { last_answer })
    }

    /// What may go out now.
    pub(crate) fn leave(&self, now: Instant) -> Leave {
        match &self.open {
            None => Leave::All,
            Some(open) if open.probing.is_none() && open.next <= now && !mutant!(PausedForGood) => {
                Leave::Probe
            }
            Some(_) => Leave::Nothing,
        }
    }

    /// When a probe may go out; none while one is out, or nothing is paused.
    pub(crate) fn next_probe(&self) -> Option<Instant> {
        let open = self.open.as_ref()?;
        open.probing.is_none().then_some(open.next)
    }

    /// The lane that is asked first.
    pub(crate) fn first_lane(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.first)
    }

    /// A lane begins a batch.
    pub(crate) fn begins(&mut self, lane: usize) {
        if let Some(open) = &mut self.open {
            open.probing = Some(lane);
        }
    }

    /// Whether the batch that a lane runs is a probe.
    pub(crate) fn is_probe(&self, lane: usize) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| open.probing == Some(lane))
    }

    /// The probe is back.
    pub(crate) fn probed(&mut self, now: Instant, probed: Probed, random: u64) {
        let Some(open) = &mut self.open else { return };
        let lane = open.probing.take().unwrap_or_default();
        match probed {
            Probed::NothingYet => {
                open.first = lane;
                open.next = now;
            }
            Probed::Failed => {
                open.first = lane + 1;
                open.paused.probes = open.paused.probes.saturating_add(1);
                open.next = now + pause(open.paused.probes.saturating_add(1), random);
            }
        }
    }

    /// Something may have been mended: a probe goes out at once, and pauses begin anew.
    pub(crate) fn probe_now(&mut self, now: Instant) {
        if let Some(open) = &mut self.open {
            open.next = now;
            open.paused.probes = 0;
        }
    }
}

fn pause(failures: u32, random: u64) -> std::time::Duration {
    let backoff = Backoff {
        first: PROBE_PAUSE_FIRST,
        max: PROBE_PAUSE_MAX,
    };
    backoff.pause(failures, random.into())
}
