//! The pipelines of a process, which follow their files.

use std::path::PathBuf;
use std::sync::Arc;

use shardwright_core::WorkerId;
use shardwright_core::pipeline::PipelineName;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::build::{Builder, Whole};
use super::error::AppError;
use super::plan::{Planner, Step};
use crate::adapters::FileWatch;
use crate::limits::{DRAIN_LIMIT, RELOAD_POLL};
use crate::runtime::{GenerationParts, RunningPipeline};

/// Pipelines that run.
pub struct Pipelines {
    builder: Arc<Builder>,
    worker: WorkerId,
    running: Vec<Running>,
    stopping: Vec<Stopping>,
    /// To be started once nothing stops any more: one of them may want the leases of what stops.
    waiting: Vec<Whole>,
    follow: Option<Follow>,
    /// Changes of the files as a whole that were refused.
    refusals: u64,
}

struct Running {
    name: PipelineName,
    pipeline: RunningPipeline,
    generation: GenerationParts,
    /// Changes that were refused.
    refusals: u64,
}

struct Stopping {
    pipeline: RunningPipeline,
    since: Instant,
}

/// Follows the files.
struct Follow {
    /// With `planning`, it is there.
    planner: Option<Planner>,
    planning: Option<JoinHandle<(Planner, Vec<Step>)>>,
    watch: FileWatch,
    changed: mpsc::Receiver<()>,
    poll: Interval,
    /// What was refused is to be tried again.
    again: bool,
}

impl Pipelines {
    pub(super) fn start(builder: Arc<Builder>, worker: &WorkerId, built: Vec<Whole>) -> Self {
        let mut pipelines = Self {
            builder,
            worker: worker.clone(),
            running: Vec::new(),
            stopping: Vec::new(),
            waiting: built,
            follow: None,
            refusals: 0,
        };
        pipelines.start_waiting();
        pipelines
    }

    fn start_waiting(&mut self) {
        for whole in self.waiting.drain(..) {
            self.running.push(Running {
                name: whole.generation.pipeline.name.clone(),
                pipeline: self.builder.start(&whole, &self.worker),
                generation: whole.generation,
                refusals: 0,
            });
        }
    }

    /// From now on [`keep_up`](Self::keep_up) follows the files of these paths, which are those that the pipelines were read
    /// from, and the plugins that they name.
    pub fn follow(&mut self, paths: Vec<PathBuf>) {
        let _entered = self.builder.io().enter();
        // One place: a change that nobody has looked after yet stands for all that follow.
        let (tell, changed) = mpsc::channel(1);
        let watch = FileWatch::start(move || {
            let _ = tell.try_send(());
        });
        let wanted = self
            .running
            .iter()
            .map(|one| Arc::clone(&one.generation.pipeline));
        let mut planner = Planner::new(Arc::clone(&self.builder), paths, wanted.collect());
        let mut poll = interval(RELOAD_POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut follow = Follow {
            planner: None,
            planning: None,
            watch,
            changed,
            poll,
            again: false,
        };
        follow.watch.set(&planner.folders(&self.generations()));
        follow.planner = Some(planner);
        self.follow = Some(follow);
    }

    /// Looks at the files now, and tries what was refused once more.
    pub fn reload(&mut self) {
        if let Some(follow) = &mut self.follow {
            follow.again = true;
        }
    }

    /// Waits for a change, or for one that is being prepared, and makes it. It can be dropped and called again at any time.
    pub async fn keep_up(&mut self) {
        let running = self.generations();
        let is_settled = self.stopping.is_empty();
        let Some(follow) = &mut self.follow else {
            return std::future::pending().await;
        };
        if let Some(planning) = &mut follow.planning {
            let planned = planning.await;
            follow.planning = None;
            // A plan that was cut off leaves nobody to follow the files: everything else goes on.
            let Ok((planner, steps)) = planned else {
                tracing::error!("the files of pipelines and plugins are not followed any more");
                self.follow = None;
                return;
            };
            follow.planner = Some(planner);
            self.carry_out(steps);
            self.watch_folders();
            return;
        }
        if !is_settled {
            return std::future::pending().await;
        }
        if !follow.again {
            tokio::select! {
                _ = follow.changed.recv() => {}
                _ = follow.poll.tick() => {}
            }
        }
        let again = std::mem::take(&mut follow.again);
        follow.planning = follow.planner.take().map(|mut planner| {
            let plan = async move {
                let steps = planner.plan(&running, again).await;
                (planner, steps)
            };
            self.builder.io().spawn(plan)
        });
    }

    fn generations(&self) -> Vec<GenerationParts> {
        let generations = self.running.iter().map(|one| one.generation.clone());
        generations.collect()
    }

    fn watch_folders(&mut self) {
        let generations = self.generations();
        if let Some(follow) = &mut self.follow
            && let Some(planner) = &mut follow.planner
        {
            follow.watch.set(&planner.folders(&generations));
        }
    }

    fn carry_out(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Start(whole) => {
                    tracing::info!(pipeline = %whole.generation.pipeline.name, "a new pipeline starts");
                    self.waiting.push(whole);
                }
                Step::Stop(name) => {
                    tracing::info!(pipeline = %name, "the pipeline is gone from its file: it is drained and stopped");
                    self.drain(&name);
                }
                Step::Swap { generation, what } => self.swap(generation, &what),
                Step::Restart { whole, what } => {
                    let name = whole.generation.pipeline.name.clone();
                    tracing::info!(pipeline = %name, changed = what, "this cannot change under leases: the pipeline is drained and started anew");
                    self.drain(&name);
                    self.waiting.push(whole);
                }
                Step::Refuse { pipeline, why } => self.refuse(pipeline.as_ref(), &why),
            }
        }
        if self.stopping.is_empty() {
            self.start_waiting();
        }
    }

    fn swap(&mut self, generation: GenerationParts, what: &str) {
        let name = &generation.pipeline.name;
        let Some(running) = self.running.iter_mut().find(|one| one.name == *name) else {
            return;
        };
        let number = running.pipeline.generation() + 1;
        tracing::info!(pipeline = %name, generation = number, changed = what, "a new generation is ready");
        running.pipeline.swap(generation.clone());
        running.generation = generation;
    }

    /// HR-2: it is told and counted, and nothing else happens.
    fn refuse(&mut self, pipeline: Option<&PipelineName>, why: &str) {
        // What a guest or a parser says must not look like lines of the host.
        let why = why.trim_end().replace(['\n', '\r'], " | ");
        let running = self
            .running
            .iter_mut()
            .find(|one| pipeline == Some(&one.name));
        match (running, pipeline) {
            (Some(running), Some(name)) => {
                running.refusals += 1;
                let generation = running.pipeline.generation();
                let refusals = running.refusals;
                tracing::warn!(pipeline = %name, why, refusals, generation, "a change is refused; generation {generation} goes on");
            }
            (None, Some(name)) => {
                tracing::warn!(pipeline = %name, why, "a new pipeline does not start");
            }
            (_, None) => {
                self.refusals += 1;
                let refusals = self.refusals;
                tracing::warn!(
                    why,
                    refusals,
                    "the pipeline files are refused; all pipelines go on as they are"
                );
            }
        }
    }

    fn drain(&mut self, name: &PipelineName) {
        let Some(index) = self.running.iter().position(|one| one.name == *name) else {
            return;
        };
        let Running { pipeline, .. } = self.running.swap_remove(index);
        pipeline.drain();
        let since = Instant::now();
        self.stopping.push(Stopping { pipeline, since });
    }

    /// Looks whether anything has come to its end. A pipeline that ended though nobody asked it to is an error.
    pub async fn look_after(&mut self) -> Result<(), AppError> {
        for stopping in std::mem::take(&mut self.stopping) {
            if let Some(stopping) = stopping.look().await {
                self.stopping.push(stopping);
            }
        }
        if self.stopping.is_empty() {
            self.start_waiting();
        }
        for running in &mut self.running {
            if running.pipeline.is_over() {
                running
                    .pipeline
                    .ended()
                    .await
                    .map_err(|source| AppError::Ended {
                        pipeline: running.name.to_string(),
                        source,
                    })?;
            }
        }
        Ok(())
    }

    /// Whether every shard of every pipeline has been read to its tip, and nothing else is under way.
    pub fn is_at_tip(&self) -> bool {
        let is_planning = self
            .follow
            .as_ref()
            .is_some_and(|follow| follow.planning.is_some());
        !is_planning
            && self.stopping.is_empty()
            && self.waiting.is_empty()
            && self.running.iter().all(|one| one.pipeline.is_at_tip())
    }

    /// An error if a pipeline waits for a plugin that fails everything: for how long, nobody knows.
    pub fn look_for_pauses(&self) -> Result<(), AppError> {
        for running in &self.running {
            if let Some((step, why)) = running.pipeline.paused() {
                return Err(AppError::Paused {
                    pipeline: running.name.to_string(),
                    step,
                    why: why.replace(['\n', '\r'], " | "),
                });
            }
        }
        Ok(())
    }

    /// All that has not come to its end, to be stopped. Nothing is followed any more.
    pub fn into_running(mut self) -> Vec<RunningPipeline> {
        if let Some(planning) = self.follow.take().and_then(|follow| follow.planning) {
            planning.abort();
        }
        let running = self.running.into_iter().map(|one| one.pipeline);
        let stopping = self.stopping.into_iter().map(|one| one.pipeline);
        running
            .chain(stopping)
            .filter(|pipeline| !pipeline.is_over())
            .collect()
    }
}

impl Stopping {
    /// It goes on stopping, unless it has stopped or has had its time.
    async fn look(mut self) -> Option<Self> {
        let name = self.pipeline.name().to_owned();
        if self.pipeline.is_over() {
            match self.pipeline.ended().await {
                Ok(()) => tracing::info!(pipeline = name, "stopped; its leases are released"),
                Err(error) => tracing::warn!(pipeline = name, %error, "it did not stop in order"),
            }
            return None;
        }
        if self.since.elapsed() > DRAIN_LIMIT {
            self.pipeline.abort();
            tracing::warn!(
                pipeline = name,
                "not drained after {DRAIN_LIMIT:?}: it is cut off, and what was begun is delivered again"
            );
            return None;
        }
        Some(self)
    }
}
