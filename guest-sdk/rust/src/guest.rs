//! One instance of a handler, as the host calls it: the same code under Wasm and in a native test.

use crate::columns::{BatchColumns, ReplyColumns, Room};
use crate::{Batch, ConfigError, Failure, FlushReason, Handler, Reply, config};

/// A handler and what has to be remembered between its calls.
#[derive(Debug)]
pub(crate) struct Guest<H> {
    handler: Option<H>,
    /// The id of the next hold. Ids are never used twice.
    hold_next: u64,
    /// What the last batch emitted, as a guess at the next.
    room: Room,
    /// Releases of calls that failed. The host has not heard of them and the handler has given its holds away, so the
    /// next reply hands the messages back.
    unheard_releases: Vec<u64>,
}

impl<H: Handler> Guest<H> {
    /// An instance that is not configured yet.
    pub(crate) const fn new() -> Self {
        Self {
            handler: None,
            hold_next: 0,
            room: Room::NONE,
            unheard_releases: Vec::new(),
        }
    }

    /// Makes the handler from its configuration, as JSON.
    pub(crate) fn configure(&mut self, json: &str) -> Result<(), ConfigError> {
        self.handler = Some(H::configure(config::parse(json)?)?);
        Ok(())
    }

    /// Handles a batch.
    pub(crate) fn handle(&mut self, columns: &BatchColumns) -> Result<ReplyColumns, Failure> {
        let batch = Batch::new(columns)?;
        let reply = self.call(batch.len(), self.room, |handler, reply| {
            handler.handle(&batch, reply)
        })?;
        self.room = reply.emissions.room();
        Ok(reply)
    }

    /// Flushes.
    pub(crate) fn flush(&mut self, reason: FlushReason) -> Result<ReplyColumns, Failure> {
        self.call(0, Room::NONE, |handler, reply| handler.flush(reason, reply))
    }

    fn call(
        &mut self,
        messages: usize,
        room: Room,
        call: impl FnOnce(&mut H, &mut Reply) -> Result<(), Failure>,
    ) -> Result<ReplyColumns, Failure> {
        let handler = self.handler.as_mut().ok_or_else(|| {
            Failure::retry("the host called a handler that it has not configured")
        })?;
        let mut reply = Reply::new(messages, self.hold_next, room);
        if let Err(failure) = call(handler, &mut reply) {
            let (releases, hold_next) = reply.abandon();
            self.unheard_releases.extend(releases);
            self.hold_next = hold_next;
            return Err(failure);
        }
        let (mut columns, hold_next) = reply.finish();
        self.hold_next = hold_next;
        columns
            .releases
            .extend(self.unheard_releases.drain(..).map(|id| {
                let failure = Failure::retry("the call that released this message failed");
                (id, Some(failure))
            }));
        Ok(columns)
    }
}
