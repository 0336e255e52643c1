//! What the ports need, offered with a vendor's library. No vendor type leaves its module.

mod aws;
mod files;
mod system_clock;
mod wasmtime;
mod watch;

pub use aws::{
    AwsClients, AwsTarget, DynamoLeaseTable, KinesisSink, KinesisSource, PutEntry, StreamAdmin,
};
pub use files::{DeadLetterFile, FileSink, LineFiles, StdoutSink};
pub use system_clock::SystemClock;
pub use wasmtime::{CacheDir, InvalidEngine, WasmtimeRuntime, WasmtimeSettings};
pub use watch::{FileLooks, FileWatch, digest_of};
