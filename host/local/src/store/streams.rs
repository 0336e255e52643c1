//! The streams that readers see.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::state::Stream;

/// The streams as of the last commit, by name.
#[derive(Debug, Default)]
pub(crate) struct Streams(RwLock<BTreeMap<String, Arc<Stream>>>);

impl Streams {
    pub(super) fn new(streams: BTreeMap<String, Arc<Stream>>) -> Self {
        Self(RwLock::new(streams))
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Stream>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Stream>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    pub(super) fn put(&self, stream: Stream) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(stream.name.clone(), Arc::new(stream));
    }

    pub(super) fn remove(&self, name: &str) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }

    pub(super) fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }
}
