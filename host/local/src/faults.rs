//! Faults on demand: which requests meet one, drawn by rules from a seed.

use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::limits;

mod operations;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Refused with `ProvisionedThroughputExceededException`; nothing is done.
    Throttle,
    /// Some records of a `PutRecords` are refused, and at least one; the others are written.
    PartialThrottle,
    /// Carried out after `ms`.
    Latency,
    /// Answered with 500 `InternalFailure`; nothing is done.
    ServerError,
    /// Answered with 503 `ServiceUnavailable`; nothing is done.
    Unavailable,
    /// The connection is reset; nothing is done.
    Reset,
    /// A `GetRecords` is answered with `ExpiredIteratorException`.
    ExpiredIterator,
    /// The next iterator of a `GetRecords` gives the same records again.
    DuplicatedRead,
    /// Carried out; after `ms` the connection is reset instead of an answer.
    AppliedButTimedOut,
    /// A subscription breaks off after `events` events.
    DroppedSubscription,
}

impl FaultKind {
    /// The only operation that this can happen to, if there is one.
    fn operation(self) -> Option<&'static str> {
        match self {
            Self::PartialThrottle => Some("PutRecords"),
            Self::ExpiredIterator | Self::DuplicatedRead => Some("GetRecords"),
            Self::DroppedSubscription => Some("SubscribeToShard"),
            Self::Throttle
            | Self::Latency
            | Self::ServerError
            | Self::Unavailable
            | Self::Reset
            | Self::AppliedButTimedOut => None,
        }
    }
}

/// Which requests meet which fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// What happens.
    pub fault: FaultKind,
    /// To this operation, of Kinesis or `DynamoDB`; by default to every one of Kinesis that it can happen to. A name that
    /// both have is one of Kinesis, unless it is written as in `dynamodb:GetRecords`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// To this part of them, from 0 to 1.
    #[serde(default = "always")]
    pub rate: f64,
    /// At most so many times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Milliseconds, for `latency` and `applied_but_timed_out`.
    #[serde(default)]
    pub ms: u64,
    /// Events that a dropped subscription gives before it breaks off.
    #[serde(default)]
    pub events: u64,
}

fn always() -> f64 {
    1.0
}

/// A rule that cannot be.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FaultError {
    /// Not of a rule's form.
    #[error(
        "not a fault: {0}; write KIND[,operation=NAME][,rate=0..1][,times=N][,ms=N][,events=N]"
    )]
    Unreadable(String),
    /// Out of range.
    #[error("{name} of a fault has to be from 0 to {most}")]
    OutOfRange {
        /// The member.
        name: &'static str,
        /// The most that it can be.
        most: u64,
    },
    /// It happens to another operation only.
    #[error("{kind:?} happens to {only} only, not to {given}")]
    OtherOperation {
        /// The fault.
        kind: FaultKind,
        /// Its operation.
        only: &'static str,
        /// The one that was given.
        given: String,
    },
    /// Neither API has such an operation.
    #[error("no operation {given} of Kinesis or DynamoDB; near it are {near}", near = near.join(", "))]
    NoOperation {
        /// The name that was given.
        given: String,
        /// Names that are like it.
        near: Vec<String>,
    },
    /// More rules than there may be.
    #[error("at most {} rules", limits::FAULT_RULES)]
    TooMany,
}

impl FaultRule {
    fn check(self) -> Result<Self, FaultError> {
        if !(0.0..=1.0).contains(&self.rate) {
            return Err(FaultError::OutOfRange {
                name: "rate",
                most: 1,
            });
        }
        let most = limits::FAULT_WAIT.as_millis() as u64;
        if self.ms > most {
            return Err(FaultError::OutOfRange { name: "ms", most });
        }
        let Some(given) = &self.operation else {
            return Ok(self);
        };
        let Some(named) = operations::find(given) else {
            return Err(FaultError::NoOperation {
                given: given.clone(),
                near: operations::near(given),
            });
        };
        match self.fault.operation() {
            Some(only) if named != (Api::Kinesis, only) => Err(FaultError::OtherOperation {
                kind: self.fault,
                only,
                given: given.clone(),
            }),
            _ => Ok(self),
        }
    }

    fn matches(&self, api: Api, operation: &str) -> bool {
        match (&self.operation, self.fault.operation()) {
            (Some(named), _) => operations::find(named) == Some((api, operation)),
            (None, Some(only)) => api == Api::Kinesis && only == operation,
            (None, None) => api == Api::Kinesis,
        }
    }
}

/// As on a command line: `throttle,operation=PutRecords,rate=0.1`.
impl FromStr for FaultRule {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let mut members = Map::new();
        for (at, part) in text.split(',').enumerate() {
            let (name, value) = match part.split_once('=') {
                None if at == 0 => ("fault", Value::from(part.replace('-', "_"))),
                None => return Err(FaultError::Unreadable(format!("'{part}' has no value"))),
                Some((name, value)) => {
                    let number = value.parse::<Value>().ok().filter(Value::is_number);
                    (name, number.unwrap_or_else(|| value.into()))
                }
            };
            members.insert(name.into(), value);
        }
        serde_json::from_value::<Self>(members.into())
            .map_err(|error| FaultError::Unreadable(error.to_string()))?
            .check()
    }
}

/// Rules and the seed that they are drawn from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultPlan {
    /// The same seed and the same requests in the same order meet the same faults.
    #[serde(default)]
    pub seed: u64,
    /// Each is asked for each request. Delays add up; of several other faults the first one happens.
    #[serde(default)]
    pub rules: Vec<FaultRule>,
}

impl FaultPlan {
    pub(crate) fn from_json(text: &[u8]) -> Result<Self, FaultError> {
        serde_json::from_slice::<Self>(text)
            .map_err(|error| FaultError::Unreadable(error.to_string()))?
            .check()
    }

    pub(crate) fn check(self) -> Result<Self, FaultError> {
        if self.rules.len() > limits::FAULT_RULES {
            return Err(FaultError::TooMany);
        }
        let checked: Result<_, _> = self.rules.into_iter().map(FaultRule::check).collect();
        Ok(Self {
            rules: checked?,
            ..self
        })
    }
}

/// Whose operation it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Kinesis,
    DynamoDb,
}

/// What one request meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drawn {
    /// Before anything else.
    pub(crate) delay: Duration,
    pub(crate) fault: Option<Fault>,
}

/// A fault that is not just a delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) ms: u64,
    pub(crate) events: u64,
    /// For what is left to chance within the request.
    pub(crate) seed: u64,
}

/// The rules in force, and how often each has happened.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Whether there are rules: without any, a request costs one look.
    is_armed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seed: u64,
    random: Random,
    rules: Vec<(FaultRule, u64)>,
}

/// The rules as they are shown.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    seed: u64,
    rules: Vec<ShownRule>,
}

#[derive(Debug, Serialize)]
struct ShownRule {
    #[serde(flatten)]
    rule: FaultRule,
    happened: u64,
}

impl Faults {
    pub(crate) fn new(plan: FaultPlan) -> Self {
        let faults = Self::default();
        faults.replace(plan);
        faults
    }

    /// Draws from now on by this plan, from its seed's begin.
    pub(crate) fn replace(&self, plan: FaultPlan) {
        let is_armed = !plan.rules.is_empty();
        *self.state() = State {
            seed: plan.seed,
            random: Random(plan.seed),
            rules: plan.rules.into_iter().map(|rule| (rule, 0)).collect(),
        };
        self.is_armed.store(is_armed, Ordering::Release);
    }

    pub(crate) fn shown(&self) -> Shown {
        let state = self.state();
        let rule = |(rule, happened): &(FaultRule, u64)| ShownRule {
            rule: rule.clone(),
            happened: *happened,
        };
        Shown {
            seed: state.seed,
            rules: state.rules.iter().map(rule).collect(),
        }
    }

    /// What this request meets. Every rule that fits it draws, whether another one happens or not, so that a rule's
    /// draws do not depend on those of the others.
    pub(crate) fn draw(&self, api: Api, operation: &str) -> Drawn {
        let mut drawn = Drawn::default();
        if !self.is_armed.load(Ordering::Acquire) {
            return drawn;
        }
        let mut state = self.state();
        let State { random, rules, .. } = &mut *state;
        for (rule, happened) in rules {
            if !rule.matches(api, operation) {
                continue;
            }
            let (chance, seed) = (random.fraction(), random.next());
            let is_spent = rule.times.is_some_and(|times| *happened >= times);
            if is_spent || chance >= rule.rate {
                continue;
            }
            if rule.fault == FaultKind::Latency {
                drawn.delay =
                    (drawn.delay + Duration::from_millis(rule.ms)).min(limits::FAULT_WAIT);
            } else if drawn.fault.is_none() {
                drawn.fault = Some(Fault {
                    kind: rule.fault,
                    ms: rule.ms,
                    events: rule.events,
                    seed,
                });
            } else {
                continue;
            }
            *happened += 1;
        }
        drawn
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `SplitMix64`: every seed is good, and a sequence is the same on every machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to, but not, 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(seed: u64, rules: &[&str]) -> FaultPlan {
        let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        FaultPlan { seed, rules }
    }

    fn kinds(faults: &Faults, operation: &str, times: usize) -> Vec<Option<FaultKind>> {
        let draw = |_| faults.draw(Api::Kinesis, operation).fault.map(|f| f.kind);
        (0..times).map(draw).collect()
    }

    #[test]
    fn a_seed_gives_its_faults_again_and_another_seed_others() {
        let drawn = |seed| {
            let faults = Faults::new(plan(seed, &["throttle,rate=0.3", "reset,rate=0.2"]));
            kinds(&faults, "PutRecord", 200)
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        let throttled = drawn(7)
            .iter()
            .filter(|k| **k == Some(FaultKind::Throttle))
            .count();
        assert!((40..80).contains(&throttled), "{throttled} of 200 at 0.3");
    }

    #[test]
    fn a_rule_happens_to_its_operation_so_many_times() {
        let faults = Faults::new(plan(0, &["server_error,operation=GetRecords,times=2"]));
        assert_eq!(kinds(&faults, "PutRecord", 3), [None; 3]);
        let error = Some(FaultKind::ServerError);
        assert_eq!(kinds(&faults, "GetRecords", 3), [error, error, None]);
        let shown = serde_json::to_value(faults.shown()).unwrap();
        assert_eq!(shown["rules"][0]["happened"], 2);
        assert_eq!(shown["rules"][0]["fault"], "server_error");
    }

    #[test]
    fn tables_meet_a_fault_only_when_their_operation_is_named() {
        let faults = Faults::new(plan(0, &["reset"]));
        assert_eq!(faults.draw(Api::DynamoDb, "UpdateItem").fault, None);
        let faults = Faults::new(plan(0, &["reset,operation=UpdateItem"]));
        assert!(faults.draw(Api::DynamoDb, "UpdateItem").fault.is_some());
    }

    #[test]
    fn a_rule_for_an_operation_of_one_api_leaves_the_others_of_that_name_alone() {
        let faults = Faults::new(plan(0, &["reset,operation=GetRecords"]));
        assert_eq!(faults.draw(Api::DynamoDb, "GetRecords").fault, None);
        assert!(faults.draw(Api::Kinesis, "GetRecords").fault.is_some());
        let faults = Faults::new(plan(0, &["reset,operation=dynamodb:GetRecords"]));
        assert!(faults.draw(Api::DynamoDb, "GetRecords").fault.is_some());
        assert_eq!(faults.draw(Api::Kinesis, "GetRecords").fault, None);
    }

    #[test]
    fn delays_add_up_and_go_with_another_fault() {
        let faults = Faults::new(plan(
            0,
            &["latency,ms=20", "reset", "latency,ms=5", "throttle"],
        ));
        let drawn = faults.draw(Api::Kinesis, "PutRecord");
        assert_eq!(drawn.delay, Duration::from_millis(25));
        assert_eq!(drawn.fault.unwrap().kind, FaultKind::Reset);
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "unknown variant"),
            ("flood", "unknown variant `flood`"),
            ("reset,rate=2", "rate of a fault"),
            ("reset,rate=often", "invalid type"),
            ("reset,wait=1", "unknown field `wait`"),
            ("reset,times", "'times' has no value"),
            ("latency,ms=9999999", "ms of a fault"),
            ("expired_iterator,operation=PutRecord", "GetRecords only"),
            (
                "expired_iterator,operation=dynamodb:GetRecords",
                "GetRecords only",
            ),
            (
                "throttle,operation=PutRecordz",
                "no operation PutRecordz of Kinesis or DynamoDB; near it are PutRecord, PutRecords",
            ),
        ] {
            let error = text.parse::<FaultRule>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(
            FaultPlan::from_json(b"{\"rules\": [{\"fault\": \"reset\", \"rate\": -1}]}").is_err()
        );
        assert!(FaultPlan::from_json(b"{\"rule\": []}").is_err());
    }
}
