//! Kinesis and `DynamoDB`, or whatever speaks their protocols at an endpoint.
//!
//! The SDK's retries are off everywhere. The ports say that their callers decide when to try again, and a fenced write
//! that is sent twice behind our back would meet its own first try.

mod config;
mod dynamodb_leases;
mod error;
mod kinesis_sink;
mod kinesis_source;
mod lease_row;
mod stream_admin;

pub use config::{AwsClients, AwsTarget};
pub use dynamodb_leases::DynamoLeaseTable;
pub use kinesis_sink::KinesisSink;
pub use kinesis_source::KinesisSource;
pub use stream_admin::{PutEntry, StreamAdmin};
