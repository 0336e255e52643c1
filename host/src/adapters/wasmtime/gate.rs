//! Whose turn it is: guests run on as many threads at once as there are, and the pipeline that has used least goes first.
//!
//! The executor's queue knows tasks and no pipelines: one whose thirty lanes spin would get thirty turns for each of its
//! neighbour's. So a guest is polled only with a permit, of which there are as many as threads. A guest gives its permit
//! back at every tick of the engine, and the next goes to the share that has used the least processor time among those
//! that wait (start-time fair queueing: a share that comes back from idleness begins level with the others, and cannot
//! save time up). A neighbour therefore waits for a tick at most, however many guests spin.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

#[cfg(test)]
mod tests;

/// The permits, and who waits for one.
#[derive(Debug)]
pub(super) struct Gate {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    shares: Vec<Option<Account>>,
    /// What the share that was let in last had used, ns. Nobody begins below.
    level: u64,
    /// Let in, and not come yet.
    granted: Vec<u64>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Account {
    name: Arc<str>,
    /// Handles on it.
    holders: usize,
    /// Processor time, ns; raised to the level whenever it begins to want time.
    used: u64,
    inside: usize,
    waiting: VecDeque<(u64, Waker)>,
}

/// One party that processor time is shared among: a pipeline.
#[derive(Debug)]
pub(super) struct Share {
    gate: Arc<Gate>,
    index: usize,
}

/// A guest's way through the gate, again and again.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    share: &'a Share,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Outside,
    Waiting(u64),
    Inside,
}

impl Gate {
    /// A gate with this many permits; at least one.
    pub(super) fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                free: permits.max(1),
                shares: Vec::new(),
                level: 0,
                granted: Vec::new(),
                next_ticket: 0,
            }),
        })
    }

    /// The share of this name.
    pub(super) fn share(self: &Arc<Self>, name: &Arc<str>) -> Share {
        let mut state = self.lock();
        let known = state
            .shares
            .iter()
            .position(|account| account.as_ref().is_some_and(|known| known.name == *name));
        let index = known.unwrap_or_else(|| state.open(name));
        if let Some(Some(account)) = state.shares.get_mut(index) {
            account.holders += 1;
        }
        Share {
            gate: Arc::clone(self),
            index,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing below panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open(&mut self, name: &Arc<str>) -> usize {
        let account = Account {
            name: Arc::clone(name),
            holders: 0,
            used: self.level,
            inside: 0,
            waiting: VecDeque::new(),
        };
        let free = self.shares.iter().position(Option::is_none);
        let index = free.unwrap_or(self.shares.len());
        if free.is_none() {
            self.shares.push(None);
        }
        if let Some(place) = self.shares.get_mut(index) {
            *place = Some(account);
        }
        index
    }

    fn account(&mut self, index: usize) -> Option<&mut Account> {
        self.shares.get_mut(index)?.as_mut()
    }

    /// Lets the next one in that waits, or keeps the permit for whoever comes.
    fn release(&mut self) -> Option<Waker> {
        let waiting = self.shares.iter_mut().flatten();
        let next = waiting
            .filter(|account| !account.waiting.is_empty())
            .min_by_key(|account| account.used);
        let Some((account, (ticket, waker))) =
            next.and_then(|account| account.waiting.pop_front().map(|first| (account, first)))
        else {
            self.free += 1;
            return None;
        };
        account.inside += 1;
        self.level = self.level.max(account.used);
        self.granted.push(ticket);
        Some(waker)
    }
}

impl Share {
    /// A guest that is to run for this share.
    pub(super) fn turn(&self) -> Turn<'_> {
        Turn {
            share: self,
            place: Place::Outside,
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        if let Some(place) = state.shares.get_mut(self.index)
            && let Some(account) = place
        {
            account.holders -= 1;
            if account.holders == 0 {
                *place = None;
            }
        }
    }
}

impl Turn<'_> {
    /// Ready when it may run; it must then [`leave`](Self::leave).
    pub(super) fn poll_enter(&mut self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.share.gate.lock();
        match self.place {
            Place::Inside => return Poll::Ready(()),
            Place::Waiting(ticket) => {
                if let Some(index) = state.granted.iter().position(|other| *other == ticket) {
                    state.granted.swap_remove(index);
                    self.place = Place::Inside;
                    return Poll::Ready(());
                }
                if let Some(account) = state.account(self.share.index)
                    && let Some((_, waker)) = account
                        .waiting
                        .iter_mut()
                        .find(|(other, _)| *other == ticket)
                {
                    waker.clone_from(context.waker());
                }
                return Poll::Pending;
            }
            Place::Outside => {}
        }
        let (level, is_free) = (state.level, state.free > 0);
        let ticket = state.next_ticket;
        let Some(account) = state.account(self.share.index) else {
            return Poll::Ready(());
        };
        if account.inside == 0 && account.waiting.is_empty() {
            account.used = account.used.max(level);
        }
        if is_free {
            account.inside += 1;
            let used = account.used;
            state.free -= 1;
            state.level = level.max(used);
            self.place = Place::Inside;
            return Poll::Ready(());
        }
        account.waiting.push_back((ticket, context.waker().clone()));
        state.next_ticket += 1;
        self.place = Place::Waiting(ticket);
        Poll::Pending
    }

    /// Gives the permit back, after so much processor time.
    pub(super) fn leave(&mut self, used_nanos: u64) {
        if self.place == Place::Inside {
            self.place = Place::Outside;
            self.give_back(used_nanos);
        }
    }

    fn give_back(&self, used_nanos: u64) {
        let next = {
            let mut state = self.share.gate.lock();
            if let Some(account) = state.account(self.share.index) {
                account.used = account.used.saturating_add(used_nanos);
                account.inside -= 1;
            }
            state.release()
        };
        if let Some(next) = next {
            next.wake();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        match self.place {
            Place::Outside => {}
            Place::Inside => self.give_back(0),
            Place::Waiting(ticket) => {
                let was_granted = {
                    let mut state = self.share.gate.lock();
                    let granted = state.granted.iter().position(|other| *other == ticket);
                    if let Some(index) = granted {
                        state.granted.swap_remove(index);
                    } else if let Some(account) = state.account(self.share.index) {
                        account.waiting.retain(|(other, _)| *other != ticket);
                    }
                    granted.is_some()
                };
                if was_granted {
                    self.give_back(0);
                }
            }
        }
    }
}
