//! Dead letters as JSON lines.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use shardwright_core::pipeline::{FileTarget, LineFormat};

use super::file_sink::{off_thread, path_of};
use super::line_file::LineFiles;
use super::lines::{push_payload, push_text};
use crate::ports::{DeadLetter, DeadLetterSink, PortError, PortFuture};

/// Dead letters in a file, opened when the first one comes. A letter is stored once it is written and synced.
#[derive(Debug)]
pub struct DeadLetterFile {
    files: Arc<LineFiles>,
    path: PathBuf,
}

impl DeadLetterFile {
    /// The file, or the pipeline's file in a folder.
    pub fn new(files: Arc<LineFiles>, target: &FileTarget, pipeline: &str) -> Self {
        Self {
            files,
            path: path_of(target, pipeline),
        }
    }
}

impl DeadLetterSink for DeadLetterFile {
    fn put(&self, letters: Vec<DeadLetter>) -> PortFuture<'_, Result<(), PortError>> {
        let files = Arc::clone(&self.files);
        let path = self.path.clone();
        Box::pin(off_thread(move || {
            let mut lines = Vec::new();
            for letter in &letters {
                push_letter(&mut lines, letter);
            }
            let file = files.open(&path)?;
            file.append(&lines)?;
            file.sync()
        }))
    }
}

fn push_letter(lines: &mut Vec<u8>, letter: &DeadLetter) {
    let position = format!("{}/{}/{}", letter.stream, letter.shard, letter.position);
    let texts = [
        ("id", position.as_str()),
        ("pipeline", &letter.pipeline),
        ("plugin", &letter.plugin),
        ("digest", &letter.digest),
        ("error", letter.error),
        ("reason", &letter.reason),
        ("key", &letter.key),
    ];
    for (index, (name, text)) in texts.into_iter().enumerate() {
        let _ = write!(lines, "{}\"{name}\":", if index == 0 { '{' } else { ',' });
        push_text(lines, text);
    }
    // Steps are counted from 1 wherever a person reads them.
    let step = letter
        .step
        .map_or("null".to_owned(), |step| (step + 1).to_string());
    let _ = write!(
        lines,
        r#","step":{step},"attempts":{},"arrival_ms":{},"at_ms":{}"#,
        letter.attempts, letter.arrival_ms, letter.at_ms
    );
    push_payload(lines, &letter.data, LineFormat::Text);
    lines.extend_from_slice(b"}\n");
}
