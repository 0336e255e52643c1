//! Write [Shardwright](https://github.com/shardwright/shardwright) stream handlers in Rust.
//!
//! A handler is one trait and one macro: implement [`Handler`], and [`export!`] it. Messages are borrowed out of the
//! batch's columns, emissions are appended to columns, and nothing is allocated for a message by itself.
//!
//! - [`Batch`], [`Message`]: what a handler reads.
//! - [`Reply`], [`Emission`], [`Source`], [`Hold`]: what it answers.
//! - [`Failure`], [`OrReject`]: why a message was not handled; `?` works on any error.
//! - [`ConfigError`], [`NoConfig`]: what may be wrong with a configuration.
//! - [`log`], [`metrics`]: what it says beside.
//! - [`testing`]: how to test it natively.

mod batch;
mod columns;
mod config;
mod export;
mod failure;
mod guest;
mod handler;
pub mod log;
pub mod metrics;
mod reply;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod wasm;

pub use batch::{Batch, Message, Messages};
pub use columns::Columns;
pub use config::{ConfigError, ConfigProblem, NoConfig};
pub use failure::{Failure, OrReject};
pub use handler::{DEFAULT_OUTPUT, FlushReason, Handler};
pub use reply::{Emission, Hold, Payload, Released, Reply, Source};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The first handler of the repository's own page.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Repository;
