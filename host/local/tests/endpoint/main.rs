//! The endpoint over real HTTP: its protocol, its sharing between processes, and boto3 as a client nobody here wrote.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it must be"
)]

mod boto3;
mod client;
mod fuzz;
mod protocol;
mod sharing;
