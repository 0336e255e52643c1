//! A durable Kinesis endpoint for one machine, with `DynamoDB` beside it.
//!
//! A data directory holds streams and tables. At any time one process is its holder and serves it on a loopback port
//! that stays the same; [`attach`] makes a process use the directory's endpoint, wherever it is served, and take over
//! when the holder goes. [`Endpoint::serve`] serves without sharing, for tests.
//!
//! The path of a request: `server` (HTTP, bounds) → `operations` (the API, by group) → `store` (streams and records on
//! `SQLite`). `wire` and `token` hold what clients see; requests of `DynamoDB` go to dynoxide, in `dynamodb`.

mod args;
mod attach;
mod bind;
mod clock;
mod directory;
mod dynamodb;
mod endpoint;
mod faults;
mod hash_key;
mod limits;
mod listen_args;
mod lock;
mod operations;
mod probe;
mod sequence;
mod server;
mod service_limits;
mod store;
mod subscriptions;
mod throughput;
mod tls;
mod token;
mod wire;

pub use args::{ArgsError, ServiceArgs};
pub use attach::{AttachError, Attachment, attach};
pub use directory::DirectoryError;
pub use endpoint::{ClockControl, Endpoint, Handle, ServeError, SyncMode};
pub use faults::{FaultError, FaultKind, FaultPlan, FaultRule};
pub use listen_args::ListenArgs;
pub use service_limits::{Limit, LimitError, ServiceLimits};
pub use tls::Certificate;
