//! Files that only ever grow by whole lines.
//!
//! A write that did not reach the disk is told by one sync and by no other: what the kernel could not write it may forget,
//! and a second sync would find nothing left to do. So a file whose sync failed takes and confirms nothing any more. Whoever
//! delivered to it since its last sync must do that again, from a checkpoint, to the file opened anew.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::lines::LINE_BEGIN;
use crate::ports::{ErrorKind, PortError};

/// How far from the end a line ending is looked for at a time.
const LOOK_BACK: u64 = 64 * 1024;

/// The open files of a process: a path is opened once, however many pipelines write to it.
#[derive(Debug, Default)]
pub struct LineFiles {
    open: Mutex<HashMap<PathBuf, Weak<LineFile>>>,
}

impl LineFiles {
    /// Opens a file, or finds it open.
    pub(super) fn open(&self, path: &Path) -> Result<Arc<LineFile>, PortError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let known = open.get(path).and_then(Weak::upgrade);
        if let Some(file) = known.filter(|file| !file.has_lost()) {
            return Ok(file);
        }
        let file = Arc::new(LineFile::open(path).map_err(|error| failed(path, &error))?);
        open.insert(path.to_owned(), Arc::downgrade(&file));
        Ok(file)
    }
}

/// A file of lines.
///
/// Lines go to its end in one write, so that those of several processes do not mix. A line that a crash tore is cut off
/// when the file is opened, unless another process has it open too and may be in the middle of a write.
#[derive(Debug)]
pub(super) struct LineFile {
    path: PathBuf,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// A sync has failed: some of what was written before may be gone.
    has_lost: bool,
}

impl LineFile {
    fn open(path: &Path) -> io::Result<Self> {
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        let folder = folder.unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        if file.try_lock().is_ok() {
            cut_torn_line(&mut file)?;
            file.unlock()?;
        }
        // Shared from here on: it tells others that the file is in use.
        file.lock_shared()?;
        // A file that was just made must be found after a loss of power.
        File::open(folder)?.sync_all()?;
        let has_lost = false;
        Ok(Self {
            path: path.to_owned(),
            open: Mutex::new(Open { file, has_lost }),
        })
    }

    /// Appends lines, each with its ending. Either all of them are in the file afterwards, or none.
    pub(super) fn append(&self, lines: &[u8]) -> Result<(), PortError> {
        let mut open = self.usable()?;
        append(&mut open.file, lines).map_err(|error| failed(&self.path, &error))
    }

    /// Makes what was appended survive the loss of power. Once that has failed, this and every append fail.
    pub(super) fn sync(&self) -> Result<(), PortError> {
        self.sync_with(File::sync_data)
    }

    fn sync_with(&self, sync: impl FnOnce(&File) -> io::Result<()>) -> Result<(), PortError> {
        let mut open = self.usable()?;
        sync(&open.file).map_err(|error| {
            open.has_lost = true;
            failed(&self.path, &error)
        })
    }

    fn usable(&self) -> Result<MutexGuard<'_, Open>, PortError> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.has_lost {
            let what = format!(
                "{}: a sync has failed, and what was written before it may be lost; no checkpoint covers that. Restart the \
                 worker: it is delivered again",
                self.path.display()
            );
            return Err(PortError::new(ErrorKind::Transient, what));
        }
        Ok(open)
    }

    fn has_lost(&self) -> bool {
        self.usable().is_err()
    }
}

fn append(file: &mut File, lines: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written < lines.len() {
        match file.write(&lines[written..]) {
            Ok(0) => return undo(file, written, io::ErrorKind::WriteZero.into()),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return undo(file, written, error),
        }
    }
    Ok(())
}

/// A disk that fills up takes part of a write. That part is taken back, if nobody has written behind it.
fn undo(file: &mut File, written: usize, cause: io::Error) -> io::Result<()> {
    if written > 0 {
        let behind_mine = file.stream_position()?;
        if file.seek(SeekFrom::End(0))? == behind_mine {
            file.set_len(behind_mine.saturating_sub(written as u64))?;
        }
    }
    Err(cause)
}

/// Cuts off what follows the last line ending, if it is the begin of a line as they are written here. Anything else is
/// somebody's, and the file is not for lines.
fn cut_torn_line(file: &mut File) -> io::Result<()> {
    let (whole, end) = end_of_lines(file)?;
    if whole == end {
        return Ok(());
    }
    let mut begin = [0; LINE_BEGIN.len()];
    let begin = &mut begin[..LINE_BEGIN.len().min((end - whole) as usize)];
    file.seek(SeekFrom::Start(whole))?;
    file.read_exact(begin)?;
    if !LINE_BEGIN.starts_with(begin) {
        let what = "it ends with text that is no line of this worker's; name another file, or end its last line";
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    file.set_len(whole)
}

/// Where the last line ending is over, and where the file is.
fn end_of_lines(file: &mut File) -> io::Result<(u64, u64)> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut upper = end;
    while upper > 0 {
        let lower = upper.saturating_sub(LOOK_BACK);
        let mut block = vec![0; (upper - lower) as usize];
        file.seek(SeekFrom::Start(lower))?;
        file.read_exact(&mut block)?;
        if let Some(last) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok((lower + last as u64 + 1, end));
        }
        upper = lower;
    }
    Ok((0, end))
}

fn failed(path: &Path, error: &io::Error) -> PortError {
    // A full disk is emptied and a missing folder made again by somebody; meanwhile the pipeline waits.
    PortError::new(ErrorKind::Transient, format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CP-1: Linux tells of a write that failed once. If the next sync were believed, a checkpoint would cover lines that
    /// are on no disk.
    #[test]
    fn a_file_whose_sync_has_failed_confirms_nothing_until_it_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        let files = LineFiles::default();
        let file = files.open(&path).unwrap();
        let another_pipelines = files.open(&path).unwrap();
        file.append(b"{\"id\":\"1\"}\n").unwrap();
        let failing = |_: &File| Err(io::Error::other("input/output error"));
        file.sync_with(failing).unwrap_err();
        for known in [&file, &another_pipelines] {
            let error = known.sync().unwrap_err();
            assert!(error.what.contains("Restart the worker"), "{error}");
            known.append(b"{\"id\":\"2\"}\n").unwrap_err();
        }
        let anew = files.open(&path).unwrap();
        anew.append(b"{\"id\":\"1\"}\n").unwrap();
        anew.sync().unwrap();
    }

    #[test]
    fn a_file_of_somebody_elses_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.json");
        for text in ["{\"color\":\"red\"}", "{}", "{\"id\":1}", "a\nb"] {
            std::fs::write(&path, text).unwrap();
            let error = LineFiles::default().open(&path).unwrap_err();
            assert!(error.what.contains("settings.json"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
