//! What is told of a history: its hash, its lines for a person, and what went wrong.

use std::fmt;
use std::time::Duration;

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its ID, or the name of a promise that has none.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
    /// When, from the world's beginning.
    pub at: Duration,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            invariant,
            what,
            at,
        } = self;
        write!(f, "{invariant} at {:.3} s: {what}", at.as_secs_f64())
    }
}

/// What came of a history.
#[derive(Clone, Debug)]
pub struct Report {
    /// The first invariant that did not hold.
    pub violation: Option<Violation>,
    /// A hash of all that happened.
    pub hash: u64,
    /// How much happened.
    pub events: u64,
    /// Faults that struck.
    pub faults: u32,
    /// Virtual time until everything was done.
    pub ended_at: Duration,
    /// One line an event, if they were asked for.
    pub lines: Vec<String>,
}

/// Collects it.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    /// How much has happened.
    pub events: u64,
    is_told: bool,
    /// One line an event, if they were asked for.
    pub lines: Vec<String>,
    /// The first invariant that did not hold.
    pub violation: Option<Violation>,
}

impl Trace {
    /// Nothing has happened.
    pub fn new(is_told: bool) -> Self {
        Self {
            is_told,
            ..Self::default()
        }
    }

    /// Whatever differs here makes two histories differ.
    pub fn mix(&mut self, fact: u64) {
        self.hash = (self.hash ^ fact)
            .rotate_left(23)
            .wrapping_mul(0x9fb2_1c65_1e98_df25);
    }

    /// A hash of all that was mixed in.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Tells of an event, if that was asked for.
    pub fn tell(&mut self, now: u64, line: impl FnOnce() -> String) {
        if self.is_told {
            let seconds = Duration::from_nanos(now).as_secs_f64();
            self.lines.push(format!("{seconds:9.4}  {}", line()));
        }
    }

    /// An invariant does not hold. Only the first one counts.
    pub fn violate(&mut self, now: u64, invariant: &'static str, what: String) {
        self.violation.get_or_insert(Violation {
            invariant,
            what,
            at: Duration::from_nanos(now),
        });
    }
}
