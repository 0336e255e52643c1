//! The operating system's own notice of changes.

use std::collections::BTreeSet;
use std::path::PathBuf;

use notify_debouncer_full::notify::event::{AccessKind, AccessMode};
use notify_debouncer_full::notify::{EventKind, RecommendedWatcher, RecursiveMode};
use notify_debouncer_full::{
    DebounceEventResult, Debouncer, NoCache, new_debouncer_opt, notify::Config,
};

use crate::limits::RELOAD_QUIET;

/// Tells that something has changed in one of some folders, once it has been left alone for a moment.
///
/// Folders are watched and not files: an editor replaces a file by another one, and a watch would stay with the old one.
pub struct FileWatch {
    debouncer: Option<Debouncer<RecommendedWatcher, NoCache>>,
    folders: BTreeSet<PathBuf>,
}

impl FileWatch {
    /// Watches nothing yet. `changed` is called on a thread of its own, and must not block. Where nothing can be watched, a
    /// warning says so, and it is up to the caller to look now and then.
    pub fn start(changed: impl Fn() + Send + 'static) -> Self {
        let handle = move |result: DebounceEventResult| match result {
            Ok(events) if events.iter().all(|event| is_reading(event.kind)) => {}
            // Whatever went wrong, something may have been missed.
            Ok(_) | Err(_) => changed(),
        };
        let debouncer = new_debouncer_opt::<_, RecommendedWatcher, NoCache>(
            RELOAD_QUIET,
            None,
            handle,
            NoCache::new(),
            Config::default(),
        );
        Self {
            debouncer: debouncer
                .inspect_err(|error| {
                    tracing::warn!(%error, "files cannot be watched; they are looked at every few seconds");
                })
                .ok(),
            folders: BTreeSet::new(),
        }
    }

    /// Watches these folders and no others. One that is not there, or cannot be watched, is tried again the next time.
    pub fn set(&mut self, folders: &BTreeSet<PathBuf>) {
        let Some(debouncer) = &mut self.debouncer else {
            return;
        };
        for gone in self.folders.difference(folders) {
            // A folder that was removed has lost its watch already.
            let _ = debouncer.unwatch(gone);
        }
        self.folders.retain(|folder| folders.contains(folder));
        for new in folders {
            // Watched anew even if it is known: another folder may have its name by now.
            match debouncer.watch(new, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.folders.insert(new.clone());
                }
                Err(error) => {
                    tracing::debug!(folder = %new.display(), %error, "a folder cannot be watched");
                    self.folders.remove(new);
                }
            }
        }
    }
}

/// Reading a file changes nothing; we do it ourselves.
fn is_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}
