//! The lock that makes a process the holder of a directory's endpoint, and the one that says it is used.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::directory::{Directory, DirectoryError};

/// What the holder says of itself, in the lock file and when asked over HTTP.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The directory's id: an address that names another one is not this directory's endpoint.
    pub(crate) directory: String,
    pub(crate) address: SocketAddr,
    /// The holder's process, for messages.
    pub(crate) pid: u32,
}

/// The lock, held. The system gives it up when the process dies, however it dies.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock if nobody holds it. What the file says stays as the last holder left it.
    pub(crate) fn try_take(directory: &Directory) -> Result<Option<Self>, DirectoryError> {
        let path = directory.lock();
        let file = open(&path).map_err(DirectoryError::io(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(DirectoryError::Io { path, source }),
        }
    }

    /// Names the holder, once it can be reached.
    pub(crate) fn name(
        &mut self,
        directory: &Directory,
        holder: &Holder,
    ) -> Result<(), DirectoryError> {
        let mut write = || {
            let text = serde_json::to_vec(holder)?;
            self.file.seek(SeekFrom::Start(0))?;
            self.file.set_len(0)?;
            self.file.write_all(&text)
        };
        write().map_err(DirectoryError::io(&directory.lock()))
    }
}

/// Says that someone counts on the endpoint's port, and that it must not change. Shared by all who do; it ends with them.
#[derive(Debug)]
pub(crate) struct Use {
    _file: File,
}

impl Use {
    pub(crate) fn begin(directory: &Directory) -> Result<Self, DirectoryError> {
        let path = directory.uses();
        let file = open(&path).map_err(DirectoryError::io(&path))?;
        // Waits for no longer than someone else asks `any`.
        file.lock_shared().map_err(DirectoryError::io(&path))?;
        Ok(Self { _file: file })
    }

    /// Whether there is a use, in this process or another.
    pub(crate) fn any(directory: &Directory) -> Result<bool, DirectoryError> {
        let path = directory.uses();
        let file = open(&path).map_err(DirectoryError::io(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(source)) => Err(DirectoryError::Io { path, source }),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// Who holds or last held the lock. Nothing while a holder has not named itself yet.
pub(crate) fn holder(directory: &Directory) -> Result<Option<Holder>, DirectoryError> {
    let path = directory.lock();
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| file.take(MOST).read_to_string(&mut text));
    match read {
        // A half-written name is one that is not there yet.
        Ok(_) => Ok(serde_json::from_str(&text).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DirectoryError::Io { path, source }),
    }
}

/// Bytes of a name: an id, an address and a number take far less.
const MOST: u64 = 4096;
