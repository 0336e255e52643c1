//! One live instance.

use std::borrow::Cow;
use std::sync::Arc;

use shardwright_core::{ColumnsWanted, Failure, FlushReason, Messages, Reply};
use wasmtime::Store;

use super::call::{self, Call, Ended};
use super::guest::Guest;
use super::limits::REPLY_BYTES;
use super::prepared::Plugin;
use super::v0_1::{self, Gathered, batch_flush, batch_handler, message_handler};
use crate::ports::{CallError, PluginInstance, PluginLimits, PortFuture};

type Answer = Result<Reply, Failure>;

/// A store with one instance in it. After any error, and after a call that was cancelled, wasmtime lets nobody enter a
/// store again: whoever tries is told so.
pub(super) struct Instance {
    pub(super) store: Store<Guest>,
    pub(super) handler: Handler,
    pub(super) flush: Option<batch_flush::Guest>,
    pub(super) plugin: Arc<Plugin>,
    /// It can be called: no call has failed, and none is under way.
    pub(super) usable: bool,
}

pub(super) enum Handler {
    /// With the columns that it wants: what it does not is not copied to it.
    Batch(batch_handler::Guest, ColumnsWanted),
    Message(message_handler::Guest),
}

impl Instance {
    fn enter(&mut self) -> Result<(), CallError> {
        if !self.usable {
            return Err(CallError::Trap {
                trap: "the instance was lost in an earlier call that failed or was cancelled"
                    .into(),
                stderr: String::new(),
            });
        }
        self.usable = false;
        Ok(())
    }

    async fn handle(&mut self, messages: &Messages) -> Result<Answer, CallError> {
        self.enter()?;
        let limits = self.plugin.given.limits;
        let answer = match &self.handler {
            Handler::Batch(guest, wanted) => {
                let batch = v0_1::batch(messages, *wanted);
                handle_batch(&mut self.store, limits, guest, batch).await
            }
            Handler::Message(guest) => handle_each(&mut self.store, limits, guest, messages).await,
        }?;
        self.usable = true;
        Ok(answer)
    }

    async fn flush(&mut self, reason: FlushReason) -> Result<Answer, CallError> {
        let Some(guest) = &self.flush else {
            return Ok(Ok(Reply::default()));
        };
        let guest = guest.clone();
        self.enter()?;
        let reason = v0_1::flush_reason(reason);
        let call = Call::new(&mut self.store, self.plugin.given.limits);
        let answer = call
            .run(async { Ok(guest.call_flush(&mut self.store, reason).await?) })
            .await?;
        let answer = read(answer)?;
        self.usable = true;
        Ok(answer)
    }
}

async fn handle_batch(
    store: &mut Store<Guest>,
    limits: PluginLimits,
    guest: &batch_handler::Guest,
    batch: batch_handler::Batch<'_>,
) -> Result<Answer, CallError> {
    let call = Call::new(store, limits);
    let answer = call
        .run(async { Ok(guest.call_handle(store, batch).await?) })
        .await?;
    read(answer)
}

fn read(
    answer: Result<batch_handler::Reply, v0_1::bindings::shardwright::plugin::types::Failure>,
) -> Result<Answer, CallError> {
    match answer {
        Ok(reply) => Ok(Ok(v0_1::reply(reply)?)),
        Err(failed) => Ok(Err(v0_1::failure(failed))),
    }
}

/// One call for each message. A message that fails by value is alone in it; a trap ends the whole batch, since the
/// instance is gone.
async fn handle_each(
    store: &mut Store<Guest>,
    limits: PluginLimits,
    guest: &message_handler::Guest,
    messages: &Messages,
) -> Result<Answer, CallError> {
    let series = Call::new(store, limits);
    let calls = async {
        let mut gathered = Gathered::new(messages);
        for index in 0..messages.len() {
            if gathered.waits(index) {
                continue;
            }
            call::begin(store);
            let mut text = [const { Cow::Borrowed("") }; 2];
            let message = gathered.message(index, &mut text);
            let answer = guest.call_handle(&mut *store, message).await?;
            gathered
                .answer(index, answer)
                .map_err(|_too_large| Ended::Host(CallError::ReplySize { limit: REPLY_BYTES }))?;
        }
        Ok(gathered)
    };
    let gathered = series.run(calls).await?;
    Ok(Ok(gathered.into_reply()))
}

impl PluginInstance for Instance {
    fn handle<'a>(
        &'a mut self,
        messages: &'a Messages,
    ) -> PortFuture<'a, Result<Result<Reply, Failure>, CallError>> {
        Box::pin(self.handle(messages))
    }

    fn flush(
        &mut self,
        reason: FlushReason,
    ) -> PortFuture<'_, Result<Result<Reply, Failure>, CallError>> {
        Box::pin(self.flush(reason))
    }
}
