//! A producer whose every record says its key and its number there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::chance::pause;
use super::wire::Client;

/// Enough to reach every shard and lane of these tests.
const KEYS: usize = 64;

/// Records in one request.
const REQUEST: usize = 60;

/// Between two requests: with [`REQUEST`], at most 2,400 records a second.
const TICK: Duration = Duration::from_millis(25);

/// Between two tries of a request that was not acknowledged.
const RETRY: Duration = Duration::from_millis(10);

pub(super) struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    thread: JoinHandle<Produced>,
}

/// What was acknowledged: of each key, the numbers from 0 to below this.
#[derive(Clone, Debug)]
pub(super) struct Produced {
    pub(super) keys: Vec<u64>,
    /// When each was acknowledged, by key and number.
    pub(super) sent: BTreeMap<(String, u64), Instant>,
    /// Requests that were sent more than once, since no answer came.
    pub(super) retried: u64,
}

impl Produced {
    pub(super) fn total(&self) -> u64 {
        self.keys.iter().sum()
    }
}

impl Load {
    /// Produces until it is stopped. A request is sent again until it is acknowledged, so that the numbers of a key are in
    /// order in the stream, if some are there twice.
    pub(super) fn start(client: Client, stream: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let is_stopped = Arc::clone(&stop);
        let acknowledged = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&acknowledged);
        let stream = stream.to_owned();
        let thread = thread::spawn(move || {
            let mut produced = Produced {
                keys: vec![0; KEYS],
                sent: BTreeMap::new(),
                retried: 0,
            };
            let mut key = 0;
            while !is_stopped.load(Ordering::Relaxed) {
                let mut records = Vec::new();
                let mut keys = produced.keys.clone();
                for _ in 0..REQUEST {
                    records.push((format!("key-{key}"), keys[key].to_string()));
                    keys[key] += 1;
                    key = (key + 7) % KEYS;
                }
                while let Err(error) = client.put(&stream, &records) {
                    produced.retried += 1;
                    // An endpoint that stays away ends the load, or the test would never end.
                    assert!(produced.retried < 10_000, "no acknowledgement: {error}");
                    pause(RETRY);
                }
                produced.keys = keys;
                counter.store(produced.total(), Ordering::Relaxed);
                let now = Instant::now();
                for (key, number) in records {
                    let place = (key, number.parse().unwrap());
                    produced.sent.insert(place, now);
                }
                pause(TICK);
            }
            produced
        });
        Self {
            stop,
            acknowledged,
            thread,
        }
    }

    /// Records that are acknowledged by now.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Stops it; everything that it counts is acknowledged.
    pub(super) fn stop(self) -> Produced {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
