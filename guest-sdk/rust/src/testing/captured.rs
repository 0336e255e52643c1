//! What a handler logged and counted on this thread.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::log::Level;

/// How many lines a thread keeps between two calls of [`logged`]; later ones are dropped.
const LINES_MAX: usize = 10_000;

thread_local! {
    static LINES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
    static SUMS: RefCell<BTreeMap<String, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// The lines that this thread logged since the last call.
pub fn logged() -> Vec<(Level, String)> {
    LINES.take()
}

/// What this thread counted since the last call, by name.
pub fn counted() -> BTreeMap<String, u64> {
    SUMS.take()
}

pub(crate) fn keep_line(level: Level, line: String) {
    LINES.with_borrow_mut(|lines| {
        if lines.len() < LINES_MAX {
            lines.push((level, line));
        }
    });
}

pub(crate) fn keep_count(name: &str, by: u64) {
    SUMS.with_borrow_mut(|sums| *sums.entry(name.to_owned()).or_default() += by);
}
