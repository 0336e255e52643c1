//! Why something did not start, or could not be stopped.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::adapters::InvalidEngine;
use crate::data_dir::DataDirError;
use crate::ports::{PortError, PrepareError};
use crate::runtime::PipelineEnd;

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
    /// A stream that cannot be read.
    #[error("pipeline `{pipeline}`: {source}")]
    Stream {
        /// The pipeline.
        pipeline: String,
        /// Why.
        source: PortError,
    },
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
    /// A step fails everything, and somebody waits for the end.
    #[error(
        "pipeline `{pipeline}` is paused: step {step} fails everything: {why}; what is left is delivered again by the next run"
    )]
    Paused {
        /// The pipeline.
        pipeline: String,
        /// The step, from 1.
        step: usize,
        /// How.
        why: String,
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
