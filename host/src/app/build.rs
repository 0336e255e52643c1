//! From what the YAML says to what runs: plugins, sinks, streams and lease tables.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use shardwright_core::pipeline::{
    self, DeadLetterTarget, Endpoint, FileTarget, Pipeline, Place, PluginRef,
};
use shardwright_core::{ShardListing, WorkerId};
use tokio::runtime::Handle;
use tokio::task::{JoinError, spawn_blocking};

use super::error::AppError;
use crate::adapters::{
    AwsClients, AwsTarget, DeadLetterFile, FileSink, LineFiles, StdoutSink, SystemClock,
    WasmtimeRuntime, WasmtimeSettings, digest_of,
};
use crate::builtin::{BUILTINS, builtin};
use crate::data_dir::DataDir;
use crate::limits::PLUGIN_BYTES_MAX;
use crate::ports::{
    DeadLetterSink, ErrorKind, LeaseTable, PluginLimits, PluginRuntime, PluginSpec, PrepareError,
    PreparedPlugin, Sink, StreamSource,
};
use crate::runtime::{GenerationParts, PipelineParts, RunningPipeline};

/// Builds what pipelines are made of. What they share in a process is made once, when it is first needed.
pub(super) struct Builder {
    data: DataDir,
    io: Handle,
    guests: Handle,
    clients: AwsClients,
    files: Arc<LineFiles>,
    plugin_settings: Mutex<WasmtimeSettings>,
    plugins: Mutex<Option<Arc<WasmtimeRuntime>>>,
    local: Mutex<Option<shardwright_local::Attachment>>,
}

/// A pipeline that can be started.
pub(super) struct Whole {
    pub(super) generation: GenerationParts,
    source: Arc<dyn StreamSource>,
    table: Arc<dyn LeaseTable>,
}

impl Builder {
    pub(super) fn new(data: DataDir, io: Handle, guests: Handle) -> Self {
        Self {
            data,
            io,
            guests,
            clients: AwsClients::new(),
            files: Arc::default(),
            plugin_settings: Mutex::default(),
            plugins: Mutex::default(),
            local: Mutex::default(),
        }
    }

    pub(super) fn clients(&self) -> &AwsClients {
        &self.clients
    }

    /// For an engine that is not made yet.
    pub(super) fn set_plugin_instances(&self, instances: u32) {
        let settings = self.plugin_settings.lock();
        settings.unwrap_or_else(PoisonError::into_inner).instances = instances;
    }

    /// Where whatever waits runs.
    pub(super) fn io(&self) -> &Handle {
        &self.io
    }

    pub(super) async fn target(self: &Arc<Self>, place: &Place) -> Result<AwsTarget, AppError> {
        let endpoint = match &place.endpoint {
            Endpoint::Aws => None,
            Endpoint::Url(url) => Some(url.to_string()),
            Endpoint::Local => Some(self.local_url().await?),
        };
        Ok(AwsTarget {
            region: place.region.as_deref().map(str::to_owned),
            endpoint,
        })
    }

    pub(super) async fn local_url(self: &Arc<Self>) -> Result<String, AppError> {
        let builder = Arc::clone(self);
        // Finding or starting the endpoint blocks.
        let url = spawn_blocking(move || {
            let mut local = builder.local.lock().unwrap_or_else(PoisonError::into_inner);
            let local = match &mut *local {
                Some(local) => local,
                none => none.insert(shardwright_local::attach(builder.data.path())?),
            };
            Ok(local.url())
        });
        url.await.unwrap_or_else(|error| Err(cut_off(error)))
    }

    /// Builds all of a pipeline.
    pub(super) async fn whole(
        self: &Arc<Self>,
        pipeline: Arc<Pipeline>,
    ) -> Result<Whole, AppError> {
        let leases = &pipeline.source.leases;
        let target = self.target(&leases.place).await?;
        let table = self.clients.lease_table(&target, leases.table.as_str());
        let table = Arc::new(table.await?);
        let target = self.target(&pipeline.source.place).await?;
        let stream = pipeline.source.stream.as_str();
        let source = Arc::new(self.clients.stream_source(&target, stream).await?);
        Ok(Whole {
            generation: self.generation(pipeline, None).await?,
            source,
            table,
        })
    }

    /// As [`whole`](Self::whole), and the stream is there to be read: a change that names a wrong one is refused (HR-2),
    /// where at the start of a process it is told and nothing runs.
    pub(super) async fn readable(
        self: &Arc<Self>,
        pipeline: Arc<Pipeline>,
    ) -> Result<Whole, AppError> {
        let name = pipeline.name.to_string();
        let whole = self.whole(pipeline).await?;
        match whole.source.list_shards(ShardListing::All).await {
            Err(source) if matches!(source.kind, ErrorKind::Fatal | ErrorKind::NotFound) => {
                Err(AppError::Stream {
                    pipeline: name,
                    source,
                })
            }
            // What is only away for now is waited for once it runs.
            Ok(_) | Err(_) => Ok(whole),
        }
    }

    pub(super) fn start(&self, whole: &Whole, worker: &WorkerId) -> RunningPipeline {
        let parts = PipelineParts {
            source: Arc::clone(&whole.source),
            generation: whole.generation.clone(),
            io: self.io.clone(),
            guests: self.guests.clone(),
            clock: Arc::new(SystemClock),
        };
        RunningPipeline::start(parts, Arc::clone(&whole.table), worker.clone())
    }

    /// Builds a generation. What has not changed since the one before, a plugin or a sink, is taken over from it.
    pub(super) async fn generation(
        self: &Arc<Self>,
        pipeline: Arc<Pipeline>,
        before: Option<&GenerationParts>,
    ) -> Result<GenerationParts, AppError> {
        let mut plugins = Vec::new();
        for step in 0..pipeline.steps().len() {
            plugins.push(self.plugin(&pipeline, step, before).await?);
        }
        let mut sinks = Vec::new();
        for (name, sink) in &pipeline.sinks {
            let same = before.and_then(|before| {
                let mut known = before.pipeline.sinks.iter().zip(&before.sinks);
                known.find(|((known, old), _)| *known == name && *old == sink)
            });
            sinks.push(match same {
                Some((_, sink)) => Arc::clone(sink),
                None => self.sink(&pipeline, sink).await?,
            });
        }
        let target = &pipeline.on_failure.dead_letter;
        let same = before.filter(|before| before.pipeline.on_failure.dead_letter == *target);
        let dead_letters = match same {
            Some(before) => Arc::clone(&before.dead_letters),
            None => self.dead_letters(&pipeline),
        };
        Ok(GenerationParts {
            pipeline,
            plugins,
            sinks,
            dead_letters,
        })
    }

    fn dead_letters(&self, pipeline: &Pipeline) -> Arc<dyn DeadLetterSink> {
        let target = match &pipeline.on_failure.dead_letter {
            DeadLetterTarget::File(target) => target.clone(),
            DeadLetterTarget::DataDirectory => {
                FileTarget::Folder(self.data.path().join("dead-letters"))
            }
        };
        Arc::new(DeadLetterFile::new(
            Arc::clone(&self.files),
            &target,
            pipeline.name.as_str(),
        ))
    }

    async fn sink(
        self: &Arc<Self>,
        pipeline: &Pipeline,
        sink: &pipeline::Sink,
    ) -> Result<Arc<dyn Sink>, AppError> {
        Ok(match sink {
            pipeline::Sink::Stdout(format) => Arc::new(StdoutSink::new(*format)),
            pipeline::Sink::File { target, format } => Arc::new(FileSink::open(
                &self.files,
                target,
                pipeline.name.as_str(),
                *format,
            )?),
            pipeline::Sink::Kinesis {
                stream,
                place,
                order,
            } => {
                let target = self.target(place).await?;
                Arc::new(self.clients.sink(&target, stream.as_str(), *order).await?)
            }
        })
    }

    /// The engine, made when the first plugin needs it.
    pub(super) fn plugin_runtime(&self) -> Result<Arc<WasmtimeRuntime>, AppError> {
        let mut plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*plugins {
            return Ok(Arc::clone(runtime));
        }
        let settings = self
            .plugin_settings
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let runtime = Arc::new(WasmtimeRuntime::new(&settings)?);
        Ok(Arc::clone(plugins.insert(runtime)))
    }

    async fn plugin(
        &self,
        pipeline: &Pipeline,
        number: usize,
        before: Option<&GenerationParts>,
    ) -> Result<Arc<dyn PreparedPlugin>, AppError> {
        let bytes = plugin_bytes(pipeline, number).await?;
        let plugin = match before.and_then(|before| unchanged(before, pipeline, number, &bytes)) {
            Some(plugin) => plugin,
            None => self.prepare(pipeline, number, bytes).await?,
        };
        check_outputs(pipeline, number, plugin.as_ref())?;
        Ok(plugin)
    }

    async fn prepare(
        &self,
        pipeline: &Pipeline,
        number: usize,
        bytes: Bytes,
    ) -> Result<Arc<dyn PreparedPlugin>, AppError> {
        let step = &pipeline.steps()[number];
        let spec = PluginSpec {
            label: format!("{}/{}", pipeline.name, number + 1).into(),
            share: pipeline.name.as_str().into(),
            bytes,
            config: Arc::clone(&step.config),
            limits: PluginLimits {
                memory: step.limits.memory,
                time: step.limits.time,
                wait: step.limits.wait,
            },
            instances: u32::from(pipeline.flow.lanes),
        };
        let runtime = self.plugin_runtime()?;
        // A guest runs where guests run.
        let prepared = self
            .guests
            .spawn(async move { PluginRuntime::prepare(&*runtime, spec).await });
        let refused = |source: PrepareError| AppError::Plugin {
            pipeline: pipeline.name.to_string(),
            step: number + 1,
            plugin: step.plugin.to_string(),
            source,
        };
        prepared.await.map_err(cut_off)?.map_err(refused)
    }
}

/// The plugin that a step has already, if neither its bytes nor what it is given have changed.
fn unchanged(
    before: &GenerationParts,
    pipeline: &Pipeline,
    number: usize,
    bytes: &Bytes,
) -> Option<Arc<dyn PreparedPlugin>> {
    let (old, new) = (
        before.pipeline.steps().get(number)?,
        pipeline.steps().get(number)?,
    );
    let plugin = before.plugins.get(number)?;
    let is_same =
        old.config == new.config && old.limits == new.limits && plugin.digest() == digest_of(bytes);
    is_same.then(|| Arc::clone(plugin))
}

async fn plugin_bytes(pipeline: &Pipeline, number: usize) -> Result<Bytes, AppError> {
    match &pipeline.steps()[number].plugin {
        PluginRef::Builtin(name) => match builtin(name) {
            Some(found) => Ok(Bytes::from_static(found.bytes)),
            None => Err(AppError::NoBuiltin {
                pipeline: pipeline.name.to_string(),
                step: number + 1,
                name: name.to_string(),
                known: BUILTINS.iter().map(|builtin| builtin.name).collect(),
            }),
        },
        PluginRef::File(path) => {
            read(path)
                .await
                .map(Bytes::from)
                .map_err(|source| AppError::PluginFile {
                    pipeline: pipeline.name.to_string(),
                    step: number + 1,
                    path: path.clone(),
                    source,
                })
        }
    }
}

async fn read(path: &Path) -> io::Result<Vec<u8>> {
    let path = path.to_owned();
    let read = move || {
        let found = std::fs::metadata(&path)?;
        if !found.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        if found.len() > PLUGIN_BYTES_MAX {
            let size = found.len();
            let why = format!("it has {size} bytes, and a plugin may have {PLUGIN_BYTES_MAX}");
            return Err(io::Error::other(why));
        }
        std::fs::read(path)
    };
    spawn_blocking(read).await.map_err(io::Error::other)?
}

/// A task that prepares something panicked, or the process stops.
fn cut_off(error: JoinError) -> AppError {
    AppError::Threads(io::Error::other(error))
}

/// A pipeline that routes an output which its plugin does not have is a mistake that would otherwise never show.
fn check_outputs(
    pipeline: &Pipeline,
    number: usize,
    plugin: &dyn PreparedPlugin,
) -> Result<(), AppError> {
    let step = &pipeline.steps()[number];
    let Some(known) = &plugin.description().outputs else {
        return Ok(());
    };
    let unknown = step.outputs.keys().find(|name| {
        name.as_str() != pipeline::DEFAULT_OUTPUT
            && !known.iter().any(|output| output == name.as_str())
    });
    match unknown {
        None => Ok(()),
        Some(output) => Err(AppError::NoOutput {
            pipeline: pipeline.name.to_string(),
            step: number + 1,
            plugin: step.plugin.to_string(),
            output: output.to_string(),
            known: known.clone(),
        }),
    }
}
