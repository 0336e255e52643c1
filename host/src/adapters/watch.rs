//! Files that may change while they are used: who tells that they did, and whether they really did.

mod looks;
mod watcher;

pub use looks::{FileLooks, digest_of};
pub use watcher::FileWatch;
