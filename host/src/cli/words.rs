//! The word producer that the demonstrations of stream processors have in common: five words, at a steady rate.

use std::collections::BTreeMap;
use std::time::Duration;

use shardwright_core::Entropy;
use tokio::time::Instant;

use super::CliError;
use super::put::Putter;

const WORDS: [&str; 5] = ["are", "father", "my", "spark", "you"];

/// Partition keys: enough to spread over any number of shards that a demonstration has.
const KEYS: u64 = 1_000;

/// Requests a second: a tick is long enough to fill a request at a few thousand records a second.
const TICK: Duration = Duration::from_millis(50);

/// How often the open shards are looked up, so that a reshard is followed.
const REFRESH_EVERY: Duration = Duration::from_secs(1);

/// What to produce.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// User records a second.
    pub(super) records_per_second: u32,
    /// Words in each.
    pub(super) words_per_record: u32,
}

/// Counts what was produced.
#[derive(Clone, Debug, Default)]
pub(super) struct Produced {
    /// How often each word was put.
    pub(super) words: BTreeMap<&'static str, u64>,
    /// User records.
    pub(super) records: u64,
}

/// Produces until `until` or `stop`, whichever comes first; what was produced by then is put.
pub(super) async fn produce(
    putter: &mut Putter,
    rate: Rate,
    until: Option<Instant>,
    stop: impl Future<Output = ()>,
    mut tell: impl FnMut(&Produced),
) -> Result<Produced, CliError> {
    tokio::pin!(stop);
    let mut produced = Produced::default();
    let mut entropy: Entropy = crate::ports::Clock::entropy(&crate::adapters::SystemClock);
    let began = Instant::now();
    let mut refreshed = began;
    let mut tick = tokio::time::interval(TICK);
    let mut line = String::new();
    loop {
        let (now, is_stopped) = tokio::select! {
            now = tick.tick() => (now, false),
            () = &mut stop => (Instant::now(), true),
        };
        let elapsed = until
            .map_or(now, |until| now.min(until))
            .duration_since(began);
        let due = elapsed.as_micros() * u128::from(rate.records_per_second) / 1_000_000;
        if refreshed.elapsed() > REFRESH_EVERY {
            putter.refresh().await?;
            refreshed = Instant::now();
        }
        while u128::from(produced.records) < due {
            line.clear();
            for number in 0..rate.words_per_record {
                let word = WORDS[(entropy.draw() % WORDS.len() as u128) as usize];
                if number > 0 {
                    line.push(' ');
                }
                line.push_str(word);
                *produced.words.entry(word).or_default() += 1;
            }
            let key = format!("partitionKey-{}", produced.records % KEYS);
            putter.add(&key, line.as_bytes()).await?;
            produced.records += 1;
        }
        putter.flush().await?;
        tell(&produced);
        if is_stopped || until.is_some_and(|until| now >= until) {
            return Ok(produced);
        }
    }
}
