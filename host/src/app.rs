//! Wiring: the one place that names adapters. It builds pipelines out of what the YAML says, starts them, reloads them,
//! and stops them in order.

mod build;
mod error;
mod pipelines;
mod plan;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shardwright_core::WorkerId;
use shardwright_core::pipeline::{Pipeline, Place};
use tokio::runtime::Runtime;

use crate::adapters::{AwsClients, AwsTarget};
use crate::data_dir::DataDir;
use crate::limits::{DRAIN_LIMIT, GUEST_NICE, IO_THREADS};
use crate::ports::{Description, PluginLimits, PluginSpec, Sink};
use crate::priority;
use crate::runtime::RunningPipeline;

use build::Builder;
pub use error::AppError;
pub use pipelines::Pipelines;

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
    builder: Arc<Builder>,
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
            // A guest that spins is not to delay what reads, renews leases and delivers.
            .on_thread_start(|| priority::lower(GUEST_NICE))
            .event_interval(1)
            .global_queue_interval(1)
            .enable_all()
            .build()
            .map_err(AppError::Threads)?;
        let builder = Builder::new(data.clone(), io.handle().clone(), guests.handle().clone());
        Ok(Self {
            data,
            io,
            guests,
            builder: Arc::new(builder),
        })
    }

    /// Sets how many plugin instances may live at once; to be called before the first plugin is loaded.
    pub fn set_plugin_instances(&mut self, instances: u32) {
        self.builder.set_plugin_instances(instances);
    }

    /// The runtime for whatever waits.
    pub fn io(&self) -> &Runtime {
        &self.io
    }

    /// The AWS clients of the process.
    pub fn clients(&self) -> &AwsClients {
        self.builder.clients()
    }

    /// The data directory.
    pub fn data(&self) -> &DataDir {
        &self.data
    }

    /// Where a pipeline's requests go. The local endpoint is found, or started in this process, on first use.
    pub fn target(&mut self, place: &Place) -> Result<AwsTarget, AppError> {
        self.io.block_on(self.builder.target(place))
    }

    /// The URL of the data directory's endpoint.
    pub fn local_url(&mut self) -> Result<String, AppError> {
        self.io.block_on(self.builder.local_url())
    }

    /// Builds every pipeline, and only then starts them, so that a fault in one leaves nothing half begun.
    pub fn start(
        &self,
        pipelines: Vec<Pipeline>,
        worker: &WorkerId,
    ) -> Result<Pipelines, AppError> {
        let built = self.io.block_on(async {
            let mut built = Vec::new();
            for pipeline in pipelines {
                built.push(self.builder.whole(Arc::new(pipeline)).await?);
            }
            Ok::<_, AppError>(built)
        })?;
        Ok(Pipelines::start(Arc::clone(&self.builder), worker, built))
    }

    /// Starts a pipeline whose every emission goes to `sink`, whatever its YAML says.
    pub fn start_with_sink(
        &mut self,
        pipeline: Pipeline,
        worker: &WorkerId,
        sink: &Arc<dyn Sink>,
    ) -> Result<RunningPipeline, AppError> {
        let mut whole = self.io.block_on(self.builder.whole(Arc::new(pipeline)))?;
        for known in &mut whole.generation.sinks {
            *known = Arc::clone(sink);
        }
        Ok(self.builder.start(&whole, worker))
    }

    /// Ends the threads without waiting for what nobody waits for any more, such as the compilation of a plugin.
    pub fn close(self) {
        self.guests.shutdown_background();
        self.io.shutdown_background();
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
        let runtime = self.builder.plugin_runtime()?;
        let inspect = async {
            let imports = runtime.imports(bytes).await?;
            let plugin = runtime.describe(spec).await?;
            Ok((imports, plugin))
        };
        let (imports, plugin) = self.guests.block_on(inspect).map_err(AppError::Inspect)?;
        Ok(Inspection {
            description: plugin.description().clone(),
            digest: plugin.digest().to_owned(),
            size,
            imports,
        })
    }

    /// Stops pipelines in good order, within [`DRAIN_LIMIT`]; what has not stopped by then is cut off.
    pub fn stop(&self, mut pipelines: Vec<RunningPipeline>) -> Result<(), AppError> {
        for pipeline in &pipelines {
            pipeline.drain();
        }
        let all = async {
            let mut result = Ok(());
            for pipeline in &mut pipelines {
                let ended = pipeline.ended().await.map_err(|source| AppError::Ended {
                    pipeline: pipeline.name().to_owned(),
                    source,
                });
                result = result.and(ended);
            }
            result
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
