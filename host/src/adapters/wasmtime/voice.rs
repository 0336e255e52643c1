//! What a plugin says to people: log lines and counters, both within bounds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::limits::{COUNTER_NAME_BYTES, COUNTERS, LINE_BYTES, LINES_BURST, LINES_PER_SECOND};

/// How often it is told that lines were cut: a flood must not be answered with another.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// How loud a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// The log and the counters of one plugin, shared by its instances.
///
/// A flood of lines is cut by a bucket of tokens, and what was cut is counted and told in a line of its own as soon as
/// there is room for one.
#[derive(Debug)]
pub(super) struct Voice {
    label: Arc<str>,
    bucket: Mutex<Bucket>,
    counters: Mutex<Counters>,
}

#[derive(Debug)]
struct Bucket {
    /// Lines that may be written now.
    tokens: f64,
    filled: Instant,
    /// Lines cut since that was last told.
    cut: u64,
    /// When it was last told.
    told: Instant,
}

#[derive(Debug, Default)]
struct Counters {
    values: BTreeMap<String, u64>,
    refused: u64,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self {
            tokens: f64::from(LINES_BURST),
            filled: now,
            cut: 0,
            told: now,
        }
    }

    /// Takes a token; the answer is the number of cut lines that are to be told now.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        let refill =
            now.saturating_duration_since(self.filled).as_secs_f64() * f64::from(LINES_PER_SECOND);
        self.tokens = (self.tokens + refill).min(f64::from(LINES_BURST));
        self.filled = now;
        if self.tokens < 1.0 {
            self.cut += 1;
            return None;
        }
        self.tokens -= 1.0;
        if self.cut == 0 || now.saturating_duration_since(self.told) < TELL_EVERY {
            return Some(0);
        }
        self.told = now;
        Some(std::mem::take(&mut self.cut))
    }
}

impl Voice {
    pub(super) fn new(label: Arc<str>) -> Self {
        Self {
            label,
            bucket: Mutex::new(Bucket::full(Instant::now())),
            counters: Mutex::default(),
        }
    }

    /// Writes a line of an instance to the log.
    pub(super) fn say(&self, level: Level, origin: &str, line: &str) {
        let admitted = self
            .bucket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .admit(Instant::now());
        let Some(cut) = admitted else { return };
        if cut > 0 {
            self.tell_cut(cut);
        }
        let plugin = &*self.label;
        let line = printable(line);
        match level {
            Level::Debug => tracing::debug!(target: "plugin", plugin, origin, "{line}"),
            Level::Info => tracing::info!(target: "plugin", plugin, origin, "{line}"),
            Level::Warn => tracing::warn!(target: "plugin", plugin, origin, "{line}"),
            Level::Error => tracing::error!(target: "plugin", plugin, origin, "{line}"),
        }
    }

    fn tell_cut(&self, cut: u64) {
        tracing::warn!(
            target: "plugin",
            plugin = &*self.label,
            cut,
            "{cut} lines were cut; a plugin may log {LINES_PER_SECOND} a second"
        );
    }

    /// Adds to a counter. A bad name, and one name too many, is refused and counted.
    pub(super) fn count(&self, name: &str, by: u64) {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let room = counters.values.len() < COUNTERS;
        if let Some(value) = counters.values.get_mut(name) {
            *value = value.saturating_add(by);
        } else if room && is_counter_name(name) {
            counters.values.insert(name.to_owned(), by);
        } else {
            counters.refused += 1;
        }
    }

    /// The counters so far.
    pub(super) fn counters(&self) -> BTreeMap<String, u64> {
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let mut values = counters.values.clone();
        if counters.refused > 0 {
            values.insert("refused".to_owned(), counters.refused);
        }
        values
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        let cut = self
            .bucket
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .cut;
        if cut > 0 {
            self.tell_cut(cut);
        }
    }
}

fn is_counter_name(name: &str) -> bool {
    name.len() <= COUNTER_NAME_BYTES
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// A guest's text as one line that cannot move a terminal's cursor.
fn printable(line: &str) -> String {
    let mut out = String::with_capacity(line.len().min(LINE_BYTES));
    for c in line.trim_end().chars() {
        if out.len() >= LINE_BYTES {
            out.push('…');
            break;
        }
        if c.is_control() && c != '\t' {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_the_cut_is_told_with_the_next_line() {
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        let admitted = (0..1_000).filter(|_| bucket.admit(start).is_some()).count();
        assert_eq!(admitted, LINES_BURST as usize);
        let later = start + Duration::from_secs(1);
        assert_eq!(bucket.admit(later), Some(1_000 - u64::from(LINES_BURST)));
        assert_eq!(bucket.admit(later), Some(0));
    }

    #[test]
    fn in_the_long_run_a_plugin_logs_at_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        let admitted = (0..60_000)
            .filter(|ms| bucket.admit(start + Duration::from_millis(*ms)).is_some())
            .count();
        let most = LINES_BURST as usize + 60 * LINES_PER_SECOND as usize;
        assert!((most - 2..=most).contains(&admitted), "{admitted}");
    }

    #[test]
    fn counters_are_bounded_in_number_and_form() {
        let voice = Voice::new("p/s".into());
        for n in 0..COUNTERS + 10 {
            voice.count(&format!("c{n}"), 1);
        }
        voice.count("c0", u64::MAX);
        voice.count("Bad-Name", 1);
        let counters = voice.counters();
        assert_eq!(counters.len(), COUNTERS + 1);
        assert_eq!(counters["c0"], u64::MAX);
        assert_eq!(counters["refused"], 11);
    }

    #[test]
    fn a_line_cannot_move_the_cursor_and_is_cut() {
        assert_eq!(printable("a\x1b[2Jb\r\nc\n"), "a\\u{1b}[2Jb\\r\\nc");
        assert!(printable(&"é".repeat(LINE_BYTES)).len() <= LINE_BYTES + 4);
    }
}
