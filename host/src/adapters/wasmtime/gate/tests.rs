use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use proptest::prelude::*;

use super::*;

/// One tick of the engine, ns.
const TICK: u64 = 2_000_000;

struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Guests of several shares, each of which always wants to run, on `permits` threads.
struct Crowd<'a> {
    turns: Vec<(usize, Turn<'a>)>,
    inside: VecDeque<usize>,
    used: Vec<u64>,
}

impl<'a> Crowd<'a> {
    fn new(shares: &'a [Share], guests: &[usize]) -> Self {
        let turns = guests.iter().enumerate().flat_map(|(share, &count)| {
            (0..count)
                .map(|_| (share, shares[share].turn()))
                .collect::<Vec<_>>()
        });
        Self {
            turns: turns.collect(),
            inside: VecDeque::new(),
            used: vec![0; shares.len()],
        }
    }

    fn let_in(&mut self) {
        let context = Context::from_waker(Waker::noop());
        for (index, (_, turn)) in self.turns.iter_mut().enumerate() {
            if turn.place != Place::Inside && turn.poll_enter(&context).is_ready() {
                self.inside.push_back(index);
            }
        }
    }

    /// The one that has been inside the longest has run for a tick.
    fn tick(&mut self) {
        self.let_in();
        if let Some(index) = self.inside.pop_front() {
            let (share, turn) = &mut self.turns[index];
            self.used[*share] += TICK;
            turn.leave(TICK);
        }
    }
}

fn shares(gate: &Arc<Gate>, count: usize) -> Vec<Share> {
    (0..count)
        .map(|share| gate.share(&share.to_string().into()))
        .collect()
}

proptest! {
    /// TN-1 in small: whatever number of guests a share has, it gets as much as any other that wants it.
    #[test]
    fn time_is_shared_evenly_whatever_the_number_of_guests(
        permits in 1_usize..4,
        guests in prop::collection::vec(1_usize..40, 2..5),
        ticks in 50_usize..400,
    ) {
        let gate = Gate::new(permits);
        let shares = shares(&gate, guests.len());
        // A share cannot use more threads than it has guests.
        let guests: Vec<usize> = guests.iter().map(|count| count + permits).collect();
        let mut crowd = Crowd::new(&shares, &guests);
        for _ in 0..ticks {
            crowd.tick();
            prop_assert!(crowd.inside.len() <= permits);
        }
        let most = crowd.used.iter().max().unwrap();
        let least = crowd.used.iter().min().unwrap();
        prop_assert!(most - least <= (permits as u64 + 1) * TICK, "{:?}", crowd.used);
    }

    /// A guest whose call is cancelled, wherever it stands, takes no permit with it.
    #[test]
    fn no_permit_is_lost(
        permits in 1_usize..4,
        steps in prop::collection::vec((0_usize..12, 0_u8..3), 0..200),
    ) {
        let gate = Gate::new(permits);
        let shares = shares(&gate, 3);
        let context = Context::from_waker(Waker::noop());
        let mut turns: Vec<Option<Turn<'_>>> = (0..12).map(|_| None).collect();
        for (index, step) in steps {
            let turn = turns[index].get_or_insert_with(|| shares[index % 3].turn());
            match step {
                0 => drop(turn.poll_enter(&context)),
                1 => turn.leave(TICK),
                _ => turns[index] = None,
            }
            let inside = turns.iter().flatten().filter(|turn| turn.place == Place::Inside).count();
            let state = gate.lock();
            prop_assert_eq!(inside + state.granted.len() + state.free, permits);
            let waiting: usize = state.shares.iter().flatten().map(|account| account.waiting.len()).sum();
            prop_assert!(waiting == 0 || state.free == 0, "one waits before a free permit");
        }
        drop(turns);
        prop_assert_eq!(gate.lock().free, permits);
        drop(shares);
        prop_assert!(gate.lock().shares.iter().all(Option::is_none));
    }
}

#[test]
fn whoever_waited_is_woken() {
    let gate = Gate::new(1);
    let shares = shares(&gate, 2);
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&woken));
    let (mut first, mut second) = (shares[0].turn(), shares[1].turn());
    assert!(first.poll_enter(&Context::from_waker(&waker)).is_ready());
    assert!(second.poll_enter(&Context::from_waker(&waker)).is_pending());
    assert_eq!(woken.0.load(Ordering::Relaxed), 0);
    first.leave(TICK);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert!(second.poll_enter(&Context::from_waker(&waker)).is_ready());
}

/// A share that was idle for long is not owed the time that it did not want.
#[test]
fn idleness_is_not_saved_up() {
    let gate = Gate::new(1);
    let shares = shares(&gate, 2);
    let mut alone = Crowd::new(&shares[..1], &[3]);
    for _ in 0..1_000 {
        alone.tick();
    }
    drop(alone);
    let mut both = Crowd::new(&shares, &[3, 3]);
    for _ in 0..100 {
        both.tick();
    }
    assert!(both.used[0] >= 45 * TICK, "{:?}", both.used);
}
