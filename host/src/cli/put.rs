//! Putting records until they are acknowledged, in containers if asked for.

use bytes::Bytes;
use shardwright_core::{
    AggregateBounds, Aggregator, Backoff, Entropy, PackedRecord, Shard, effective_hash,
};

use super::CliError;
use crate::adapters::{AwsClients, AwsTarget, PutEntry, StreamAdmin};
use crate::limits::{
    CONTAINER_BYTES_MAX, PUT_BYTES_MAX, PUT_RECORDS_MAX, PUT_RETRY_FIRST, PUT_RETRY_MAX,
    PUT_TRIES_MAX,
};
use crate::ports::{ErrorKind, PortError, ShardListing, StreamSource};

const RETRY: Backoff = Backoff {
    first: PUT_RETRY_FIRST,
    max: PUT_RETRY_MAX,
};

/// Puts user records into one stream, in order, and counts what was acknowledged.
pub(super) struct Putter {
    admin: StreamAdmin,
    source: crate::adapters::KinesisSource,
    stream: String,
    /// User records in a container; none: each is a record.
    aggregate: Option<usize>,
    /// One for each open shard: a container holds keys of one shard, as the KPL's do.
    packers: Vec<Aggregator>,
    pending: Vec<PutEntry>,
    /// User records in each of `pending`.
    pending_users: Vec<u64>,
    pending_bytes: usize,
    entropy: Entropy,
    totals: Totals,
}

/// What was acknowledged.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    /// User records.
    pub(super) user_records: u64,
    /// Kinesis records.
    pub(super) records: u64,
    /// Bytes of Kinesis records.
    pub(super) bytes: u64,
}

impl Putter {
    /// A putter for a stream that is there.
    pub(super) async fn new(
        clients: &AwsClients,
        target: &AwsTarget,
        stream: &str,
        aggregate: Option<usize>,
    ) -> Result<Self, PortError> {
        let mut putter = Self {
            admin: clients.stream_admin(target).await?,
            source: clients.stream_source(target, stream).await?,
            stream: stream.to_owned(),
            aggregate,
            packers: Vec::new(),
            pending: Vec::new(),
            pending_users: Vec::new(),
            pending_bytes: 0,
            entropy: crate::ports::Clock::entropy(&crate::adapters::SystemClock),
            totals: Totals::default(),
        };
        putter.refresh().await?;
        Ok(putter)
    }

    /// What was acknowledged so far.
    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// Puts what is packed and learns the open shards anew: after a reshard, containers are packed for the children.
    pub(super) async fn refresh(&mut self) -> Result<(), PortError> {
        let Some(records) = self.aggregate else {
            return Ok(());
        };
        self.pack_rest();
        let shards = self.list_shards().await?;
        let bounds = AggregateBounds {
            bytes: CONTAINER_BYTES_MAX,
            records,
        };
        let open = shards.into_iter().filter(|shard| !shard.is_closed());
        self.packers = open
            .map(|shard| Aggregator::new(shard.hash_range, bounds))
            .collect();
        Ok(())
    }

    /// An endpoint that is away comes back, or another process takes it over: it is waited for as long as for a put. Only
    /// a putter that has not put anything yet says at once that nobody answers.
    async fn list_shards(&mut self) -> Result<Vec<Shard>, PortError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.source.list_shards(ShardListing::All).await {
                Ok(shards) => return Ok(shards),
                Err(error)
                    if is_final(&error) || tries >= PUT_TRIES_MAX || self.packers.is_empty() =>
                {
                    return Err(error);
                }
                Err(_passing) => self.pause(tries).await,
            }
        }
    }

    async fn pause(&mut self, tries: u32) {
        tokio::time::sleep(RETRY.pause(tries, self.entropy.draw())).await;
    }

    /// Adds a user record; what is full is put.
    pub(super) async fn add(&mut self, key: &str, data: &[u8]) -> Result<(), CliError> {
        if self.aggregate.is_none() {
            let entry = PutEntry {
                key: key.into(),
                explicit_hash_key: None,
                data: Bytes::copy_from_slice(data),
            };
            return Ok(self.queue(entry, 1).await?);
        }
        let hash = effective_hash(key, None).map_err(|error| CliError::Other(error.to_string()))?;
        let packer = self
            .packers
            .iter_mut()
            .find(|packer| packer.range().contains(hash));
        let packer = packer.ok_or_else(|| {
            CliError::Other(format!("no open shard of {} takes {key:?}", self.stream))
        })?;
        let full = packer
            .add(key, None, data)
            .map_err(|error| CliError::Other(error.to_string()))?;
        if let Some(full) = full {
            let users = full.user_records as u64;
            self.queue(entry_of(full), users).await?;
        }
        Ok(())
    }

    /// Puts everything that is left.
    pub(super) async fn flush(&mut self) -> Result<(), PortError> {
        self.pack_rest();
        self.put_pending().await
    }

    fn pack_rest(&mut self) {
        for packer in &mut self.packers {
            if let Some(packed) = packer.finish() {
                self.pending_users.push(packed.user_records as u64);
                self.pending_bytes += packed.data.len();
                self.pending.push(entry_of(packed));
            }
        }
    }

    async fn queue(&mut self, entry: PutEntry, users: u64) -> Result<(), PortError> {
        let bytes = entry.data.len() + entry.key.len();
        if self.pending.len() >= PUT_RECORDS_MAX || self.pending_bytes + bytes > PUT_BYTES_MAX {
            self.put_pending().await?;
        }
        self.pending_bytes += bytes;
        self.pending.push(entry);
        self.pending_users.push(users);
        Ok(())
    }

    async fn put_pending(&mut self) -> Result<(), PortError> {
        let mut entries = std::mem::take(&mut self.pending);
        let mut users = std::mem::take(&mut self.pending_users);
        self.pending_bytes = 0;
        while !entries.is_empty() {
            // Packing the rest may have queued more than one request takes.
            let rest = entries.split_off(entries.len().min(PUT_RECORDS_MAX));
            let rest_users = users.split_off(entries.len());
            self.put_request(entries, users).await?;
            entries = rest;
            users = rest_users;
        }
        Ok(())
    }

    /// Puts until every record is acknowledged. A request whose answer is lost is sent again: its records may then be
    /// there twice, as with any producer.
    async fn put_request(
        &mut self,
        mut entries: Vec<PutEntry>,
        mut users: Vec<u64>,
    ) -> Result<(), PortError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let refused = match self.admin.put(&self.stream, &entries).await {
                Ok(refused) => refused,
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => (0..entries.len())
                    .map(|index| (index, error.clone()))
                    .collect(),
            };
            let mut is_refused = vec![false; entries.len()];
            for (index, _) in &refused {
                is_refused[*index] = true;
            }
            for (index, entry) in entries
                .iter()
                .enumerate()
                .filter(|(index, _)| !is_refused[*index])
            {
                self.totals.records += 1;
                self.totals.user_records += users[index];
                self.totals.bytes += entry.data.len() as u64;
            }
            let Some((_, error)) = refused.into_iter().next() else {
                return Ok(());
            };
            if tries >= PUT_TRIES_MAX {
                return Err(error);
            }
            let mut index = 0;
            entries.retain(|_| {
                index += 1;
                is_refused[index - 1]
            });
            index = 0;
            users.retain(|_| {
                index += 1;
                is_refused[index - 1]
            });
            self.pause(tries).await;
        }
    }
}

/// Whether trying again is in vain.
fn is_final(error: &PortError) -> bool {
    matches!(
        error.kind,
        ErrorKind::Fatal | ErrorKind::NotFound | ErrorKind::Unfit
    )
}

fn entry_of(packed: PackedRecord) -> PutEntry {
    PutEntry {
        key: packed.key,
        explicit_hash_key: Some(packed.explicit_hash_key),
        data: packed.data,
    }
}
