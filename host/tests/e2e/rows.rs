//! Lease rows, as any reader of the table sees them.

use std::collections::BTreeMap;

use super::wire::Client;

/// A stored checkpoint. The order of the variants and fields is the order along a shard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stored {
    Start,
    /// The digits of the number, so that longer ones come later; the number; the sub-sequence number.
    At(usize, String, u64),
    ShardEnd,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) stored: Stored,
    pub(super) owner: Option<String>,
    /// What every write to the lease adds one to.
    pub(super) counter: u64,
    /// Which acquisition by that owner.
    pub(super) incarnation: Option<String>,
    /// The owner has taken it: it was not just handed to it.
    pub(super) is_taken: bool,
    pub(super) parents: Vec<String>,
}

/// The rows of a lease table by shard.
pub(super) fn rows(client: &Client, table: &str) -> BTreeMap<String, Row> {
    let items = client.scan(table);
    let rows = items
        .iter()
        .filter(|item| item["checkpoint"]["S"].is_string())
        .map(|item| {
            let shard = item["leaseKey"]["S"].as_str().unwrap().to_owned();
            let sub = item["checkpointSubSequenceNumber"]["N"]
                .as_str()
                .unwrap_or("0");
            let stored = match item["checkpoint"]["S"].as_str().unwrap() {
                "SHARD_END" => Stored::ShardEnd,
                "TRIM_HORIZON" | "LATEST" | "AT_TIMESTAMP" => Stored::Start,
                number => Stored::At(number.len(), number.to_owned(), sub.parse().unwrap()),
            };
            let parents = item["parentShardId"]["SS"].as_array();
            let row = Row {
                stored,
                owner: item["leaseOwner"]["S"].as_str().map(str::to_owned),
                counter: item["leaseCounter"]["N"].as_str().unwrap().parse().unwrap(),
                is_taken: item["incarnationOwner"] == item["leaseOwner"],
                incarnation: item["incarnation"]["S"].as_str().map(str::to_owned),
                parents: parents
                    .into_iter()
                    .flatten()
                    .map(|parent| parent.as_str().unwrap().to_owned())
                    .collect(),
            };
            (shard, row)
        });
    rows.collect()
}

/// What was stored when somebody last looked.
#[derive(Default)]
pub(super) struct Watched(BTreeMap<String, Stored>);

impl Watched {
    /// CP-2: no stored checkpoint has moved back since the last look.
    pub(super) fn look(&mut self, client: &Client, table: &str) {
        for (shard, row) in rows(client, table) {
            if let Some(before) = self.0.get(&shard) {
                assert!(
                    row.stored >= *before,
                    "{shard} moved back from {before:?} to {:?}",
                    row.stored
                );
            }
            self.0.insert(shard, row.stored);
        }
    }

    /// Shards whose checkpoint has left its start.
    pub(super) fn moved(&self) -> usize {
        self.0
            .values()
            .filter(|stored| **stored != Stored::Start)
            .count()
    }
}
