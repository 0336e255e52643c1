//! Who is subscribed: one subscription per consumer and shard, and who takes over from whom.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::clock::Millis;
use crate::limits;

/// A consumer at a shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Subscriber {
    /// The stream's id, which no later one of its name has.
    pub(crate) stream: i64,
    pub(crate) consumer: String,
    /// Tells the consumer from an earlier one of its name.
    pub(crate) registered_ms: Millis,
    /// The shard's number.
    pub(crate) shard: u32,
}

/// The last subscription of every consumer to every shard.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: HashMap<Subscriber, Last>,
    is_closed: bool,
}

#[derive(Debug)]
struct Last {
    begun_ms: Millis,
    taken: oneshot::Sender<TakenOver>,
}

/// Someone else subscribes in one's place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TakenOver;

/// Why nobody can subscribe now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotNow {
    /// The last one began less than `limits::RESUBSCRIBE_AFTER` ago.
    TooSoon,
    /// The endpoint stops.
    Closed,
}

impl Subscriptions {
    /// Begins a subscription, which ends the one before. The receiver tells when it is taken over in turn; it fails when
    /// the endpoint stops. The subscription lasts until the receiver is dropped.
    pub(crate) fn begin(
        &self,
        subscriber: Subscriber,
        now: Millis,
    ) -> Result<oneshot::Receiver<TakenOver>, NotNow> {
        let mut state = self.state();
        if state.is_closed {
            return Err(NotNow::Closed);
        }
        let before = state.last.get(&subscriber);
        if before.is_some_and(|last| last.is_young(now)) {
            return Err(NotNow::TooSoon);
        }
        let (taken, told) = oneshot::channel();
        let last = Last {
            begun_ms: now,
            taken,
        };
        if let Some(before) = state.last.insert(subscriber, last) {
            // One that is over hears nothing.
            let _: Result<_, _> = before.taken.send(TakenOver);
        }
        Ok(told)
    }

    /// Forgets those that are over and stand in nobody's way.
    pub(crate) fn forget_ended(&self, now: Millis) {
        let mut state = self.state();
        let is_needed = |last: &Last| !last.taken.is_closed() || last.is_young(now);
        state.last.retain(|_, last| is_needed(last));
    }

    /// Ends all of them, and lets none begin.
    pub(crate) fn close(&self) {
        *self.state() = State {
            last: HashMap::new(),
            is_closed: true,
        };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Last {
    /// A clock that was set back makes nothing young again.
    fn is_young(&self, now: Millis) -> bool {
        let age = now.checked_sub(self.begun_ms);
        age.is_some_and(|age| u128::from(age) < limits::RESUBSCRIBE_AFTER.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(consumer: &str, shard: u32) -> Subscriber {
        Subscriber {
            stream: 1,
            consumer: consumer.into(),
            registered_ms: 0,
            shard,
        }
    }

    #[test]
    fn a_second_one_within_five_seconds_is_refused_even_if_the_first_is_over() {
        let all = Subscriptions::default();
        drop(all.begin(at("c", 0), 1000).unwrap());
        assert_eq!(all.begin(at("c", 0), 5999).unwrap_err(), NotNow::TooSoon);
        assert!(all.begin(at("c", 1), 5999).is_ok(), "another shard");
        assert!(all.begin(at("d", 0), 5999).is_ok(), "another consumer");
        assert!(all.begin(at("c", 0), 6000).is_ok());
    }

    #[test]
    fn one_after_five_seconds_takes_over() {
        let all = Subscriptions::default();
        let mut first = all.begin(at("c", 0), 0).unwrap();
        assert!(first.try_recv().is_err());
        let mut second = all.begin(at("c", 0), 5000).unwrap();
        assert!(first.try_recv().is_ok());
        assert_eq!(
            second.try_recv().unwrap_err(),
            oneshot::error::TryRecvError::Empty
        );
    }

    #[test]
    fn what_is_over_is_forgotten_once_it_stands_in_nobodys_way() {
        let all = Subscriptions::default();
        let held = all.begin(at("held", 0), 0).unwrap();
        drop(all.begin(at("over", 0), 0).unwrap());
        all.forget_ended(4999);
        assert_eq!(all.state().last.len(), 2);
        all.forget_ended(5000);
        assert_eq!(all.state().last.len(), 1);
        drop(held);
        all.forget_ended(5000);
        assert_eq!(all.state().last.len(), 0);
    }

    #[test]
    fn a_stopping_endpoint_ends_all_and_begins_none() {
        let all = Subscriptions::default();
        let mut held = all.begin(at("c", 0), 0).unwrap();
        all.close();
        assert_eq!(
            held.try_recv().unwrap_err(),
            oneshot::error::TryRecvError::Closed
        );
        assert_eq!(all.begin(at("c", 0), 9000).unwrap_err(), NotNow::Closed);
    }
}
