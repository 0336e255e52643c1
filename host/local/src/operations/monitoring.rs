//! `EnableEnhancedMonitoring` and `DisableEnhancedMonitoring`: which metrics a stream has for each shard. Descriptions show
//! them; there is nowhere to send them to.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::constraints::{count, one_of};
use super::{Call, NamesStream, Service, required, stream_arn};
use crate::store::Edit;
use crate::wire::{Few, ServiceError};

const METRICS: [&str; 7] = [
    "IncomingBytes",
    "IncomingRecords",
    "IteratorAgeMilliseconds",
    "OutgoingBytes",
    "OutgoingRecords",
    "ReadProvisionedThroughputExceeded",
    "WriteProvisionedThroughputExceeded",
];
const ALL: &str = "ALL";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Asked {
    shard_level_metrics: Option<Few<String, { METRICS.len() }>>,
}

impl Asked {
    fn metrics(self) -> Result<BTreeSet<String>, ServiceError> {
        let field = "shardLevelMetrics";
        let asked = required(self.shard_level_metrics, field)?;
        count(asked.count, "[...]", field, 1..=METRICS.len())?;
        let mut metrics = BTreeSet::new();
        for metric in asked.items {
            let mut known = METRICS.to_vec();
            known.push(ALL);
            one_of(&metric, field, &known)?;
            if metric == ALL {
                metrics.extend(METRICS.map(str::to_owned));
            } else {
                metrics.insert(metric);
            }
        }
        Ok(metrics)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    stream_name: &'a str,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    current_shard_level_metrics: &'a BTreeSet<String>,
    desired_shard_level_metrics: &'a BTreeSet<String>,
}

pub(super) async fn enable(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    set(service, call, |current, asked| {
        current.union(asked).cloned().collect()
    })
    .await
}

pub(super) async fn disable(service: &Service, call: &Call) -> Result<Vec<u8>, ServiceError> {
    set(service, call, |current, asked| {
        current.difference(asked).cloned().collect()
    })
    .await
}

async fn set(
    service: &Service,
    call: &Call,
    change: impl FnOnce(&BTreeSet<String>, &BTreeSet<String>) -> BTreeSet<String>,
) -> Result<Vec<u8>, ServiceError> {
    let asked = call.decode::<Asked>()?.metrics()?;
    let stream = call.decode::<NamesStream>()?.stream().find(service)?;
    let current = &stream.settings.shard_metrics;
    let desired = change(current, &asked);
    let edit = Edit::Monitor {
        metrics: desired.clone(),
    };
    service.edit(&stream.name, edit).await?;
    call.encode(&Answer {
        stream_name: &stream.name,
        stream_arn: stream_arn(&call.region, &stream.name),
        current_shard_level_metrics: current,
        desired_shard_level_metrics: &desired,
    })
}
