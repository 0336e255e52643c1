//! One lane: its instances, one for each step, and the batches that pass through them.

use std::sync::Arc;
use std::time::Duration;

use shardwright_core::{
    Backoff, Batch, Cause, FlushReason, LaneState, Outcome, Ran, Run, ShardId, Slot,
};
use tokio::sync::mpsc;

use super::consumer::Input;
use super::delivery::deliver;
use super::generation::Generation;
use super::lease_events::DispatchPermit;
use super::shared::Shared;
use crate::limits::{INSTANCE_RETRY_FIRST, INSTANCE_RETRY_MAX, INSTANCE_TRIES_PER_LINE};
use crate::ports::{CallError, PluginInstance};

/// A lane that holds messages and gets none asks its instances to flush after this long.
const IDLE_FLUSH_AFTER: Duration = Duration::from_secs(1);

/// The instances of a lane, one for each step; none where one is made when a batch needs it.
pub(super) type Instances = Vec<Option<Box<dyn PluginInstance>>>;

/// What a lane is asked to do. It does one thing at a time, and answers each.
pub(super) enum LaneWork {
    Run(Box<Batch>),
    Flush(FlushReason),
    /// Something was held for too long.
    TakeBack,
    /// Pass over to another generation, with instances that were made for it.
    Swap(Arc<Generation>, Instances),
    /// Flush and end: other lanes take this one's place.
    Retire,
}

/// A lane of one shard.
pub(super) struct Lane {
    pub(super) shared: Arc<Shared>,
    /// What its batches run under (HR-1).
    pub(super) generation: Arc<Generation>,
    pub(super) shard: ShardId,
    pub(super) number: usize,
    /// `shard/lane`, for the guests' log lines.
    pub(super) origin: String,
    pub(super) permit: DispatchPermit,
    pub(super) work: mpsc::Receiver<LaneWork>,
    pub(super) out: mpsc::Sender<Input>,
    pub(super) instances: Instances,
    pub(super) state: LaneState,
}

/// What became of what a lane's instances had.
pub(super) struct Flushed {
    pub(super) lane: usize,
    /// What they released.
    pub(super) outcome: Outcome,
    /// What those held that are gone.
    pub(super) lost: Vec<(Slot, u64)>,
}

/// Which step gave no reply, and why.
struct Crash {
    step: usize,
    error: CallError,
}

impl Lane {
    /// Works until the consumer has nothing more for it, or it is aborted.
    pub(super) async fn run(mut self) {
        loop {
            let work = if self.state.held() == 0 {
                self.work.recv().await
            } else {
                let clock = Arc::clone(&self.shared.clock);
                match clock.within(IDLE_FLUSH_AFTER, self.work.recv()).await {
                    Some(work) => work,
                    None => {
                        let flushed = self.flush(FlushReason::Idle, |_step| true).await;
                        self.tell(Input::Flushed {
                            is_asked: false,
                            flushed,
                        })
                        .await;
                        continue;
                    }
                }
            };
            match work {
                None => return,
                Some(LaneWork::TakeBack) => self.take_back().await,
                Some(LaneWork::Flush(reason)) => {
                    let flushed = self.flush(reason, |_step| true).await;
                    self.tell(Input::Flushed {
                        is_asked: true,
                        flushed,
                    })
                    .await;
                }
                Some(LaneWork::Swap(generation, instances)) => {
                    self.permit.wait().await;
                    self.pass_over(generation, instances).await;
                }
                Some(LaneWork::Retire) => {
                    let mut flushed = self.flush(FlushReason::Reload, |_step| true).await;
                    flushed.lost.extend(self.state.take_over(0, |_step| false));
                    self.instances.clear();
                    self.tell(Input::Retired(flushed)).await;
                    return;
                }
                // A batch does not begin under a lease that may be another's. It does when the lease was renewed after all; if
                // the lease is lost, the consumer aborts the lane.
                Some(LaneWork::Run(batch)) => {
                    self.permit.wait().await;
                    let ran = self.run_batch(&batch).await;
                    if self.out.send(Input::Ran { batch, ran }).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn run_batch(&mut self, batch: &Batch) -> Ran {
        let mut failures = 0;
        loop {
            let mut state = std::mem::take(&mut self.state);
            let outcome = self.run_steps(batch, &mut state).await;
            let lost = match &outcome {
                Ok(_) => Vec::new(),
                Err(crash) => self.lose_instance(&mut state, crash.step),
            };
            self.state = state;
            match outcome {
                Ok(outcome) => return Ran::Done(outcome),
                // The pool had no room even for the call: nothing of the batch has been delivered, and it begins anew.
                Err(Crash { step, error }) if is_for_want_of_room(&error) => {
                    if !lost.is_empty() {
                        self.tell_lost(lost).await;
                    }
                    failures += 1;
                    self.wait_for_room(step, &error, failures).await;
                }
                Err(crash) => {
                    self.report(&crash, batch.len());
                    let cause = cause_of(&crash);
                    return Ran::Crashed { cause, lost };
                }
            }
        }
    }

    /// What an instance held that is gone, with nothing released.
    async fn tell_lost(&mut self, lost: Vec<(Slot, u64)>) {
        let flushed = Flushed {
            lane: self.number,
            outcome: Outcome::default(),
            lost,
        };
        self.tell(Input::Flushed {
            is_asked: false,
            flushed,
        })
        .await;
    }

    async fn run_steps(&mut self, batch: &Batch, state: &mut LaneState) -> Result<Outcome, Crash> {
        let generation = Arc::clone(&self.generation);
        self.finish(Run::new(batch, state, &generation.routes))
            .await
    }

    /// Takes a run through the steps that are left, and delivers what it emits.
    async fn finish(&mut self, mut run: Run<'_>) -> Result<Outcome, Crash> {
        while let Some(step) = run.next_step() {
            if run.messages().is_empty() {
                break;
            }
            let crash = |error| Crash { step, error };
            let instance = self.instance(step).await.map_err(crash)?;
            let answer = instance.handle(run.messages()).await.map_err(crash)?;
            if let Ok(reply) = &answer {
                run.check(reply)
                    .map_err(|invalid| crash(CallError::Reply(invalid)))?;
            }
            run.absorb(answer);
        }
        deliver(&self.shared, &self.generation, &self.shard, &mut run).await;
        Ok(run.finish())
    }

    async fn instance(&mut self, step: usize) -> Result<&mut Box<dyn PluginInstance>, CallError> {
        let instance = match self.instances[step].take() {
            Some(instance) => instance,
            None => self.make_instance(step).await?,
        };
        Ok(self.instances[step].insert(instance))
    }

    /// Makes an instance, however long the pool has no room for one. That others have it all is no fault of what waits here:
    /// it counts as no try, and nothing is given up for it (TN-1). Whoever ends the lane ends the wait.
    async fn make_instance(&mut self, step: usize) -> Result<Box<dyn PluginInstance>, CallError> {
        let plugin = Arc::clone(&self.generation.parts.plugins[step]);
        let mut failures = 0;
        loop {
            match plugin.instantiate(&self.origin).await {
                Err(error) if is_for_want_of_room(&error) => {
                    failures += 1;
                    self.wait_for_room(step, &error, failures).await;
                }
                made => return made,
            }
        }
    }

    async fn wait_for_room(&mut self, step: usize, error: &CallError, failures: u32) {
        if failures == 1 || failures.is_multiple_of(INSTANCE_TRIES_PER_LINE) {
            self.report_want_of_room(step, error, failures);
        }
        let backoff = Backoff {
            first: INSTANCE_RETRY_FIRST,
            max: INSTANCE_RETRY_MAX,
        };
        let random = self.shared.clock.entropy().draw();
        let pause = backoff.pause(failures, random);
        self.shared.clock.sleep(pause).await;
        // What is called next was begun long ago, and the lease may have become another's since.
        self.permit.wait().await;
    }

    /// Lets the next generation take over, between two batches. What the instances that go have is asked for and passed
    /// on; what they still hold is told as lost, so that it is delivered again to those that come.
    async fn pass_over(&mut self, generation: Arc<Generation>, mut instances: Instances) {
        let began = self.shared.clock.now();
        let before = Arc::clone(&self.generation);
        let is_kept = |step| generation.keeps(&before, step);
        let mut flushed = self.flush(FlushReason::Reload, |step| !is_kept(step)).await;
        let steps = generation.parts.plugins.len();
        flushed.lost.extend(self.state.take_over(steps, is_kept));
        instances.resize_with(steps, || None);
        for (step, instance) in instances.iter_mut().enumerate() {
            if is_kept(step) {
                *instance = self.instances[step].take();
            }
        }
        self.instances = instances;
        self.generation = generation;
        let pause = self.shared.clock.now().since(began);
        tracing::debug!(
            pipeline = self.shared.name(),
            lane = %self.origin,
            generation = self.generation.number,
            pause_us = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX),
            "a lane has passed over"
        );
        self.tell(Input::Swapped { flushed, pause }).await;
    }

    /// Asks the steps that are meant, in turn, for what they still have. What one emits passes through the steps behind it.
    async fn flush(&mut self, reason: FlushReason, is_meant: impl Fn(usize) -> bool) -> Flushed {
        let mut state = std::mem::take(&mut self.state);
        let mut total = Outcome::default();
        let mut lost = Vec::new();
        for step in 0..self.instances.len() {
            if self.instances[step].is_none() || !is_meant(step) {
                continue;
            }
            // It calls a plugin and delivers, as a batch does: no more than one may it begin under a lease that may be
            // another's. The step before may have taken long.
            self.permit.wait().await;
            match self.flush_step(step, reason, &mut state).await {
                Ok(outcome) => {
                    total.released.extend(outcome.released);
                    total.unknown_releases += outcome.unknown_releases;
                    total.answered.add_all(outcome.answered);
                }
                Err(crash) => {
                    lost.extend(self.lose_instance(&mut state, crash.step));
                    self.report(&crash, 0);
                }
            }
        }
        self.state = state;
        Flushed {
            lane: self.number,
            outcome: total,
            lost,
        }
    }

    /// A consumer that is gone does not need to know.
    async fn tell(&mut self, input: Input) {
        let _ = self.out.send(input).await;
    }

    async fn flush_step(
        &mut self,
        first: usize,
        reason: FlushReason,
        state: &mut LaneState,
    ) -> Result<Outcome, Crash> {
        let generation = Arc::clone(&self.generation);
        let nothing = Batch::default();
        let mut run = Run::of_flush(first, &nothing, state, &generation.routes);
        let crash = |error| Crash { step: first, error };
        let instance = self.instance(first).await.map_err(crash)?;
        let answer = instance.flush(reason).await.map_err(crash)?;
        if let Ok(reply) = &answer {
            run.check(reply)
                .map_err(|invalid| crash(CallError::Reply(invalid)))?;
        }
        run.absorb(answer);
        self.finish(run).await
    }

    /// Replaces every instance that holds something: there is no other way to end a hold.
    async fn take_back(&mut self) {
        let mut state = std::mem::take(&mut self.state);
        let mut lost = Vec::new();
        for step in 0..self.instances.len() {
            if state.holds(step) {
                lost.extend(self.lose_instance(&mut state, step));
                tracing::warn!(
                    pipeline = self.shared.name(),
                    step = step + 1,
                    lane = %self.origin,
                    limit = ?self.generation.parts.pipeline.flow.hold,
                    "a plugin has held a message for longer than `flow.hold` allows; its instance is replaced, and what it held runs again"
                );
            }
        }
        self.state = state;
        let lane = self.number;
        self.tell(Input::GivenBack { lane, lost }).await;
    }

    fn lose_instance(&mut self, state: &mut LaneState, step: usize) -> Vec<(Slot, u64)> {
        self.instances[step] = None;
        state.instance_lost(step)
    }

    fn plugin_name(&self, step: usize) -> &str {
        let plugin = self.generation.parts.plugins.get(step);
        plugin.map_or("", |plugin| &plugin.description().name)
    }

    fn report_want_of_room(&self, step: usize, error: &CallError, failures: u32) {
        // Many lanes may wait at once.
        let Some(not_told) = self.shared.admit_crash_line() else {
            return;
        };
        tracing::warn!(
            pipeline = self.shared.name(),
            step = step + 1,
            plugin = self.plugin_name(step),
            lane = %self.origin,
            failures,
            not_told,
            %error,
            "there is no room for a plugin's instance; the lane waits for it, and nothing is given up"
        );
    }

    fn report(&self, crash: &Crash, messages: usize) {
        let Some(not_told) = self.shared.admit_crash_line() else {
            return;
        };
        tracing::warn!(
            pipeline = self.shared.name(),
            // Steps are counted from 1 wherever a person reads them.
            step = crash.step + 1,
            plugin = self.plugin_name(crash.step),
            lane = %self.origin,
            messages,
            // Of the same kind, since the last one that was written.
            not_told,
            // The guest's own words must not look like lines of the host.
            error = %crash.error.to_string().replace(['\n', '\r'], " | "),
            "a plugin gave no reply; its instance is replaced"
        );
    }
}

/// Whether a call failed for what others have of the process, and not for anything that it was given.
fn is_for_want_of_room(error: &CallError) -> bool {
    matches!(error, CallError::Exhausted { .. })
}

fn cause_of(crash: &Crash) -> Cause {
    let kind = match crash.error {
        CallError::Trap { .. } => "trap",
        CallError::Time { .. } => "time",
        CallError::Wait { .. } => "wait",
        CallError::Memory { .. } => "memory",
        CallError::Tables { .. } => "tables",
        CallError::ReplySize { .. } | CallError::Reply(_) => "reply",
        // It is waited for instead.
        CallError::Exhausted { .. } => "exhausted",
    };
    Cause {
        step: Some(crash.step),
        kind,
        reason: crash.error.to_string(),
    }
}
