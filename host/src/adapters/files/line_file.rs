//! Files that only ever grow by whole lines.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

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
        if let Some(file) = open.get(path).and_then(Weak::upgrade) {
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
    file: Mutex<File>,
}

impl LineFile {
    fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
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
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(file),
        })
    }

    /// Appends lines, each with its ending. Either all of them are in the file afterwards, or none.
    pub(super) fn append(&self, lines: &[u8]) -> Result<(), PortError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        append(&mut file, lines).map_err(|error| failed(&self.path, &error))
    }

    /// Makes what was appended survive the loss of power.
    pub(super) fn sync(&self) -> Result<(), PortError> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.sync_data().map_err(|error| failed(&self.path, &error))
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
        let end = file.seek(SeekFrom::End(0))?;
        file.set_len(end.saturating_sub(written as u64))?;
    }
    Err(cause)
}

/// Cuts off whatever follows the last line ending.
fn cut_torn_line(file: &mut File) -> io::Result<()> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut upper = end;
    while upper > 0 {
        let lower = upper.saturating_sub(LOOK_BACK);
        let mut block = vec![0; (upper - lower) as usize];
        file.seek(SeekFrom::Start(lower))?;
        file.read_exact(&mut block)?;
        if let Some(last) = block.iter().rposition(|byte| *byte == b'\n') {
            let keep = lower + last as u64 + 1;
            return if keep < end {
                file.set_len(keep)
            } else {
                Ok(())
            };
        }
        upper = lower;
    }
    if end > 0 { file.set_len(0) } else { Ok(()) }
}

fn failed(path: &Path, error: &io::Error) -> PortError {
    // A full disk is emptied and a missing folder made again by somebody; meanwhile the pipeline waits.
    PortError::new(ErrorKind::Transient, format!("{}: {error}", path.display()))
}
