//! What the ports need, offered with a vendor's library. No vendor type leaves its module.

mod aws;
mod wasmtime;

pub use aws::{AwsClients, AwsTarget, DynamoLeaseTable, KinesisSink, KinesisSource};
pub use wasmtime::{CacheDir, InvalidEngine, WasmtimeRuntime, WasmtimeSettings};
