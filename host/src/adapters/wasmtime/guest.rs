//! What the host keeps for one instance.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::console::Console;
use super::gate::Share;
use super::limits::{HOST_HANDLES, RANDOM_BYTES, REPLY_BYTES};
use super::memory_limit::MemoryLimit;
use super::meter::{Meter, is_over};
use super::v0_1::bindings::shardwright::plugin as contract;
use super::voice::{Level, Voice};
use crate::ports::PluginLimits;

/// The guest has used up its own time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the guest has used up its own time")]
pub(super) struct TimeUsedUp;

/// The host's side of a store.
pub(super) struct Guest {
    wasi: WasiCtx,
    handles: ResourceTable,
    memory: MemoryLimit,
    voice: Arc<Voice>,
    config: Arc<str>,
    origin: Arc<str>,
    pub(super) stderr: Console,
    pub(super) meter: Arc<Meter>,
    pub(super) share: Arc<Share>,
}

/// What all instances of a plugin are given.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) limits: PluginLimits,
    pub(super) config: Arc<str>,
    pub(super) voice: Arc<Voice>,
    pub(super) share: Arc<Share>,
}

/// A store for one instance: nothing of the host's environment, files or network is in it.
pub(super) fn store(engine: &Engine, given: &Given, origin: &str) -> Store<Guest> {
    let origin: Arc<str> = origin.into();
    let stdout = Console::new(Arc::clone(&given.voice), Arc::clone(&origin), Level::Info);
    let stderr = Console::new(Arc::clone(&given.voice), Arc::clone(&origin), Level::Warn);
    let wasi = WasiCtxBuilder::new()
        .stdout(stdout)
        .stderr(stderr.clone())
        .max_random_size(RANDOM_BYTES)
        .build();
    let mut handles = ResourceTable::new();
    handles.set_max_capacity(HOST_HANDLES);
    let guest = Guest {
        wasi,
        handles,
        memory: MemoryLimit::new(given.limits.memory),
        voice: Arc::clone(&given.voice),
        config: Arc::clone(&given.config),
        origin,
        stderr,
        meter: Arc::default(),
        share: Arc::clone(&given.share),
    };
    let mut store = Store::new(engine, guest);
    store.limiter(|guest| &mut guest.memory);
    store.set_hostcall_fuel(REPLY_BYTES as usize);
    store.set_max_component_handles(HOST_HANDLES);
    preempt(&mut store, given.limits.time);
    store
}

/// Makes the guest give way at every tick, and end when it has used up its time.
fn preempt(store: &mut Store<Guest>, limit: Duration) {
    let meter = Arc::clone(&store.data().meter);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        if is_over(meter.tick(), limit) {
            return Err(wasmtime::Error::new(TimeUsedUp));
        }
        Ok(UpdateDeadline::Yield(1))
    });
}

/// Everything a component may import without a grant.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    contract::log::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest: &mut Guest| guest)?;
    contract::metrics::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest: &mut Guest| guest)?;
    contract::config::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest: &mut Guest| guest)?;
    Ok(linker)
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.handles,
        }
    }
}

impl contract::log::Host for Guest {
    fn write(&mut self, level: contract::log::Level, message: String) {
        let level = match level {
            contract::log::Level::Debug => Level::Debug,
            contract::log::Level::Info => Level::Info,
            contract::log::Level::Warn => Level::Warn,
            contract::log::Level::Error => Level::Error,
        };
        self.voice.say(level, &self.origin, &message);
    }
}

impl contract::metrics::Host for Guest {
    fn count(&mut self, name: String, by: u64) {
        self.voice.count(&name, by);
    }
}

impl contract::config::Host for Guest {
    fn get(&mut self) -> String {
        (*self.config).to_owned()
    }
}
