//! The endpoint over real HTTP: its protocol, its sharing between processes, and boto3 as a client nobody here wrote.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it must be"
)]

mod boto3;
mod client;
mod durability;
mod events;
mod fan_out;
mod faults;
mod fuzz;
mod limits;
mod process;
mod protocol;
mod refusals;
mod sdk;
mod sharing;
mod tls;
