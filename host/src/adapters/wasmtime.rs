//! Plugins, run by wasmtime.
//!
//! One engine and one pool of instances serve the process ([`engine`]). A component is compiled once and found again
//! by its digest ([`compile`], [`cache`]), checked by name ([`world`]) and started once before it is used
//! ([`prepared`]). Each instance lives in a store of its own ([`guest`]) and is called within its limits, when it is its
//! turn ([`call`], [`meter`], [`memory_limit`], [`gate`]); the words of the contract become core's at one edge ([`v0_1`]).

mod cache;
mod call;
mod compile;
mod console;
mod engine;
mod failure;
mod gate;
mod guest;
mod instance;
mod limits;
mod memory_limit;
mod meter;
mod prepared;
mod v0_1;
mod voice;
mod world;

use std::num::NonZero;
use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

pub use cache::CacheDir;
pub use engine::InvalidEngine;

use crate::limits::DEFAULT_PLUGIN_INSTANCES;
use crate::ports::{PluginRuntime, PluginSpec, PortFuture, PrepareError, PreparedPlugin};
use cache::Cache;
use compile::{Compiled, Compiler};
use engine::{Pool, Ticker};
use failure::POOL_SETTING;
use gate::Gate;
use guest::{Given, Guest};
use prepared::{Entry, Plugin, Prepared};
use voice::Voice;

/// What the operator sets for all plugins of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WasmtimeSettings {
    /// How many plugin instances may live at once, over all pipelines: lanes × shards × steps, and twice that while a
    /// plugin is reloaded. It takes address space (about 12 GiB each), and memory only when it is used.
    pub instances: u32,
    /// Where compiled components are kept.
    pub cache: CacheDir,
}

impl Default for WasmtimeSettings {
    fn default() -> Self {
        Self {
            instances: DEFAULT_PLUGIN_INSTANCES,
            cache: CacheDir::User,
        }
    }
}

/// Runs plugins with wasmtime.
///
/// `prepare` and the calls of instances must be awaited on a tokio runtime with its timer on. A guest gives way to the
/// other tasks of its thread at every tick of a few milliseconds; still, put guests on threads of their own.
pub struct WasmtimeRuntime {
    shared: Arc<Shared>,
    compiler: Compiler,
    linker: Linker<Guest>,
    pool: Pool,
}

/// What instances need for as long as they live.
struct Shared {
    engine: Engine,
    /// Without it the executor would decide whose guests run.
    gate: Arc<Gate>,
    /// Without its ticks no guest is pre-empted.
    _ticker: Ticker,
}

/// Whether a plugin is given its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Configured {
    Yes,
    No,
}

impl WasmtimeRuntime {
    /// Makes the engine and its pool. A cache directory that cannot be trusted is left alone, which a warning tells:
    /// components are then compiled at each start.
    pub fn new(settings: &WasmtimeSettings) -> Result<Self, InvalidEngine> {
        let instances = settings.instances;
        let engine = engine::build(instances)?;
        let linker = guest::linker(&engine).map_err(|error| InvalidEngine::Refused {
            instances,
            why: format!("{error:#}"),
        })?;
        let cache = Cache::open(&settings.cache).unwrap_or_else(|refused| {
            tracing::warn!(%refused, "compiled plugins are not kept");
            None
        });
        let ticker = Ticker::start(&engine)?;
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        Ok(Self {
            compiler: Compiler::new(engine.clone(), cache),
            shared: Arc::new(Shared {
                engine,
                gate: Gate::new(threads),
                _ticker: ticker,
            }),
            linker,
            pool: Pool { instances },
        })
    }

    /// What a component imports, by full names, granted or not.
    pub async fn imports(&self, bytes: bytes::Bytes) -> Result<Vec<String>, PrepareError> {
        let compiled = self.compiler.compile(bytes).await?;
        Ok(world::imports(&self.shared.engine, &compiled.component))
    }

    /// A plugin that is only looked at: it is started and described, and not configured.
    pub async fn describe(
        &self,
        spec: PluginSpec,
    ) -> Result<Arc<dyn PreparedPlugin>, PrepareError> {
        Ok(Arc::new(self.prepare(spec, Configured::No).await?))
    }

    async fn prepare(
        &self,
        spec: PluginSpec,
        configured: Configured,
    ) -> Result<Prepared, PrepareError> {
        let Compiled { component, digest } = self.compiler.compile(spec.bytes).await?;
        let engine = &self.shared.engine;
        let exports = world::exports(engine, &component)?;
        world::check_imports(engine, &component)?;
        self.check_room(&component, spec.instances)?;
        let world = |error: wasmtime::Error| PrepareError::World {
            why: format!("{error:#}"),
        };
        let linked = self.linker.instantiate_pre(&component).map_err(world)?;
        let mut entry = Entry::find(&linked, exports).map_err(world)?;
        if configured == Configured::No {
            entry.configure = None;
        }
        let given = Given {
            limits: spec.limits,
            config: spec.config,
            voice: Arc::new(Voice::new(spec.label)),
            share: Arc::new(self.shared.gate.share(&spec.share)),
        };
        let plugin = Plugin {
            linked,
            entry,
            given,
            _shared: Arc::clone(&self.shared),
        };
        Prepared::try_out(plugin, digest).await
    }

    /// Whether the pool is large enough for this plugin alone. What others use is seen when an instance is made.
    fn check_room(&self, component: &Component, instances: u32) -> Result<(), PrepareError> {
        let full = |what, needed: u64, has: u32| {
            if needed <= u64::from(has) {
                return Ok(());
            }
            Err(PrepareError::Exhausted {
                what: format!("{instances} instances need {needed} {what}, and the pool has {has}"),
                setting: POOL_SETTING,
            })
        };
        let each = |count: u32| u64::from(count) * u64::from(instances);
        full("places", each(1), self.pool.instances)?;
        let Some(needs) = component.resources_required() else {
            return Ok(());
        };
        full(
            "linear memories",
            each(needs.num_memories),
            self.pool.memories(),
        )?;
        full("tables", each(needs.num_tables), self.pool.tables())
    }
}

impl PluginRuntime for WasmtimeRuntime {
    fn prepare(
        &self,
        spec: PluginSpec,
    ) -> PortFuture<'_, Result<Arc<dyn PreparedPlugin>, PrepareError>> {
        Box::pin(async move {
            let prepared = self.prepare(spec, Configured::Yes).await?;
            Ok(Arc::new(prepared) as Arc<dyn PreparedPlugin>)
        })
    }
}
