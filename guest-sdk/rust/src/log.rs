//! Writes to the host's log, with pipeline, step, shard and lane beside each line.
//!
//! A flood is cut and counted by the host. In a native test the lines are kept for
//! [`testing::logged`](crate::testing::logged).
//!
//! ```
//! use shardwright_guest::log;
//!
//! log::warn(format_args!("{} of {} prices are negative", 3, 500));
//! log::debug("done");
//! ```

use std::fmt::Display;

/// How loud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For whoever debugs the plugin.
    Debug,
    /// Worth knowing, nothing to do.
    Info,
    /// Somebody should look at it.
    Warn,
    /// Somebody must act.
    Error,
}

/// Writes a line for whoever debugs the plugin.
pub fn debug(line: impl Display) {
    write(Level::Debug, line);
}

/// Writes a line worth knowing, with nothing to do.
pub fn info(line: impl Display) {
    write(Level::Info, line);
}

/// Writes a line that somebody should look at.
pub fn warn(line: impl Display) {
    write(Level::Warn, line);
}

/// Writes a line on which somebody must act.
pub fn error(line: impl Display) {
    write(Level::Error, line);
}

/// Writes a line.
pub fn write(level: Level, line: impl Display) {
    #[cfg(target_arch = "wasm32")]
    crate::wasm::log(level, &line.to_string());
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::keep_line(level, line.to_string());
}
