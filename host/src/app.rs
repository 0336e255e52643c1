//! Wiring: the one place that names adapters. It builds pipelines out of what the YAML says, starts them, and stops them
//! in order.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shardwright_core::WorkerId;
use shardwright_core::pipeline::{
    self, DeadLetterTarget, Endpoint, FileTarget, Pipeline, Place, PluginRef,
};
use tokio::runtime::Runtime;

use crate::adapters::{
    AwsClients, AwsTarget, DeadLetterFile, FileSink, InvalidEngine, LineFiles, StdoutSink,
    WasmtimeRuntime, WasmtimeSettings,
};
use crate::builtin::{BUILTINS, builtin};
use crate::data_dir::{DataDir, DataDirError};
use crate::limits::{DRAIN_LIMIT, IO_THREADS};
use crate::ports::{
    Description, LeaseTable, PluginLimits, PluginRuntime, PluginSpec, PortError, PrepareError,
    PreparedPlugin, Sink,
};
use crate::runtime::{PipelineEnd, PipelineParts, RunningPipeline};

/// Why something did not start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The local endpoint.
    #[error("the local endpoint: {0}")]
    Local(#[from] shardwright_local::AttachError),
    /// AWS, or what stands in for it.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The plugin engine.
    #[error(transparent)]
    Engine(#[from] InvalidEngine),
    /// Threads.
    #[error("no threads can be had: {0}")]
    Threads(#[source] io::Error),
    /// A plugin's file.
    #[error("pipeline `{pipeline}`, step {step}: the plugin {} cannot be read: {source}", path.display())]
    PluginFile {
        /// The pipeline.
        pipeline: String,
        /// The step, from 1.
        step: usize,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A plugin that the binary does not carry.
    #[error("pipeline `{pipeline}`, step {step}: there is no `builtin:{name}`; there are {}", known.join(", "))]
    NoBuiltin {
        /// The pipeline.
        pipeline: String,
        /// The step, from 1.
        step: usize,
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// A plugin that cannot be used.
    #[error("pipeline `{pipeline}`, step {step}: the plugin {plugin} cannot be used: {source}")]
    Plugin {
        /// The pipeline.
        pipeline: String,
        /// The step, from 1.
        step: usize,
        /// The plugin.
        plugin: String,
        /// Why.
        source: PrepareError,
    },
    /// An output that a plugin does not have.
    #[error("pipeline `{pipeline}`, step {step}: the plugin {plugin} has no output `{output}`; it has {}", known.join(", "))]
    NoOutput {
        /// The pipeline.
        pipeline: String,
        /// The step, from 1.
        step: usize,
        /// The plugin.
        plugin: String,
        /// What is routed.
        output: String,
        /// What it has.
        known: Vec<String>,
    },
    /// A component that cannot be tried out.
    #[error(transparent)]
    Inspect(PrepareError),
    /// A pipeline ended by itself.
    #[error("pipeline `{pipeline}`: {source}")]
    Ended {
        /// The pipeline.
        pipeline: String,
        /// Why.
        source: PipelineEnd,
    },
    /// Not everything could be stopped in order.
    #[error(
        "not everything was done after {limit:?}: what was begun and not checkpointed is delivered again by the next run"
    )]
    NotDrained {
        /// How long was waited.
        limit: Duration,
    },
}

/// What a component is.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// What it says of itself.
    pub description: Description,
    /// The digest of its bytes.
    pub digest: String,
    /// Bytes.
    pub size: usize,
    /// What it imports, by full names.
    pub imports: Vec<String>,
}

/// A component that is only looked at gets what a step gets by default.
const INSPECT_LIMITS: PluginLimits = PluginLimits {
    memory: 64 << 20,
    time: Duration::from_millis(200),
    wait: Duration::from_secs(30),
};

/// What a process runs its pipelines with.
pub struct App {
    data: DataDir,
    /// Leases, reads and deliveries wait here; guests never do.
    io: Runtime,
    /// Guests run here, and the shells that feed them.
    guests: Runtime,
    clients: AwsClients,
    plugin_settings: WasmtimeSettings,
    plugins: Option<WasmtimeRuntime>,
    files: Arc<LineFiles>,
    local: Option<shardwright_local::Attachment>,
}

impl App {
    /// Makes the threads; nothing is connected yet.
    pub fn new(data: DataDir) -> Result<Self, AppError> {
        let io = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(IO_THREADS)
            .thread_name("shardwright-io")
            .enable_all()
            .build()
            .map_err(AppError::Threads)?;
        let guests = tokio::runtime::Builder::new_multi_thread()
            .thread_name("shardwright-guest")
            // A poll may last for a tick of the engine here. tokio looks at timers after 61 polls, and at what other
            // threads have woken after as many or more: a second or two, beside guests that spin.
            .event_interval(1)
            .global_queue_interval(1)
            .enable_all()
            .build()
            .map_err(AppError::Threads)?;
        Ok(Self {
            data,
            io,
            guests,
            clients: AwsClients::new(),
            plugin_settings: WasmtimeSettings::default(),
            plugins: None,
            files: Arc::default(),
            local: None,
        })
    }

    /// Sets how many plugin instances may live at once; to be called before the first plugin is loaded.
    pub fn set_plugin_instances(&mut self, instances: u32) {
        self.plugin_settings.instances = instances;
    }

    /// The runtime for whatever waits.
    pub fn io(&self) -> &Runtime {
        &self.io
    }

    /// The AWS clients of the process.
    pub fn clients(&self) -> &AwsClients {
        &self.clients
    }

    /// The data directory.
    pub fn data(&self) -> &DataDir {
        &self.data
    }

    /// Where a pipeline's requests go. The local endpoint is found, or started in this process, on first use.
    pub fn target(&mut self, place: &Place) -> Result<AwsTarget, AppError> {
        let endpoint = match &place.endpoint {
            Endpoint::Aws => None,
            Endpoint::Url(url) => Some(url.to_string()),
            Endpoint::Local => Some(self.local_url()?),
        };
        Ok(AwsTarget {
            region: place.region.as_deref().map(str::to_owned),
            endpoint,
        })
    }

    /// The URL of the data directory's endpoint.
    pub fn local_url(&mut self) -> Result<String, AppError> {
        let local = match &mut self.local {
            Some(local) => local,
            None => self
                .local
                .insert(shardwright_local::attach(self.data.path())?),
        };
        Ok(local.url())
    }

    /// Builds every pipeline, and only then starts them, so that a fault in one leaves nothing half begun.
    pub fn start(
        &mut self,
        pipelines: Vec<Pipeline>,
        worker: &WorkerId,
    ) -> Result<Vec<RunningPipeline>, AppError> {
        let mut built = Vec::new();
        for pipeline in pipelines {
            let pipeline = Arc::new(pipeline);
            let table = self.lease_table(&pipeline)?;
            built.push((self.build(pipeline)?, table));
        }
        let start = |(parts, table): (_, Arc<dyn LeaseTable>)| {
            RunningPipeline::start(parts, table, worker.clone())
        };
        Ok(built.into_iter().map(start).collect())
    }

    fn build(&mut self, pipeline: Arc<Pipeline>) -> Result<PipelineParts, AppError> {
        let target = self.target(&pipeline.source.place)?;
        let source = self.io.block_on(
            self.clients
                .stream_source(&target, pipeline.source.stream.as_str()),
        )?;
        let mut plugins = Vec::new();
        for step in 0..pipeline.steps().len() {
            plugins.push(self.prepare(&pipeline, step)?);
        }
        let mut sinks = Vec::new();
        for sink in pipeline.sinks.values() {
            sinks.push(self.sink(&pipeline, sink)?);
        }
        let dead_letters = self.dead_letters(&pipeline);
        Ok(PipelineParts {
            source: Arc::new(source),
            plugins,
            sinks,
            dead_letters,
            io: self.io.handle().clone(),
            guests: self.guests.handle().clone(),
            pipeline,
        })
    }

    fn dead_letters(&self, pipeline: &Pipeline) -> Arc<DeadLetterFile> {
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

    /// Starts a pipeline whose every emission goes to `sink`, whatever its YAML says.
    pub fn start_with_sink(
        &mut self,
        pipeline: Pipeline,
        worker: &WorkerId,
        sink: &Arc<dyn Sink>,
    ) -> Result<RunningPipeline, AppError> {
        let pipeline = Arc::new(pipeline);
        let table = self.lease_table(&pipeline)?;
        let mut parts = self.build(pipeline)?;
        for known in &mut parts.sinks {
            *known = Arc::clone(sink);
        }
        Ok(RunningPipeline::start(parts, table, worker.clone()))
    }

    fn lease_table(&mut self, pipeline: &Pipeline) -> Result<Arc<dyn LeaseTable>, AppError> {
        let leases = &pipeline.source.leases;
        let target = self.target(&leases.place)?;
        Ok(Arc::new(self.io.block_on(
            self.clients.lease_table(&target, leases.table.as_str()),
        )?))
    }

    /// What a component is, by starting it; it is not configured.
    pub fn inspect(&mut self, label: &str, bytes: Bytes) -> Result<Inspection, AppError> {
        let size = bytes.len();
        let spec = PluginSpec {
            label: label.into(),
            share: label.into(),
            bytes: bytes.clone(),
            config: "{}".into(),
            limits: INSPECT_LIMITS,
            instances: 1,
        };
        let guests = self.guests.handle().clone();
        let runtime = self.plugin_runtime()?;
        let inspect = async {
            let imports = runtime.imports(bytes).await?;
            let plugin = runtime.describe(spec).await?;
            Ok((imports, plugin))
        };
        let (imports, plugin) = guests.block_on(inspect).map_err(AppError::Inspect)?;
        Ok(Inspection {
            description: plugin.description().clone(),
            digest: plugin.digest().to_owned(),
            size,
            imports,
        })
    }

    fn plugin_runtime(&mut self) -> Result<&WasmtimeRuntime, AppError> {
        // Taken out and put back, since a borrow cannot be given back from one branch and renewed in the other.
        let runtime = match self.plugins.take() {
            Some(runtime) => runtime,
            None => WasmtimeRuntime::new(&self.plugin_settings)?,
        };
        Ok(self.plugins.insert(runtime))
    }

    fn sink(
        &mut self,
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
                let target = self.target(place)?;
                Arc::new(
                    self.io
                        .block_on(self.clients.sink(&target, stream.as_str(), *order))?,
                )
            }
        })
    }

    fn prepare(
        &mut self,
        pipeline: &Pipeline,
        number: usize,
    ) -> Result<Arc<dyn PreparedPlugin>, AppError> {
        let step = &pipeline.steps()[number];
        let bytes = plugin_bytes(pipeline, number)?;
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
        let guests = self.guests.handle().clone();
        let prepare = PluginRuntime::prepare(self.plugin_runtime()?, spec);
        let plugin = guests
            .block_on(prepare)
            .map_err(|source| AppError::Plugin {
                pipeline: pipeline.name.to_string(),
                step: number + 1,
                plugin: step.plugin.to_string(),
                source,
            })?;
        check_outputs(pipeline, number, plugin.as_ref())?;
        Ok(plugin)
    }

    /// Stops pipelines in good order, within [`DRAIN_LIMIT`]; what has not stopped by then is cut off.
    pub fn stop(&self, mut pipelines: Vec<RunningPipeline>) -> Result<(), AppError> {
        for pipeline in &pipelines {
            pipeline.drain();
        }
        let all = async {
            for pipeline in &mut pipelines {
                pipeline.ended().await.map_err(|source| AppError::Ended {
                    pipeline: pipeline.name().to_owned(),
                    source,
                })?;
            }
            Ok(())
        };
        let result = self
            .io
            .block_on(async { tokio::time::timeout(DRAIN_LIMIT, all).await });
        match result {
            Ok(result) => result,
            Err(_elapsed) => {
                for pipeline in &pipelines {
                    pipeline.abort();
                }
                Err(AppError::NotDrained { limit: DRAIN_LIMIT })
            }
        }
    }
}

fn plugin_bytes(pipeline: &Pipeline, number: usize) -> Result<Bytes, AppError> {
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
            std::fs::read(path)
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
    let named: BTreeMap<_, _> = step
        .outputs
        .iter()
        .filter(|(name, _)| name.as_str() != pipeline::DEFAULT_OUTPUT)
        .collect();
    match named
        .keys()
        .find(|name| !known.iter().any(|output| output == name.as_str()))
    {
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
