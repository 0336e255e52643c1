//! Compiled components, kept in the user's own cache directory.
//!
//! What is compiled is machine code, and loading it is running it. So the directory must be the user's alone: one that
//! somebody else owns or may write to is refused, and nothing is ever read from a project's folder. Against accidents
//! (a full disk, a flipped bit, a file under another's name) each file carries a hash of its contents and its name.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use super::limits::CACHED_COMPONENTS;

const MAGIC: &[u8] = b"shardwright compiled component 1\n";
const HASH_BYTES: usize = 32;
const EXTENSION: &str = "cwasm";

/// A file that is still being written is somebody's for this long; then its writer is taken for dead.
const WRITING: Duration = Duration::from_hours(1);

/// Where compiled components are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CacheDir {
    /// `$XDG_CACHE_HOME/shardwright`, or `~/.cache/shardwright`.
    #[default]
    User,
    /// A directory of the operator's choice, under the same rules.
    At(PathBuf),
    /// Nowhere: everything is compiled each time.
    None,
}

impl CacheDir {
    fn path(&self) -> Option<PathBuf> {
        match self {
            Self::None => None,
            Self::At(path) => Some(path.clone()),
            Self::User => {
                let absolute = |name| {
                    std::env::var_os(name)
                        .map(PathBuf::from)
                        .filter(|path| path.is_absolute())
                };
                let base = absolute("XDG_CACHE_HOME")
                    .or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
                Some(base.join("shardwright"))
            }
        }
    }
}

/// Why a directory cannot hold code that we run.
#[derive(Debug, thiserror::Error)]
pub(super) enum CacheRefused {
    #[error("{path} cannot be used: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("{path} is not a directory")]
    NotADirectory { path: PathBuf },
    #[error("{path} belongs to user {owner}, not to {me}")]
    Owner { path: PathBuf, owner: u32, me: u32 },
    #[error("{path} has mode {mode:o}: others may write to it")]
    Mode { path: PathBuf, mode: u32 },
}

/// A directory that is ours.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// Opens the directory, making it with mode 0700 if it is not there. No directory: no cache.
    pub(super) fn open(dir: &CacheDir) -> Result<Option<Self>, CacheRefused> {
        let Some(path) = dir.path() else {
            return Ok(None);
        };
        let io = |error| CacheRefused::Io {
            path: path.clone(),
            error,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(io)?;
        let metadata = fs::symlink_metadata(&path).map_err(io)?;
        let me = rustix::process::geteuid().as_raw();
        if !metadata.is_dir() {
            return Err(CacheRefused::NotADirectory { path });
        }
        if metadata.uid() != me {
            let owner = metadata.uid();
            return Err(CacheRefused::Owner { path, owner, me });
        }
        if metadata.mode() & 0o022 != 0 {
            let mode = metadata.mode() & 0o7777;
            return Err(CacheRefused::Mode { path, mode });
        }
        Ok(Some(Self { dir: path }))
    }

    /// What was stored under this name, if it is all there and nobody else may have written it.
    pub(super) fn load(&self, name: &str) -> Option<Vec<u8>> {
        let path = self.path(name);
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .ok()?;
        match read_checked(&file, name) {
            Ok(contents) => {
                // The age of a file is its last use. It is a hint: a file that cannot be touched is merely dropped early.
                let _ = file.set_modified(SystemTime::now());
                Some(contents)
            }
            Err(why) => {
                tracing::warn!(path = %path.display(), why, "a compiled component is damaged and is compiled again");
                None
            }
        }
    }

    /// Stores under a name, in one step: whoever reads sees all of it or none.
    pub(super) fn store(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        self.prune();
        let path = self.path(name);
        let unfinished = self.dir.join(format!("{name}.{}.tmp", std::process::id()));
        let written =
            write(&unfinished, name, contents).and_then(|()| fs::rename(&unfinished, &path));
        if written.is_err() {
            // Best effort: what stays is removed by `prune` of a later run.
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.{EXTENSION}"))
    }

    /// Makes room for one more, and removes what dead writers left.
    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return;
        };
        let mut kept: Vec<(SystemTime, PathBuf)> = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()) {
            let Ok(modified) = fs::symlink_metadata(&path).and_then(|data| data.modified()) else {
                continue;
            };
            let extension = path.extension().unwrap_or_default();
            if extension == EXTENSION {
                kept.push((modified, path));
            } else if extension == "tmp" && modified.elapsed().is_ok_and(|age| age > WRITING) {
                let _ = fs::remove_file(&path);
            }
        }
        kept.sort_unstable();
        let surplus = (kept.len() + 1).saturating_sub(CACHED_COMPONENTS);
        for (_, path) in kept.drain(..surplus) {
            let _ = fs::remove_file(path);
        }
    }
}

fn seal(name: &str, contents: &[u8]) -> [u8; HASH_BYTES] {
    let mut hash = Sha256::new();
    hash.update(name.as_bytes());
    hash.update([0]);
    hash.update(contents);
    hash.finalize().into()
}

fn write(path: &Path, name: &str, contents: &[u8]) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(MAGIC)?;
    file.write_all(&seal(name, contents))?;
    file.write_all(contents)
}

fn read_checked(mut file: &File, name: &str) -> Result<Vec<u8>, String> {
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file()
        || metadata.uid() != rustix::process::geteuid().as_raw()
        || metadata.mode() & 0o022 != 0
    {
        return Err("it is not a file of mine alone".into());
    }
    let mut head = [0; MAGIC.len() + HASH_BYTES];
    file.read_exact(&mut head)
        .map_err(|_| "it is cut off".to_owned())?;
    let (magic, sealed) = head.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err("it is of another version".into());
    }
    let mut contents = Vec::with_capacity(metadata.len() as usize);
    file.read_to_end(&mut contents)
        .map_err(|error| error.to_string())?;
    if sealed != seal(name, &contents) {
        return Err("its contents do not match their hash".into());
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn open(path: &Path) -> Result<Option<Cache>, CacheRefused> {
        Cache::open(&CacheDir::At(path.to_owned()))
    }

    #[test]
    fn the_directory_is_made_for_the_user_alone() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        open(&dir).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        let root = tempfile::tempdir().unwrap();
        for mode in [0o770, 0o707, 0o777] {
            fs::set_permissions(root.path(), fs::Permissions::from_mode(mode)).unwrap();
            let refused = open(root.path()).unwrap_err();
            assert!(matches!(refused, CacheRefused::Mode { mode: found, .. } if found == mode));
        }
    }

    #[test]
    fn a_link_to_a_directory_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let link = root.path().join("link");
        std::os::unix::fs::symlink(root.path(), &link).unwrap();
        let refused = open(&link).unwrap_err();
        assert!(matches!(refused, CacheRefused::NotADirectory { .. }));
    }

    #[test]
    fn what_is_cut_or_changed_at_any_byte_is_not_loaded() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let cache = open(root.path()).unwrap().unwrap();
        cache.store("x", b"compiled").unwrap();
        assert_eq!(cache.load("x").unwrap(), b"compiled");
        let path = root.path().join("x.cwasm");
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            assert_eq!(cache.load("x"), None, "byte {at} changed");
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(cache.load("x"), None, "cut at {at}");
        }
        fs::write(&path, &whole).unwrap();
        assert!(cache.load("x").is_some());
        fs::rename(&path, root.path().join("y.cwasm")).unwrap();
        assert_eq!(cache.load("y"), None, "under another's name");
    }

    #[test]
    fn a_file_that_others_may_write_to_is_not_loaded() {
        let root = tempfile::tempdir().unwrap();
        let cache = open(root.path()).unwrap().unwrap();
        cache.store("x", b"compiled").unwrap();
        let path = root.path().join("x.cwasm");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(cache.load("x"), None);
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let root = tempfile::tempdir().unwrap();
        let cache = open(root.path()).unwrap().unwrap();
        for n in 0..CACHED_COMPONENTS + 3 {
            cache.store(&format!("{n:03}"), b"compiled").unwrap();
            let age = Duration::from_secs(1_000 - n as u64);
            File::open(root.path().join(format!("{n:03}.cwasm")))
                .unwrap()
                .set_modified(SystemTime::now() - age)
                .unwrap();
        }
        assert_eq!(
            fs::read_dir(root.path()).unwrap().count(),
            CACHED_COMPONENTS
        );
        assert_eq!(cache.load("002"), None);
        assert!(cache.load("003").is_some());
    }
}
