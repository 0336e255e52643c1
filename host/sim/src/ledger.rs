//! What is true of every user record, whatever the workers believe.

use std::collections::BTreeMap;

use shardwright_core::{Checkpoint, Position, ShardId, Tenure};

use crate::stream::Stream;

/// A user record, by its number in the world.
#[derive(Clone, Debug)]
pub struct UserRecord {
    pub(crate) entry: u32,
    /// Its shard's place in the stream.
    pub shard: usize,
    /// Its place among the user records of its shard.
    pub index: usize,
    pub(crate) key: u64,
    /// Some handler has had it.
    pub(crate) is_tried: bool,
    /// Its handler acked it and all it led to is delivered, or it is a stored dead letter.
    pub(crate) is_done: bool,
    /// Nobody need have it: it lies before the start that was asked for, or the filter that was asked for drops it.
    pub(crate) is_skipped: bool,
    /// Nobody may have it: the filter that was asked for drops it.
    pub(crate) is_barred: bool,
    pub(crate) is_trimmed: bool,
    /// Traps every handler.
    pub(crate) is_poison: bool,
}

/// A user record that is put.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PutUser {
    pub(crate) key: u64,
    pub(crate) is_skipped: bool,
    pub(crate) is_barred: bool,
    pub(crate) is_poison: bool,
}

/// A record of the stream: one user record or several.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryTruth {
    /// Number of its first user record.
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// User records of the shard before it.
    pub(crate) index: usize,
    pub(crate) bytes: u64,
}

/// User records of one key in a shard.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyTruth {
    pub(crate) records: Vec<u32>,
    /// How many of them, from the front, were tried or will never be.
    pub(crate) tried: usize,
}

/// What is true of a shard.
#[derive(Clone, Debug, Default)]
pub struct ShardTruth {
    pub(crate) records: Vec<u32>,
    pub(crate) entries: Vec<u32>,
    pub(crate) keys: BTreeMap<u64, KeyTruth>,
    /// How many records, from the front, are done or will never be.
    pub(crate) done: usize,
    /// The highest checkpoint that was ever stored.
    pub(crate) highest: Option<Checkpoint>,
    /// A row was made for it.
    pub was_leased: bool,
    pub(crate) was_begun: bool,
}

/// How a user record stands in one life of a consumer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// It was not read.
    #[default]
    Unseen,
    /// It was read.
    Read,
    /// A handler has it.
    Running,
    /// It ran, and is to run again.
    Waiting,
    /// A handler holds it.
    Held,
    /// It was held, and is to run again: later ones of its key may have gone ahead.
    HeldAgain,
    /// It is to be a dead letter.
    Rejected,
    /// It is done.
    Done,
}

/// One consumer from its start to its end.
#[derive(Clone, Debug)]
pub struct Life {
    /// Whose it is.
    pub process: usize,
    /// The lease that it has.
    pub tenure: Tenure,
    /// Its shard's place in the stream.
    pub shard: usize,
    /// User records of the shard that were done before.
    pub(crate) start: usize,
    /// Where its checkpoints have led, the start included.
    pub chain: Vec<Checkpoint>,
    pub(crate) marks: Vec<Mark>,
    /// The newest try of each record, by place as the marks are.
    tries: Vec<u32>,
    /// Entries of the shard that were read, by place in the shard.
    pub(crate) read: std::ops::Range<usize>,
    /// User records that a checkpoint has passed.
    pub(crate) passed: usize,
    /// User records up to the stored checkpoint, and up to the newest that has run.
    pub(crate) stored: usize,
    pub(crate) newest: usize,
    pub(crate) has_run: bool,
    pub(crate) has_ended: bool,
    /// It takes nothing new.
    pub is_draining: bool,
    /// It has ended.
    pub is_over: bool,
}

impl Life {
    /// A consumer that begins with so many user records of its shard done.
    pub fn new(
        process: usize,
        tenure: Tenure,
        shard: usize,
        start: usize,
        checkpoint: Checkpoint,
    ) -> Self {
        Self {
            process,
            tenure,
            shard,
            start,
            chain: vec![checkpoint],
            marks: Vec::new(),
            tries: Vec::new(),
            read: 0..0,
            passed: start,
            stored: start,
            newest: start,
            has_run: false,
            has_ended: false,
            is_draining: false,
            is_over: false,
        }
    }

    fn newest_try(&mut self, index: usize) -> Option<&mut u32> {
        let at = index.checked_sub(self.start)?;
        if self.tries.len() <= at {
            self.tries.resize(at + 1, u32::MAX);
        }
        self.tries.get_mut(at)
    }

    /// How the record at a place of the shard stands.
    pub fn mark(&self, index: usize) -> Mark {
        let at = index.checked_sub(self.start);
        at.and_then(|at| self.marks.get(at).copied())
            .unwrap_or_default()
    }

    pub(crate) fn set_mark(&mut self, index: usize, mark: Mark) {
        let Some(at) = index.checked_sub(self.start) else {
            return;
        };
        if self.marks.len() <= at {
            self.marks.resize(at + 1, Mark::Unseen);
        }
        self.marks[at] = mark;
    }
}

/// What a handler said of a message or emission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is done, once what it led to is delivered.
    Ack,
    /// It is held.
    Hold,
    /// It cannot be done.
    Reject,
    /// It is to be tried again, or counts for nothing.
    Again,
}

/// A message in a handler's hands, or an emission on its way.
#[derive(Clone, Debug)]
struct Node {
    /// What it came from.
    parents: Vec<u32>,
    root: Option<(usize, u32)>,
    said: Said,
    /// Emissions it led to that are not delivered.
    open: u32,
    is_done: bool,
}

/// All that is true.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Every user record, by its number.
    pub records: Vec<UserRecord>,
    pub(crate) entries: Vec<EntryTruth>,
    pub(crate) shards: Vec<ShardTruth>,
    /// Every consumer that was started, in order.
    pub lives: Vec<Life>,
    nodes: Vec<Node>,
    /// Which process's write made a row's counter what it is, and what that write was answered.
    pub writers: BTreeMap<(ShardId, u64), usize>,
}

impl Ledger {
    /// Notes a record of the stream with these user records.
    pub(crate) fn put(&mut self, shard: usize, bytes: u64, users: &[PutUser]) {
        if self.shards.len() <= shard {
            self.shards.resize_with(shard + 1, ShardTruth::default);
        }
        let entry = self.entries.len() as u32;
        let truth = &mut self.shards[shard];
        truth.entries.push(entry);
        self.entries.push(EntryTruth {
            first: self.records.len() as u32,
            count: users.len() as u32,
            index: truth.records.len(),
            bytes,
        });
        for &PutUser {
            key,
            is_skipped,
            is_barred,
            is_poison,
        } in users
        {
            let number = self.records.len() as u32;
            let index = truth.records.len();
            truth.records.push(number);
            truth.keys.entry(key).or_default().records.push(number);
            self.records.push(UserRecord {
                entry,
                shard,
                index,
                key,
                is_tried: false,
                is_done: false,
                is_skipped,
                is_barred,
                is_trimmed: false,
                is_poison,
            });
        }
    }

    /// What is true of a shard, by its place in the stream.
    pub fn shard(&mut self, shard: usize) -> &mut ShardTruth {
        if self.shards.len() <= shard {
            self.shards.resize_with(shard + 1, ShardTruth::default);
        }
        &mut self.shards[shard]
    }

    /// The number of the user record at a place, if there is one.
    pub fn record_at(&self, stream: &Stream, position: &Position) -> Option<u32> {
        let entry = stream.entry_of(&position.sequence);
        let entry = self.entries.get(usize::try_from(entry).ok()?)?;
        let sub = u32::try_from(position.sub_sequence).ok()?;
        (sub < entry.count).then_some(entry.first + sub)
    }

    /// How many user records of a shard lie up to a checkpoint.
    pub fn up_to(&self, stream: &Stream, shard: usize, checkpoint: &Checkpoint) -> usize {
        let records = self
            .shards
            .get(shard)
            .map_or(0, |truth| truth.records.len());
        match checkpoint {
            Checkpoint::AtTimestamp | Checkpoint::TrimHorizon | Checkpoint::Latest => 0,
            Checkpoint::ShardEnd => records,
            Checkpoint::At(position) => {
                let entry = stream.entry_of(&position.sequence) as usize;
                let Some(entry) = self.entries.get(entry) else {
                    return records;
                };
                let inside = position
                    .sub_sequence
                    .saturating_add(1)
                    .min(entry.count.into());
                entry.index + inside as usize
            }
        }
    }

    /// Whether nobody is to do anything for a record any more.
    pub(crate) fn is_settled(&self, record: u32) -> bool {
        let record = &self.records[record as usize];
        record.is_done || record.is_skipped || record.is_trimmed
    }

    /// The first record of a shard that is not settled.
    pub fn first_unsettled(&mut self, shard: usize) -> Option<u32> {
        let mut done = self.shard(shard).done;
        let found = loop {
            match self.shards[shard].records.get(done) {
                Some(record) if self.is_settled(*record) => done += 1,
                found => break found.copied(),
            }
        };
        self.shards[shard].done = done;
        found
    }

    /// Records before an iterator that began with what comes next are nobody's.
    pub fn skip_before(&mut self, shard: usize, entries: usize) {
        let truth = self.shard(shard);
        let skipped: Vec<u32> = truth.entries.iter().take(entries).copied().collect();
        for entry in skipped {
            let EntryTruth { first, count, .. } = self.entries[entry as usize];
            for record in first..first + count {
                self.records[record as usize].is_skipped = true;
            }
        }
    }

    pub(crate) fn trim(&mut self, shard: usize, entries: usize) {
        let truth = self.shard(shard);
        let trimmed: Vec<u32> = truth.entries.iter().take(entries).copied().collect();
        for entry in trimmed {
            let EntryTruth { first, count, .. } = self.entries[entry as usize];
            for record in first..first + count {
                self.records[record as usize].is_trimmed = true;
            }
        }
    }

    /// A life has got the entries of its shard from `first` on.
    pub(crate) fn read(&mut self, life: usize, first: usize, count: usize) {
        let life = &mut self.lives[life];
        if life.read.is_empty() {
            life.read = first..first;
        }
        // A read may begin again, and may leap over what retention has just taken.
        for place in life.read.end.max(first)..first + count {
            let entry = self.shards[life.shard].entries[place];
            let EntryTruth { index, count, .. } = self.entries[entry as usize];
            let record = self.entries[entry as usize].first as usize;
            if place < first && self.records[record].is_trimmed {
                continue; // Retention took it before this life came to it.
            }
            for index in index..index + count as usize {
                if life.mark(index) == Mark::Unseen {
                    life.set_mark(index, Mark::Read);
                }
            }
        }
        life.read.end = life.read.end.max(first + count);
    }

    // === what comes of a message ===

    /// A message of the stream in a handler's hands: the newest try of it in this life.
    pub fn message(&mut self, life: usize, record: u32) -> u32 {
        let node = self.node(Vec::new(), Some((life, record)));
        let index = self.records[record as usize].index;
        if let Some(newest) = self.lives[life].newest_try(index) {
            *newest = node;
        }
        node
    }

    /// An emission for which these stand.
    pub fn emission(&mut self, parents: Vec<u32>) -> u32 {
        for parent in &parents {
            self.nodes[*parent as usize].open += 1;
        }
        self.node(parents, None)
    }

    fn node(&mut self, parents: Vec<u32>, root: Option<(usize, u32)>) -> u32 {
        self.nodes.push(Node {
            parents,
            root,
            said: Said::Again,
            open: 0,
            is_done: false,
        });
        self.nodes.len() as u32 - 1
    }

    /// The key of a message that is one of the stream.
    pub fn root_key(&self, node: u32) -> Option<u64> {
        let (_, record) = self.nodes.get(node as usize)?.root?;
        Some(self.records[record as usize].key)
    }

    /// Whether it is a message of the stream that traps every handler.
    pub fn is_poison(&self, node: u32) -> bool {
        let root = self.nodes.get(node as usize).and_then(|node| node.root);
        root.is_some_and(|(_, record)| self.records[record as usize].is_poison)
    }

    /// The messages that something came from, as far as it is their newest try.
    fn sources(&mut self, node: u32) -> Vec<(usize, u32)> {
        let mut sources = Vec::new();
        let mut ahead = vec![node];
        while let Some(node) = ahead.pop() {
            let Some(known) = self.nodes.get(node as usize) else {
                continue;
            };
            ahead.extend(&known.parents);
            if let Some((life, record)) = known.root {
                let index = self.records[record as usize].index;
                if self.lives[life]
                    .newest_try(index)
                    .is_some_and(|newest| *newest == node)
                {
                    sources.push((life, record));
                }
            }
        }
        sources
    }

    /// A handler's word, now that it has come; for an emission, a sink's ack. Of an older try it counts for nothing.
    pub fn say(&mut self, node: u32, said: Said) {
        let sources = self.sources(node);
        if sources.is_empty() {
            return;
        }
        self.nodes[node as usize].said = said;
        for (number, record) in sources {
            let index = self.records[record as usize].index;
            let life = &mut self.lives[number];
            match said {
                Said::Ack => {}
                Said::Hold => life.set_mark(index, Mark::Held),
                // Part of it may still be held: what becomes of it is only known when that has been released.
                Said::Reject if life.mark(index) == Mark::Held => {
                    life.set_mark(index, Mark::HeldAgain);
                }
                Said::Reject => life.set_mark(index, Mark::Rejected),
                Said::Again => {
                    let was_held = matches!(life.mark(index), Mark::Held | Mark::HeldAgain);
                    let mark = if was_held {
                        Mark::HeldAgain
                    } else {
                        Mark::Waiting
                    };
                    self.decide(number, record, mark);
                }
            }
        }
        self.settle(node);
    }

    fn settle(&mut self, node: u32) {
        let mut settling = vec![node];
        while let Some(node) = settling.pop() {
            let known = &mut self.nodes[node as usize];
            if known.is_done || known.said != Said::Ack || known.open > 0 {
                continue;
            }
            known.is_done = true;
            if let Some((life, record)) = known.root {
                self.done(life, record);
            }
            for parent in self.nodes[node as usize].parents.clone() {
                self.nodes[parent as usize].open -= 1;
                settling.push(parent);
            }
        }
    }

    /// A record is to be a dead letter.
    pub fn give_up(&mut self, life: usize, record: u32) {
        self.decide(life, record, Mark::Rejected);
    }

    /// Whatever is still said of earlier tries counts for nothing.
    fn decide(&mut self, life: usize, record: u32, mark: Mark) {
        let index = self.records[record as usize].index;
        let life = &mut self.lives[life];
        life.set_mark(index, mark);
        if let Some(newest) = life.newest_try(index) {
            *newest = u32::MAX;
        }
    }

    /// A record is done in a life.
    pub fn done(&mut self, life: usize, record: u32) {
        self.records[record as usize].is_done = true;
        self.decide(life, record, Mark::Done);
    }
}
