//! The streams that readers see.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::state::Stream;

/// The streams as of the last commit, by name.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    by_name: RwLock<BTreeMap<String, Arc<Stream>>>,
    changed: Notify,
}

impl Streams {
    pub(super) fn new(streams: BTreeMap<String, Arc<Stream>>) -> Self {
        Self {
            by_name: RwLock::new(streams),
            changed: Notify::new(),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Stream>> {
        self.by_name
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Stream>> {
        self.by_name
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    pub(super) fn put(&self, stream: Stream) {
        self.by_name
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(stream.name.clone(), Arc::new(stream));
        self.changed.notify_waiters();
    }

    pub(super) fn remove(&self, name: &str) {
        self.by_name
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
        self.changed.notify_waiters();
    }

    pub(super) fn len(&self) -> usize {
        self.by_name
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Once any stream is made, changed or removed after this future is first polled or enabled.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}
