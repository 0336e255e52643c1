//! What is to be done about pipelines when their files have changed: everything is read, compared and built here, and
//! nothing that runs is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shardwright_core::pipeline::{
    Change, Pipeline, PipelineDiff, PipelineName, PluginRef, Rebuild,
};
use tokio::task::spawn_blocking;

use super::build::{Builder, Whole};
use crate::adapters::FileLooks;
use crate::config;
use crate::limits::{RELOAD_LONG_SECOND_LOOK, RELOAD_SECOND_LOOK};
use crate::runtime::GenerationParts;

/// What is to be done, in this order.
pub(super) enum Step {
    /// A new pipeline.
    Start(Whole),
    /// A pipeline that is gone.
    Stop(PipelineName),
    /// Another generation, built.
    Swap {
        generation: GenerationParts,
        /// What has changed, for a person.
        what: String,
    },
    /// What cannot change under leases has changed: another pipeline of that name, built.
    Restart {
        whole: Whole,
        /// What has changed, for a person.
        what: String,
    },
    /// A change that cannot be made (HR-2): of one pipeline, or of the files as a whole.
    Refuse {
        pipeline: Option<PipelineName>,
        /// One line.
        why: String,
    },
}

/// Contents by path; none for what cannot be read.
type Digests = BTreeMap<PathBuf, Option<String>>;

/// Reads and builds. It remembers what it has told, so that a fault is told once.
pub(super) struct Planner {
    builder: Arc<Builder>,
    paths: Vec<PathBuf>,
    looks: FileLooks,
    /// The YAML files as they were read last, or refused.
    read: Option<Digests>,
    /// What the YAML files said when they were right.
    wanted: Vec<Arc<Pipeline>>,
    refused: BTreeMap<PipelineName, (Arc<Pipeline>, Digests)>,
}

impl Planner {
    pub(super) fn new(
        builder: Arc<Builder>,
        paths: Vec<PathBuf>,
        wanted: Vec<Arc<Pipeline>>,
    ) -> Self {
        Self {
            builder,
            paths,
            looks: FileLooks::default(),
            read: None,
            wanted,
            refused: BTreeMap::new(),
        }
    }

    /// Compares what runs with what the files say. With `again`, what was refused is tried again though it has not changed.
    pub(super) async fn plan(&mut self, running: &[GenerationParts], again: bool) -> Vec<Step> {
        if again {
            self.read = None;
            self.refused.clear();
        }
        let mut steps = Vec::new();
        if let Err(why) = self.read(running).await {
            let pipeline = None;
            steps.push(Step::Refuse { pipeline, why });
        }
        let mut diff = PipelineDiff::between(&described(running), &self.wanted);
        let plugins = self.wanted.iter().flat_map(|one| plugin_files(one));
        let plugins = self.digests(plugins.collect()).await;
        for pipeline in self.wanted.clone() {
            let change = diff.changes.remove(&pipeline.name);
            let now = running
                .iter()
                .find(|now| now.pipeline.name == pipeline.name);
            steps.extend(self.plan_one(pipeline, change, now, &plugins).await);
        }
        let gone = diff.changes.into_keys();
        steps.extend(gone.map(Step::Stop));
        let wanted = &self.wanted;
        self.refused
            .retain(|name, _| wanted.iter().any(|pipeline| pipeline.name == *name));
        steps
    }

    async fn plan_one(
        &mut self,
        pipeline: Arc<Pipeline>,
        change: Option<Change>,
        now: Option<&GenerationParts>,
        plugins: &Digests,
    ) -> Option<Step> {
        let name = pipeline.name.clone();
        let digest = |path: PathBuf| plugins.get(&path).cloned().map(|digest| (path, digest));
        let files: Digests = plugin_files(&pipeline)
            .into_iter()
            .filter_map(digest)
            .collect();
        let stale = now.map_or_else(Vec::new, |now| stale_plugins(&pipeline, now, &files));
        if now.is_some() && change.is_none() && stale.is_empty() {
            self.refused.remove(&name);
            return None;
        }
        let as_refused = |(refused, digests): &(Arc<Pipeline>, Digests)| {
            *refused == pipeline && *digests == files
        };
        if self.refused.get(&name).is_some_and(as_refused) {
            return None;
        }
        let what = what_changed(change.as_ref(), &stale);
        let is_restart = matches!(
            change,
            Some(Change::Changed {
                rebuild: Rebuild::Restart,
                ..
            })
        );
        let built = match now {
            Some(now) if !is_restart => {
                let generation = self.builder.generation(Arc::clone(&pipeline), Some(now));
                let swap = |generation| Step::Swap { generation, what };
                generation.await.map(swap)
            }
            Some(_) => {
                let whole = self.builder.readable(Arc::clone(&pipeline)).await;
                whole.map(|whole| Step::Restart { whole, what })
            }
            None => {
                let whole = self.builder.readable(Arc::clone(&pipeline)).await;
                whole.map(Step::Start)
            }
        };
        match built {
            Ok(step) => {
                self.refused.remove(&name);
                Some(step)
            }
            Err(error) => {
                self.refused.insert(name.clone(), (pipeline, files));
                Some(Step::Refuse {
                    pipeline: Some(name),
                    why: error.to_string(),
                })
            }
        }
    }

    /// Reads the YAML files if they have changed. All of them are right, or what they said before stays wanted.
    ///
    /// A change is looked at twice: a file that is being written may lack half of its pipelines, or of their steps.
    async fn read(&mut self, running: &[GenerationParts]) -> Result<(), String> {
        let mut seen_once = None;
        loop {
            let digests = self.digests(config::files(&self.paths)).await;
            if self.read.as_ref() == Some(&digests) {
                if let Some(wanted) = seen_once {
                    self.wanted = wanted;
                }
                return Ok(());
            }
            self.read = Some(digests);
            let wanted = self.load().await?;
            let diff = PipelineDiff::between(&described(running), &wanted);
            if diff.is_empty() {
                self.wanted = wanted;
                return Ok(());
            }
            seen_once = Some(wanted);
            let is_whole = |change: &Change| *change == Change::Added || change.releases_leases();
            let pause = if diff.changes.values().any(is_whole) {
                RELOAD_LONG_SECOND_LOOK
            } else {
                RELOAD_SECOND_LOOK
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn load(&self) -> Result<Vec<Arc<Pipeline>>, String> {
        let paths = self.paths.clone();
        let load = move || config::load(&paths, &|name| std::env::var(name).ok());
        match spawn_blocking(load).await {
            Ok(Ok(pipelines)) => Ok(pipelines.into_iter().map(Arc::new).collect()),
            Ok(Err(problems)) => Err(problems.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn digests(&mut self, paths: Vec<PathBuf>) -> Digests {
        let mut looks = std::mem::take(&mut self.looks);
        let look = spawn_blocking(move || {
            let digests = paths.into_iter().map(|path| {
                let digest = looks.digest(&path);
                (path, digest)
            });
            let digests: Digests = digests.collect();
            (looks, digests)
        });
        match look.await {
            Ok((looks, digests)) => {
                self.looks = looks;
                digests
            }
            Err(_cut_off) => Digests::new(),
        }
    }

    /// The folders in which something may change: those of the files, and of what links to them lead to.
    pub(super) fn folders(&mut self, running: &[GenerationParts]) -> BTreeSet<PathBuf> {
        let running = running.iter().map(|one| &one.pipeline);
        let pipelines = self.wanted.iter().chain(running);
        let plugins = pipelines.flat_map(|pipeline| plugin_files(pipeline));
        let mut files: BTreeSet<PathBuf> = config::files(&self.paths).into_iter().collect();
        files.extend(self.paths.iter().cloned());
        files.extend(plugins);
        self.looks.retain(|path| files.contains(path));
        let real = files.iter().filter_map(|file| file.canonicalize().ok());
        let all: Vec<PathBuf> = files.iter().cloned().chain(real).collect();
        let parents = all.iter().filter_map(|file| file.parent()).map(|folder| {
            if folder.as_os_str().is_empty() {
                Path::new(".").to_owned()
            } else {
                folder.to_owned()
            }
        });
        let given = self.paths.iter().filter(|path| path.is_dir()).cloned();
        parents.chain(given).collect()
    }
}

fn described(running: &[GenerationParts]) -> Vec<Arc<Pipeline>> {
    let described = running.iter().map(|one| Arc::clone(&one.pipeline));
    described.collect()
}

fn plugin_files(pipeline: &Pipeline) -> Vec<PathBuf> {
    let files = pipeline
        .steps()
        .iter()
        .filter_map(|step| match &step.plugin {
            PluginRef::File(path) => Some(path.clone()),
            PluginRef::Builtin(_) => None,
        });
    files.collect()
}

/// The plugin files whose contents are not what runs.
fn stale_plugins(pipeline: &Pipeline, now: &GenerationParts, files: &Digests) -> Vec<PathBuf> {
    let steps = pipeline.steps().iter().zip(&now.plugins);
    let stale = steps.filter_map(|(step, plugin)| {
        let PluginRef::File(path) = &step.plugin else {
            return None;
        };
        let digest = files.get(path)?.as_deref();
        (digest != Some(plugin.digest())).then(|| path.clone())
    });
    stale.collect()
}

fn what_changed(change: Option<&Change>, stale: &[PathBuf]) -> String {
    let fields = match change {
        Some(Change::Changed { fields, .. }) => &fields[..],
        _ => &[],
    };
    let fields = fields.iter().map(|field| (*field).to_owned());
    let files = stale.iter().map(|path| path.display().to_string());
    fields.chain(files).collect::<Vec<_>>().join(", ")
}
