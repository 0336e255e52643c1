//! The engine that all plugins of the process share, and the thread that pre-empts them.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::limits::{
    CORE_INSTANCES_EACH, INSTANCE_METADATA, MAX_INSTANCES, MEMORIES_EACH, MEMORY_RESERVATION,
    TABLE_ELEMENTS, TABLES_EACH, TICK,
};

/// No engine can be made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum InvalidEngine {
    /// The pool would not fit the address space.
    #[error("{instances} plugin instances are out of range; it is 1 to {most}")]
    Instances {
        /// What was asked for.
        instances: u32,
        /// The most there may be.
        most: u32,
    },
    /// The machine refuses: most often a limit on address space (`ulimit -v`).
    #[error("no room for a pool of {instances} plugin instances: {why}")]
    Refused {
        /// What was asked for.
        instances: u32,
        /// What wasmtime says.
        why: String,
    },
    /// The thread that pre-empts guests cannot be started.
    #[error("no thread for pre-empting plugins: {why}")]
    Ticker {
        /// What the system says.
        why: String,
    },
}

/// What a pool for `instances` plugin instances holds.
///
/// There is one engine, and so one pool, in a process: its limits are fixed when it is made, and a component compiled
/// for one engine cannot run in another. So the pool is made large at once, for any mix of plugins. What is reserved is
/// address space, of which there is plenty; memory is taken only when a guest touches it, and given back when its
/// instance goes (instances are long-lived, so keeping their pages warm would buy nothing).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pool {
    pub(super) instances: u32,
}

impl Pool {
    pub(super) fn core_instances(self) -> u32 {
        self.instances * CORE_INSTANCES_EACH
    }

    pub(super) fn memories(self) -> u32 {
        self.instances * MEMORIES_EACH
    }

    pub(super) fn tables(self) -> u32 {
        self.instances * TABLES_EACH
    }

    fn config(self) -> PoolingAllocationConfig {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(self.instances)
            .total_core_instances(self.core_instances())
            .total_memories(self.memories())
            .total_tables(self.tables())
            .total_stacks(self.instances)
            .table_elements(TABLE_ELEMENTS)
            .max_tables_per_module(TABLES_EACH)
            .max_component_instance_size(INSTANCE_METADATA)
            .max_core_instance_size(INSTANCE_METADATA)
            .max_memory_size(MEMORY_RESERVATION as usize);
        pool
    }
}

/// Makes the engine. Two processes of one build and machine make engines that understand each other's compiled code.
pub(super) fn build(instances: u32) -> Result<Engine, InvalidEngine> {
    if instances == 0 || instances > MAX_INSTANCES {
        return Err(InvalidEngine::Instances {
            instances,
            most: MAX_INSTANCES,
        });
    }
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .memory_reservation(MEMORY_RESERVATION)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(
            Pool { instances }.config(),
        ));
    Engine::new(&config).map_err(|error| InvalidEngine::Refused {
        instances,
        why: format!("{error:#}"),
    })
}

/// Advances the engine's epoch until it is dropped.
#[derive(Debug)]
pub(super) struct Ticker {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(super) fn start(engine: &Engine) -> Result<Self, InvalidEngine> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let stopped = Arc::clone(&stop);
        let engine = engine.clone();
        let thread = std::thread::Builder::new()
            .name("plugin-ticker".into())
            .spawn(move || tick(&engine, &stopped))
            .map_err(|error| InvalidEngine::Ticker {
                why: error.to_string(),
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

fn tick(engine: &Engine, (stop, changed): &(Mutex<bool>, Condvar)) {
    let mut stopped = stop.lock().unwrap_or_else(PoisonError::into_inner);
    while !*stopped {
        let (guard, _) = changed
            .wait_timeout(stopped, TICK)
            .unwrap_or_else(PoisonError::into_inner);
        stopped = guard;
        engine.increment_epoch();
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        let (stop, changed) = &*self.stop;
        *stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It holds nothing that another thread waits for, and a panic in it has been printed already.
            let _ = thread.join();
        }
    }
}
