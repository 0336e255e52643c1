//! Runs WebAssembly stream handlers against Amazon Kinesis shards.
//!
//! The record's path can be read from the module names: [`ports`] say what the world must offer, `adapters` offer it,
//! `runtime` drives core's machines, `app` wires them.

pub mod adapters;
pub mod app;
mod builtin;
pub mod cli;
pub mod config;
pub mod data_dir;
mod limits;
pub mod ports;
mod priority;
pub mod runtime;
mod telemetry;
