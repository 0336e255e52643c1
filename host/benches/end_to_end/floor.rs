//! The least that a consumer in Rust can do: a loop on the same SDK that fetches, opens containers and checks their MD5.
//! It has no leases, no checkpoints, no handler, no order and no bounds.

use std::hint::black_box;

use anyhow::Context as _;
use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kinesis::types::ShardIteratorType;
use aws_sdk_kinesis::{Client, Config};
use aws_smithy_http_client::Builder;
use clap::Args;
use shardwright_core::{Contents, Deaggregator};

/// Reads a stream to its tip and prints how many user records it has.
#[derive(Args, Clone, Debug)]
pub(crate) struct Floor {
    pub(crate) url: String,
    pub(crate) stream: String,
    /// Kinesis records that a read asks for.
    pub(crate) max_records: i32,
    /// Containers are not opened.
    #[arg(long)]
    pub(crate) fetch_only: bool,
}

impl Floor {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        println!("{}", runtime.block_on(self.read_all())?);
        Ok(())
    }

    async fn read_all(&self) -> anyhow::Result<u64> {
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(&self.url)
            .credentials_provider(Credentials::from_keys("floor", "floor", None))
            .http_client(Builder::new().build_http())
            .build();
        let client = Client::from_conf(config);
        let listed = client
            .list_shards()
            .stream_name(&self.stream)
            .send()
            .await?;
        let shards = listed.shards.context("the stream has shards")?;
        let tasks: Vec<_> = shards
            .into_iter()
            .map(|shard| tokio::spawn(read(client.clone(), self.clone(), shard.shard_id)))
            .collect();
        let mut records = 0;
        for task in tasks {
            records += task.await??;
        }
        Ok(records)
    }
}

async fn read(client: Client, floor: Floor, shard: String) -> anyhow::Result<u64> {
    let mut iterator = client
        .get_shard_iterator()
        .stream_name(&floor.stream)
        .shard_id(shard)
        .shard_iterator_type(ShardIteratorType::TrimHorizon)
        .send()
        .await?
        .shard_iterator;
    let mut deaggregator = Deaggregator::new();
    let mut records = 0;
    while let Some(from) = iterator {
        let answer = client
            .get_records()
            .shard_iterator(from)
            .limit(floor.max_records)
            .send()
            .await?;
        if answer.records.is_empty() && answer.millis_behind_latest.unwrap_or(0) == 0 {
            break;
        }
        for record in &answer.records {
            let data = record.data.as_ref();
            records += if floor.fetch_only {
                1
            } else {
                match deaggregator.open(data) {
                    Contents::Aggregate(records) => black_box(records).len() as u64,
                    Contents::Plain | Contents::Malformed(_) => 1,
                }
            };
        }
        iterator = answer.next_shard_iterator;
    }
    Ok(records)
}
