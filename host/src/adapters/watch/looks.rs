//! Whether a file has other contents than before.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use crate::limits::FILE_CLOCK_TICK;

/// The digests of files, read again only if the file system says that there was a change.
#[derive(Debug, Default)]
pub struct FileLooks {
    known: BTreeMap<PathBuf, Look>,
}

#[derive(Clone, Debug)]
struct Look {
    stamp: Stamp,
    /// The file was changed so recently that another change may have left the same stamp.
    is_fresh: bool,
    digest: String,
}

/// What the file system says of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn is_fresh(&self, now: SystemTime) -> bool {
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs().cast_signed());
        let newest = self.modified.0.max(self.changed.0);
        // A time in the future tells nothing.
        newest >= now.saturating_sub(FILE_CLOCK_TICK.as_secs().cast_signed())
    }
}

impl FileLooks {
    /// The SHA-256 of a file's contents, as `sha256:…`; none if it cannot be read. Blocks.
    pub fn digest(&mut self, path: &Path) -> Option<String> {
        let found = self.look(path, SystemTime::now());
        if found.is_none() {
            self.known.remove(path);
        }
        found
    }

    fn look(&mut self, path: &Path, now: SystemTime) -> Option<String> {
        // Taken before the contents, so that a change in between is seen as one the next time.
        let stamp = Stamp::of(&fs::metadata(path).ok()?);
        let known = self.known.get(path);
        if let Some(known) = known.filter(|known| known.stamp == stamp && !known.is_fresh) {
            return Some(known.digest.clone());
        }
        let look = Look {
            stamp,
            is_fresh: stamp.is_fresh(now),
            digest: digest_of(&fs::read(path).ok()?),
        };
        let digest = look.digest.clone();
        self.known.insert(path.to_owned(), look);
        Some(digest)
    }

    /// Forgets every file but these.
    pub fn retain(&mut self, is_of_interest: impl Fn(&Path) -> bool) {
        self.known.retain(|path, _| is_of_interest(path));
    }
}

/// The SHA-256 of some bytes, as `sha256:…`: what the plugin runtime calls a component by.
pub fn digest_of(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().fold("sha256:".to_owned(), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    #[test]
    fn contents_are_compared_and_not_dates() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let mut looks = FileLooks::default();
        assert_eq!(looks.digest(&path), None, "there is none");
        fs::write(&path, "one").unwrap();
        let one = looks.digest(&path).unwrap();
        // The same length within the same tick of the clock.
        fs::write(&path, "two").unwrap();
        let two = looks.digest(&path).unwrap();
        assert_ne!(one, two);
        File::open(&path)
            .unwrap()
            .set_modified(SystemTime::now() - Duration::from_hours(1))
            .unwrap();
        assert_eq!(
            looks.digest(&path).unwrap(),
            two,
            "only its date is another"
        );
        let other = dir.path().join("b");
        fs::write(&other, "one").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(looks.digest(&path).unwrap(), one, "renamed over");
        fs::remove_file(&path).unwrap();
        assert_eq!(looks.digest(&path), None);
        assert!(looks.known.is_empty());
    }

    #[test]
    fn an_old_file_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "one").unwrap();
        let mut looks = FileLooks::default();
        let later = SystemTime::now() + Duration::from_hours(1);
        let one = looks.look(&path, later).unwrap();
        // A file that was read would show the digest of what it has.
        looks.known.get_mut(&path).unwrap().digest = "kept".to_owned();
        assert_eq!(looks.look(&path, later).unwrap(), "kept");
        looks.known.get_mut(&path).unwrap().is_fresh = true;
        assert_eq!(looks.look(&path, later).unwrap(), one);
    }
}
