//! The data directory: what this machine remembers between runs.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use shardwright_core::WorkerId;

/// Processes that can have a worker name of this directory at once. It only bounds a search through small files.
const WORKERS_MAX: u32 = 1_000;

/// Random digits in a worker's name: two directories must not come to the same one.
const NAME_BYTES: usize = 8;

/// A data directory.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made or read.
    #[error("the data directory {} cannot be used: {source}; choose another with --data-dir", path.display())]
    Io {
        /// The directory, or a file in it.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Every name is taken.
    #[error("{WORKERS_MAX} workers run from the data directory {} already", path.display())]
    Full {
        /// The directory.
        path: PathBuf,
    },
}

/// A worker's name, and the lock that keeps it from other processes for as long as this lives.
#[derive(Debug)]
pub struct NamedWorker {
    id: WorkerId,
    _lock: File,
}

impl NamedWorker {
    /// The name.
    pub fn id(&self) -> &WorkerId {
        &self.id
    }
}

impl DataDir {
    /// Makes the directory unless it is there.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let io = |source| DataDirError::Io {
            path: path.to_owned(),
            source,
        };
        std::fs::create_dir_all(path).map_err(io)?;
        // A plugin or a pipeline may change the working directory's meaning; the directory's own must not change.
        Ok(Self {
            path: path.canonicalize().map_err(io)?,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A name for this process. It is the same from run to run, so that a restart takes its leases back at once; a second
    /// process at the same time gets another, which is as stable.
    pub fn name_worker(&self) -> Result<NamedWorker, DataDirError> {
        let folder = self.path.join("workers");
        let io = |path: &Path, source| DataDirError::Io {
            path: path.to_owned(),
            source,
        };
        std::fs::create_dir_all(&folder).map_err(|source| io(&folder, source))?;
        for number in 0..WORKERS_MAX {
            let path = folder.join(format!("{number}.lock"));
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path);
            let mut file = file.map_err(|source| io(&path, source))?;
            match file.try_lock() {
                Ok(()) => {
                    let id = name_in(&mut file, number).map_err(|source| io(&path, source))?;
                    return Ok(NamedWorker { id, _lock: file });
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(io(&path, source)),
            }
        }
        Err(DataDirError::Full {
            path: self.path.clone(),
        })
    }
}

/// The name in a locked file, written there by the first process that had it.
fn name_in(file: &mut File, number: u32) -> io::Result<WorkerId> {
    let mut name = String::new();
    file.read_to_string(&mut name)?;
    let name = name.trim();
    if !name.is_empty() {
        return Ok(WorkerId::new(name));
    }
    let mut random = [0; NAME_BYTES];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let digits = u64::from_be_bytes(random);
    let name = format!("shardwright-{digits:016x}-{number}");
    file.rewind()?;
    file.write_all(name.as_bytes())?;
    file.sync_all()?;
    Ok(WorkerId::new(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_has_the_name_of_before_and_a_twin_has_another() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        let first = data.name_worker().unwrap();
        let twin = data.name_worker().unwrap();
        assert_ne!(first.id(), twin.id());
        let name = first.id().clone();
        drop(first);
        assert_eq!(*data.name_worker().unwrap().id(), name);
    }
}
