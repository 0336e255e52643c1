//! Running plugins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shardwright_core::{ColumnsWanted, FlushReason, InvalidReply, Messages, Reply};

use super::PortFuture;

/// What a plugin may use. Every bound is set before a call, and reaching one is an error that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PluginLimits {
    /// All linear memories of one instance together, bytes.
    pub memory: u64,
    /// The guest's own time in one call.
    pub time: Duration,
    /// The time one call may spend in host calls.
    pub wait: Duration,
}

/// A plugin as a pipeline names it.
#[derive(Clone, Debug)]
pub struct PluginSpec {
    /// Where it is used, for logs and errors: `pipeline/step`.
    pub label: Arc<str>,
    /// Whose processor time it uses: guests of different shares get as much of it as each other, however many they are.
    pub share: Arc<str>,
    /// The component.
    pub bytes: Bytes,
    /// Its configuration, JSON text.
    pub config: Arc<str>,
    /// Its bounds.
    pub limits: PluginLimits,
    /// How many instances are going to live at once: lanes times shards, as far as is known.
    pub instances: u32,
}

/// What a plugin says of itself, or what is known of one that does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its name; the digest's first digits if it has none.
    pub name: String,
    /// Its version, or empty.
    pub version: String,
    /// The JSON Schema of its configuration.
    pub config_schema: Option<String>,
    /// Its outputs; none: it does not say, and any is taken.
    pub outputs: Option<Vec<String>>,
    /// The columns it reads.
    pub columns: ColumnsWanted,
    /// `batch-handler` or `message-handler`.
    pub handler: &'static str,
}

/// Why a plugin cannot be used. Nothing that ran before is touched (HR-2).
#[derive(Clone, Debug, thiserror::Error)]
pub enum PrepareError {
    /// The bytes are not a component.
    #[error("it is not a WebAssembly component: {why}")]
    NotAComponent {
        /// What the compiler says.
        why: String,
    },
    /// The component exports none or both of the two handlers, or one of another version.
    #[error("it has no handler we know: {why}")]
    World {
        /// What was found and what is needed.
        why: String,
    },
    /// It imports something that is not granted.
    #[error("it imports {imports:?}, which is not granted")]
    Imports {
        /// The imports, by their full names.
        imports: Vec<String>,
    },
    /// It refuses its configuration.
    #[error("it refuses its configuration: {}", problems.join("; "))]
    Config {
        /// Each with the JSON pointer it is about.
        problems: Vec<String>,
    },
    /// It does not fit the pool.
    #[error("{what}; raise {setting}")]
    Exhausted {
        /// What is used up.
        what: String,
        /// The setting that bounds it.
        setting: &'static str,
    },
    /// It failed while it started.
    #[error("it failed while it started: {0}")]
    Start(#[source] CallError),
}

/// Why a call gave no reply. The instance is lost with all that it held, and a fresh one takes its place.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The guest trapped.
    #[error("it trapped: {trap}{}", stderr_suffix(stderr))]
    Trap {
        /// The trap and where.
        trap: String,
        /// The end of what it wrote to stderr.
        stderr: String,
    },
    /// It used up its own time.
    #[error(
        "it ran for more than {limit:?} (limits.time){}",
        stderr_suffix(stderr)
    )]
    Time {
        /// The bound.
        limit: Duration,
        /// The end of what it wrote to stderr.
        stderr: String,
    },
    /// It waited too long in host calls.
    #[error(
        "it waited for more than {limit:?} in host calls (limits.wait){}",
        stderr_suffix(stderr)
    )]
    Wait {
        /// The bound.
        limit: Duration,
        /// The end of what it wrote to stderr.
        stderr: String,
    },
    /// It asked for more memory than it may have.
    #[error(
        "it asked for {asked} bytes of memory, and may have {limit} (limits.memory){}",
        stderr_suffix(stderr)
    )]
    Memory {
        /// What it would have had.
        asked: u64,
        /// The bound.
        limit: u64,
        /// The end of what it wrote to stderr.
        stderr: String,
    },
    /// It asked for more or larger tables than it may have.
    #[error(
        "it asked for tables of {asked} elements, and may have {limit}{}",
        stderr_suffix(stderr)
    )]
    Tables {
        /// What it would have had: elements of one table, or of all together.
        asked: u64,
        /// The bound on that.
        limit: u64,
        /// The end of what it wrote to stderr.
        stderr: String,
    },
    /// Its reply is larger than the host takes.
    #[error("its reply is larger than {limit} bytes")]
    ReplySize {
        /// The bound, bytes.
        limit: u64,
    },
    /// Its reply does not fit the batch.
    #[error("its reply is invalid: {0}")]
    Reply(#[from] InvalidReply),
    /// No instance could be made.
    #[error("{what}; raise {setting}")]
    Exhausted {
        /// What is used up.
        what: String,
        /// The setting that bounds it.
        setting: &'static str,
    },
}

fn stderr_suffix(stderr: &str) -> String {
    if stderr.is_empty() {
        String::new()
    } else {
        format!("; its stderr ends: {}", stderr.trim_end())
    }
}

/// Turns components into plugins.
pub trait PluginRuntime: Send + Sync {
    /// Compiles (or finds the compiled form), checks world and imports, instantiates once, describes and configures.
    /// It runs off the async threads, and may take seconds.
    fn prepare(
        &self,
        spec: PluginSpec,
    ) -> PortFuture<'_, Result<Arc<dyn PreparedPlugin>, PrepareError>>;
}

/// One generation of a plugin: compiled, checked, ready to make instances.
pub trait PreparedPlugin: Send + Sync {
    /// What it says of itself.
    fn description(&self) -> &Description;

    /// The digest of its bytes, `sha256:…`.
    fn digest(&self) -> &str;

    /// What its instances have counted so far, by name. A runtime whose plugins cannot count has none.
    fn counters(&self) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }

    /// Makes an instance, configured. `origin` is for its log lines: `shard/lane`.
    fn instantiate<'a>(
        &'a self,
        origin: &'a str,
    ) -> PortFuture<'a, Result<Box<dyn PluginInstance>, CallError>>;
}

/// One live instance: a store of its own, used by one lane and step.
pub trait PluginInstance: Send {
    /// Handles a batch; the outer error loses the instance, the inner failure stands for every message.
    ///
    /// The reply is not yet checked against what is held (`Reply::check`). If the future is dropped, the instance must
    /// be dropped too.
    fn handle<'a>(
        &'a mut self,
        messages: &'a Messages,
    ) -> PortFuture<'a, Result<Result<Reply, shardwright_core::Failure>, CallError>>;

    /// Asks for what it still has. A plugin without `batch-flush` answers with an empty reply.
    fn flush(
        &mut self,
        reason: FlushReason,
    ) -> PortFuture<'_, Result<Result<Reply, shardwright_core::Failure>, CallError>>;
}
