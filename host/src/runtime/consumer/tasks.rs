//! What a consumer's shell has done on the side: making deliveries durable, and writing dead letters.

use std::sync::Arc;

use shardwright_core::{DeadMessage, Entropy, ShardId, Slot};

use super::super::generation::Generation;
use super::super::shared::Shared;
use super::{AfterSync, Input, Shell};
use crate::ports::{DeadLetter, Description, PortError, Sink};

impl Shell {
    /// Spawns a task on the I/O runtime.
    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, &self.shared.io);
    }

    /// Syncs every sink under which something may have been delivered, however often that takes, then comes back with what
    /// waits for it.
    pub(super) fn sync_then(&mut self, after: AfterSync) {
        let shared = Arc::clone(&self.shared);
        let out = self.inputs.clone();
        let sinks = self.passing.sinks_in_use();
        self.spawn(async move {
            sync_all(&shared, &sinks).await;
            let _ = out.send(Input::Synced(after)).await;
        });
    }

    /// Syncs the sinks that a generation had for itself.
    pub(super) fn finish(&mut self, number: u64, sinks: Vec<Arc<dyn Sink>>) {
        let shared = Arc::clone(&self.shared);
        let out = self.inputs.clone();
        self.spawn(async move {
            sync_all(&shared, &sinks).await;
            let _ = out.send(Input::Finished(number)).await;
        });
    }

    /// Writes dead letters, however often that takes: until they are written, their records are not done with. A try goes
    /// to where the newest generation keeps them, since a place that cannot be written to is mended by naming another.
    pub(super) fn bury(&mut self, dead: Vec<DeadMessage>) {
        let shared = Arc::clone(&self.shared);
        let out = self.inputs.clone();
        let slots: Vec<Slot> = dead.iter().map(|message| message.slot).collect();
        let failed_in = self.passing.speaking();
        let letters: Vec<DeadLetter> = dead
            .into_iter()
            .map(|message| letter(&shared, &failed_in, &self.shard, message))
            .collect();
        self.spawn(async move {
            let mut entropy = shared.clock.entropy();
            let mut failures = 0;
            loop {
                let target = Arc::clone(&shared.newest().parts.dead_letters);
                let Err(error) = target.put(letters.clone()).await else {
                    break;
                };
                failures += 1;
                let what = "dead letters cannot be written";
                wait_after(&shared, &error, what, failures, &mut entropy).await;
            }
            let _ = out.send(Input::Buried(slots)).await;
        });
    }
}

async fn sync_all(shared: &Shared, sinks: &[Arc<dyn Sink>]) {
    let mut entropy = shared.clock.entropy();
    for sink in sinks {
        let mut failures = 0;
        while let Err(error) = sink.sync().await {
            failures += 1;
            let what = "a sink cannot be synced";
            wait_after(shared, &error, what, failures, &mut entropy).await;
        }
    }
}

async fn wait_after(
    shared: &Shared,
    error: &PortError,
    what: &str,
    failures: u32,
    entropy: &mut Entropy,
) {
    tracing::warn!(pipeline = shared.name(), failures, %error, "{what}; trying again");
    let pause = shared.newest().retry.pause(failures, entropy.draw() as u64);
    shared.clock.sleep(pause).await;
}

fn letter(
    shared: &Shared,
    generation: &Generation,
    shard: &ShardId,
    message: DeadMessage,
) -> DeadLetter {
    let step = message.cause.step;
    let plugin = step.and_then(|step| generation.parts.plugins.get(step));
    let name = |plugin: &Description| {
        format!("{} {}", plugin.name, plugin.version)
            .trim_end()
            .to_owned()
    };
    DeadLetter {
        pipeline: shared.name().to_owned(),
        step,
        plugin: plugin
            .map(|plugin| name(plugin.description()))
            .unwrap_or_default(),
        digest: plugin
            .map(|plugin| plugin.digest().to_owned())
            .unwrap_or_default(),
        stream: shared.stream.as_str().to_owned(),
        shard: shard.as_str().to_owned(),
        position: message.position,
        key: message.key,
        data: message.data,
        arrival_ms: message.arrival_ms,
        error: message.cause.kind,
        reason: message.cause.reason,
        attempts: message.attempts,
        at_ms: shared.clock.unix_ms(),
    }
}
