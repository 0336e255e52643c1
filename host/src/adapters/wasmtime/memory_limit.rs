//! A bound on all memories and tables of an instance together.

use wasmtime::ResourceLimiter;

use super::limits::{TABLE_ELEMENTS, TABLE_ELEMENTS_IN_ALL};

/// An instance asked for more memory than it may have.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{asked} bytes of memory asked for, {limit} allowed")]
pub(super) struct MemoryRefused {
    pub(super) asked: u64,
    pub(super) limit: u64,
}

/// An instance asked for more table elements than any guest has use for.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{asked} table elements asked for, {limit} allowed")]
pub(super) struct TablesRefused {
    pub(super) asked: usize,
    pub(super) limit: usize,
}

/// Counts what an instance has, over all of its memories: `QuickJS` has three, and a limit on each would be three times
/// what was granted.
///
/// A refusal is an error rather than a failed `memory.grow`, which most guests turn into an abort that looks like any
/// other panic.
#[derive(Debug)]
pub(super) struct MemoryLimit {
    limit: u64,
    memories: u64,
    growing: u64,
    table_elements: usize,
}

impl MemoryLimit {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            memories: 0,
            growing: 0,
            table_elements: 0,
        }
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let growing = desired.saturating_sub(current) as u64;
        let asked = self.memories.saturating_add(growing);
        if asked > self.limit {
            return Err(wasmtime::Error::new(MemoryRefused {
                asked,
                limit: self.limit,
            }));
        }
        self.memories = asked;
        self.growing = growing;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memories = self.memories.saturating_sub(self.growing);
        self.growing = 0;
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let in_all = self
            .table_elements
            .saturating_add(desired.saturating_sub(current));
        let bounds = [(desired, TABLE_ELEMENTS), (in_all, TABLE_ELEMENTS_IN_ALL)];
        if let Some(&(asked, limit)) = bounds.iter().find(|(asked, limit)| asked > limit) {
            return Err(wasmtime::Error::new(TablesRefused { asked, limit }));
        }
        self.table_elements = in_all;
        Ok(true)
    }
}
