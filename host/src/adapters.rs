//! What the ports need, offered with a vendor's library. No vendor type leaves its module.

mod wasmtime;

pub use wasmtime::{CacheDir, InvalidEngine, WasmtimeRuntime, WasmtimeSettings};
