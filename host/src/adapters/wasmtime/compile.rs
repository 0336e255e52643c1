//! From bytes to a component, off the async threads and at low priority.

use std::fmt::Write as _;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::cache::Cache;
use crate::limits::COMPILER_NICE;
use crate::ports::PrepareError;
use crate::priority;

/// The first bytes of a component; a core module has another version.
const COMPONENT_MAGIC: &[u8] = b"\0asm\x0d\0\x01\0";

/// Compiles components, one at a time: the larger toolchains take 400 MB and every core for ten seconds.
#[derive(Debug)]
pub(super) struct Compiler {
    engine: Engine,
    cache: Option<Arc<Cache>>,
    /// What another build of us, or another machine, cannot run.
    compatibility: u64,
    one_at_a_time: Semaphore,
}

/// A component and the digest of its bytes.
pub(super) struct Compiled {
    pub(super) component: Component,
    /// `sha256:…`
    pub(super) digest: String,
}

impl Compiler {
    pub(super) fn new(engine: Engine, cache: Option<Cache>) -> Self {
        let mut hasher = std::hash::DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Self {
            engine,
            cache: cache.map(Arc::new),
            compatibility: hasher.finish(),
            one_at_a_time: Semaphore::new(1),
        }
    }

    /// Finds the compiled form, or compiles and keeps it.
    pub(super) async fn compile(&self, bytes: Bytes) -> Result<Compiled, PrepareError> {
        let not_a_component = |why: String| PrepareError::NotAComponent { why };
        if !bytes.starts_with(COMPONENT_MAGIC) {
            return Err(not_a_component(first_bytes(&bytes)));
        }
        let _turn = self
            .one_at_a_time
            .acquire()
            .await
            .map_err(|closed| not_a_component(closed.to_string()))?;
        let engine = self.engine.clone();
        let cache = self.cache.clone();
        let compatibility = self.compatibility;
        tokio::task::spawn_blocking(move || {
            let digest = hex(&Sha256::digest(&bytes));
            let name = format!("{digest}-{compatibility:016x}");
            let component = match cache.as_ref().and_then(|cache| load(&engine, cache, &name)) {
                Some(component) => component,
                None => compile(&engine, cache.as_deref(), &name, &bytes)?,
            };
            let digest = format!("sha256:{digest}");
            Ok(Compiled { component, digest })
        })
        .await
        .unwrap_or_else(|panicked| Err(panicked.to_string()))
        .map_err(not_a_component)
    }
}

fn load(engine: &Engine, cache: &Cache, name: &str) -> Option<Component> {
    let compiled = cache.load(name)?;
    #[expect(
        unsafe_code,
        reason = "wasmtime asks for bytes that its serializer made and nobody changed. They come from a directory and a \
                  file that only this user can write, they match the hash that was stored with them, and wasmtime itself \
                  refuses those of another version or configuration. Whoever could forge them runs code as this user already"
    )]
    let component = unsafe { Component::deserialize(engine, &compiled) };
    component
        .inspect_err(|error| {
            tracing::warn!(name, why = %format_args!("{error:#}"), "a compiled component cannot be loaded and is compiled again");
        })
        .ok()
}

fn compile(
    engine: &Engine,
    cache: Option<&Cache>,
    name: &str,
    bytes: &[u8],
) -> Result<Component, String> {
    let threads = rayon::ThreadPoolBuilder::new()
        .thread_name(|n| format!("plugin-compiler-{n}"))
        .start_handler(|_| priority::lower(COMPILER_NICE))
        .build()
        .map_err(|error| error.to_string())?;
    let component = threads
        .install(|| Component::new(engine, bytes))
        .map_err(|error| format!("{error:#}"))?;
    if let Some(cache) = cache {
        let stored = component
            .serialize()
            .map_err(|error| format!("{error:#}"))
            .and_then(|compiled| {
                cache
                    .store(name, &compiled)
                    .map_err(|error| error.to_string())
            });
        if let Err(why) = stored {
            tracing::warn!(
                name,
                why,
                "a compiled component could not be kept for the next start"
            );
        }
    }
    Ok(component)
}

fn first_bytes(bytes: &[u8]) -> String {
    if bytes.starts_with(b"\0asm\x01\0\0\0") {
        "it is a core module; build it for wasm32-wasip2, or wrap it with `wasm-tools component new`".into()
    } else {
        format!("it starts with {:02x?}", &bytes[..bytes.len().min(8)])
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}
