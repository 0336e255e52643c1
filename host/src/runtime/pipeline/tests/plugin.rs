//! Plugins that say which one they are, and a sink that keeps what it gets.

use std::sync::{Arc, Mutex};

use shardwright_core::{
    ColumnsWanted, Emissions, Failure, FlushReason, Hold, Messages, Release, Reply,
};

use crate::ports::{
    CallError, DeadLetter, DeadLetterSink, DeliveryError, Description, Outgoing, PluginInstance,
    PortError, PortFuture, PreparedPlugin, Sink,
};

/// What happened to the instances of a plugin.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) instances: usize,
    pub(super) handled: usize,
    pub(super) flushes: Vec<FlushReason>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Log(Arc<Mutex<Said>>);

impl Log {
    pub(super) fn snapshot(&self) -> Said {
        self.0.lock().unwrap().clone()
    }

    pub(super) fn handled(&self) -> usize {
        self.0.lock().unwrap().handled
    }
}

/// Emits each message with its mark behind it. One that holds does so only when it is flushed, and only with even
/// numbers: the others it never gives back.
pub(super) struct Marked {
    mark: String,
    holds: bool,
    description: Description,
    pub(super) said: Log,
}

impl Marked {
    pub(super) fn new(mark: &str) -> Self {
        Self {
            mark: mark.to_owned(),
            holds: false,
            description: Description {
                name: mark.to_owned(),
                version: String::new(),
                config_schema: None,
                outputs: None,
                columns: ColumnsWanted::ALL,
                handler: "batch-handler",
            },
            said: Log::default(),
        }
    }

    pub(super) fn holding(mark: &str) -> Self {
        Self {
            holds: true,
            ..Self::new(mark)
        }
    }
}

impl PreparedPlugin for Marked {
    fn description(&self) -> &Description {
        &self.description
    }

    fn digest(&self) -> &str {
        &self.mark
    }

    fn instantiate<'a>(
        &'a self,
        _origin: &'a str,
    ) -> PortFuture<'a, Result<Box<dyn PluginInstance>, CallError>> {
        self.said.0.lock().unwrap().instances += 1;
        let instance = Instance {
            mark: self.mark.clone(),
            holds: self.holds,
            said: self.said.clone(),
            held: Vec::new(),
            next: 0,
        };
        Box::pin(async { Ok(Box::new(instance) as Box<dyn PluginInstance>) })
    }
}

struct Instance {
    mark: String,
    holds: bool,
    said: Log,
    held: Vec<(u64, Vec<u8>)>,
    next: u64,
}

type Answer = Result<Result<Reply, Failure>, CallError>;

impl Instance {
    fn emit(&self, emissions: &mut Emissions, from: usize, data: &[u8]) {
        let data = [data, b" ", self.mark.as_bytes()].concat();
        emissions.data.push(&data);
        emissions.keys.push(b"");
        emissions.sources.push(from as u32);
    }
}

impl PluginInstance for Instance {
    fn handle<'a>(&'a mut self, messages: &'a Messages) -> PortFuture<'a, Answer> {
        let mut reply = Reply::default();
        for (index, data) in messages.data.iter().enumerate() {
            if self.holds {
                self.next += 1;
                self.held.push((self.next, data.to_vec()));
                reply.holds.push(Hold {
                    index: index as u32,
                    id: self.next,
                });
            } else {
                self.emit(&mut reply.emissions, index, data);
            }
        }
        self.said.0.lock().unwrap().handled += messages.len();
        Box::pin(async {
            // Others get their turn in the middle of a batch.
            tokio::task::yield_now().await;
            Ok(Ok(reply))
        })
    }

    fn flush(&mut self, reason: FlushReason) -> PortFuture<'_, Answer> {
        let mut reply = Reply::default();
        // Idle ones come or do not come, as the machine is fast or slow.
        if reason != FlushReason::Idle {
            self.said.0.lock().unwrap().flushes.push(reason);
            let held = std::mem::take(&mut self.held);
            let is_even = |data: &[u8]| data.last().is_some_and(|digit| digit % 2 == 0);
            for (id, data) in held.into_iter().filter(|(_, data)| is_even(data)) {
                self.emit(&mut reply.emissions, reply.releases.len(), &data);
                reply.releases.push(Release { id, failure: None });
            }
        }
        Box::pin(async { Ok(Ok(reply)) })
    }
}

#[derive(Debug, Default)]
pub(super) struct Delivered {
    pub(super) lines: Vec<String>,
    /// Of which so many are durable.
    pub(super) synced: usize,
}

/// Keeps what it gets.
#[derive(Debug, Default)]
pub(super) struct Kept(Arc<Mutex<Delivered>>);

impl Kept {
    pub(super) fn state(&self) -> Arc<Mutex<Delivered>> {
        Arc::clone(&self.0)
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap().lines.len()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().lines.clone()
    }

    /// The last word of the last line.
    pub(super) fn last_mark(&self) -> Option<String> {
        let state = self.0.lock().unwrap();
        let (_, mark) = state.lines.last()?.rsplit_once(' ')?;
        Some(mark.to_owned())
    }
}

impl Sink for Kept {
    fn delivered_means(&self) -> &'static str {
        "it is kept in memory"
    }

    fn deliver<'a>(
        &'a self,
        emissions: &'a [Outgoing<'a>],
    ) -> PortFuture<'a, Result<(), DeliveryError>> {
        let text = |emission: &Outgoing<'_>| String::from_utf8(emission.data.to_vec()).unwrap();
        let mut state = self.0.lock().unwrap();
        state.lines.extend(emissions.iter().map(text));
        Box::pin(async { Ok(()) })
    }

    fn sync(&self) -> PortFuture<'_, Result<(), PortError>> {
        let mut state = self.0.lock().unwrap();
        state.synced = state.lines.len();
        Box::pin(async { Ok(()) })
    }
}

/// Nothing is given up in these tests.
pub(super) struct Nowhere;

impl DeadLetterSink for Nowhere {
    fn put(&self, letters: Vec<DeadLetter>) -> PortFuture<'_, Result<(), PortError>> {
        panic!("given up: {letters:?}");
    }
}
