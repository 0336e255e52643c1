//! A data directory: what lies in it, and its identity.

use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A data directory that cannot be used.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// A file or folder of it cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its identity file is there and does not read as one.
    #[error("{path} is damaged: {source}")]
    Damaged {
        /// The identity file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl DirectoryError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// What makes a directory itself, and the port that its holders use. Written once, and again when the port changes.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Identity {
    /// 128 random bits in hex.
    pub(crate) id: String,
    pub(crate) port: Option<u16>,
}

/// The paths of a data directory.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Makes the folder if it is not there.
    pub(crate) fn open(root: &Path) -> Result<Self, DirectoryError> {
        fs::create_dir_all(root).map_err(DirectoryError::io(root))?;
        let root = root.canonicalize().map_err(DirectoryError::io(root))?;
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("endpoint.lock")
    }

    pub(crate) fn uses(&self) -> PathBuf {
        self.root.join("endpoint.uses")
    }

    pub(crate) fn streams(&self) -> PathBuf {
        self.root.join("streams.db")
    }

    pub(crate) fn tables(&self) -> PathBuf {
        self.root.join("dynamodb.db")
    }

    /// The certificate that was made for an address, and its key.
    pub(crate) fn certificate(&self, address: IpAddr) -> (PathBuf, PathBuf) {
        let path = |kind| self.root.join(format!("{kind}-{address}.pem"));
        (path("certificate"), path("key"))
    }

    fn identity_file(&self) -> PathBuf {
        self.root.join("endpoint.json")
    }

    /// The directory's identity; a new one is made. Only for the holder of the lock.
    pub(crate) fn identity(&self) -> Result<Identity, DirectoryError> {
        let path = self.identity_file();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| DirectoryError::Damaged { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let identity = Identity {
                    id: random_id().map_err(DirectoryError::io(&path))?,
                    port: None,
                };
                self.save_identity(&identity)?;
                Ok(identity)
            }
            Err(source) => Err(DirectoryError::Io { path, source }),
        }
    }

    /// Replaces the identity file as a whole, so that a crash leaves the old or the new one. Only for the holder of the lock.
    pub(crate) fn save_identity(&self, identity: &Identity) -> Result<(), DirectoryError> {
        let path = self.identity_file();
        let new = self.root.join("endpoint.json.new");
        let write = || {
            let mut file = fs::File::create(&new)?;
            file.write_all(&serde_json::to_vec(identity)?)?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(DirectoryError::io(&path))
    }
}

fn random_id() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
