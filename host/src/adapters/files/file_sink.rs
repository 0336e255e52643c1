//! A sink of JSON lines.

use std::sync::Arc;

use shardwright_core::pipeline::{FileTarget, LineFormat};

use super::line_file::{LineFile, LineFiles};
use super::lines;
use crate::ports::{DeliveryError, ErrorKind, Outgoing, PortError, PortFuture, Sink};

/// Emissions in a file, one line each; it is appended to from run to run.
#[derive(Debug)]
pub struct FileSink {
    file: Arc<LineFile>,
    format: LineFormat,
}

impl FileSink {
    /// Opens the file, or the pipeline's file in a folder.
    pub fn open(
        files: &LineFiles,
        target: &FileTarget,
        pipeline: &str,
        format: LineFormat,
    ) -> Result<Self, PortError> {
        Ok(Self {
            file: files.open(&path_of(target, pipeline))?,
            format,
        })
    }
}

/// In a folder, each pipeline has a file of its name.
pub(super) fn path_of(target: &FileTarget, pipeline: &str) -> std::path::PathBuf {
    match target {
        FileTarget::File(path) => path.clone(),
        FileTarget::Folder(folder) => folder.join(format!("{pipeline}.jsonl")),
    }
}

impl Sink for FileSink {
    fn delivered_means(&self) -> &'static str {
        "it is written to the file, and synced before the checkpoint that covers it"
    }

    fn deliver<'a>(
        &'a self,
        emissions: &'a [Outgoing<'a>],
    ) -> PortFuture<'a, Result<(), DeliveryError>> {
        let mut text = Vec::with_capacity(
            emissions
                .iter()
                .map(|emission| emission.data.len() + 160)
                .sum(),
        );
        for emission in emissions {
            lines::push(&mut text, emission, self.format);
        }
        let file = Arc::clone(&self.file);
        Box::pin(async move {
            off_thread(move || file.append(&text))
                .await
                .map_err(|error| DeliveryError::of_all(emissions.len(), &error))
        })
    }

    fn sync(&self) -> PortFuture<'_, Result<(), PortError>> {
        let file = Arc::clone(&self.file);
        Box::pin(off_thread(move || file.sync()))
    }
}

/// Disks block: a thread that guests or leases need must not wait for one.
pub(super) async fn off_thread<F>(work: F) -> Result<(), PortError>
where
    F: FnOnce() -> Result<(), PortError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(PortError::new(
            ErrorKind::Transient,
            format!("a write was cut off: {error}"),
        )),
    }
}
