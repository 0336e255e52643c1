//! From wasmtime's errors to ours.

use wasmtime::{Error, PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::guest::TimeUsedUp;
use super::limits::{FRAME_BYTES, REPLY_BYTES};
use super::memory_limit::{MemoryRefused, TablesRefused};
use crate::ports::{CallError, PluginLimits};

/// The setting that sizes the pool.
pub(super) const POOL_SETTING: &str = "--plugin-instances";

/// Frames of a backtrace that are worth a line in the log.
const FRAMES: usize = 6;

/// How wasmtime says that a value is larger than the host takes. It has no type for it that could be asked for.
const TOO_LARGE: &str = "fuel allocated for hostcalls has been exhausted";

/// Why a call into a guest failed.
pub(super) fn call_error(error: &Error, limits: &PluginLimits, stderr: String) -> CallError {
    if error.downcast_ref::<TimeUsedUp>().is_some() {
        let limit = limits.time;
        return CallError::Time { limit, stderr };
    }
    if let Some(&MemoryRefused { asked, limit }) = error.downcast_ref() {
        return CallError::Memory {
            asked,
            limit,
            stderr,
        };
    }
    if let Some(&TablesRefused { asked, limit }) = error.downcast_ref() {
        return CallError::Tables {
            asked: asked as u64,
            limit: limit as u64,
            stderr,
        };
    }
    if let Some(full) = error.downcast_ref::<PoolConcurrencyLimitError>() {
        return exhausted(full);
    }
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    if backtrace.is_none() && format!("{error:#}").contains(TOO_LARGE) {
        return CallError::ReplySize { limit: REPLY_BYTES };
    }
    let trap = trap_text(error, backtrace);
    CallError::Trap { trap, stderr }
}

fn exhausted(full: &PoolConcurrencyLimitError) -> CallError {
    CallError::Exhausted {
        what: format!("the pool has no room for another plugin instance ({full})"),
        setting: POOL_SETTING,
    }
}

fn trap_text(error: &Error, backtrace: Option<&WasmBacktrace>) -> String {
    let what = if let Some(I32Exit(status)) = error.downcast_ref() {
        format!("it exited with status {status}")
    } else if let Some(trap) = error.downcast_ref::<Trap>() {
        trap.to_string()
    } else {
        error.root_cause().to_string()
    };
    let frames: Vec<String> = backtrace
        .map(WasmBacktrace::frames)
        .unwrap_or_default()
        .iter()
        .take(FRAMES)
        .map(|frame| match (frame.func_name(), frame.module_offset()) {
            (Some(name), _) => name[..name.floor_char_boundary(FRAME_BYTES)].to_owned(),
            (None, Some(offset)) => format!("{offset:#x}"),
            (None, None) => format!("function {}", frame.func_index()),
        })
        .collect();
    if frames.is_empty() {
        what
    } else {
        format!("{what} (in {})", frames.join(" < "))
    }
}
