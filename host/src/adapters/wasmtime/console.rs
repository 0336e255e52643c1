//! A guest's stdout and stderr: lines for the log, and the end of stderr for errors.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError};

use super::limits::{LINE_BYTES, STDERR_KEPT};
use super::voice::{Level, Voice};

/// Bytes that one write may have. A stream that is always ready needs no more, and `write-zeroes` allocates them.
const WRITE_BYTES: usize = 64 << 10;

/// One of the two output streams of an instance.
///
/// It takes what is written at once, so that nothing is lost when the guest traps right after writing.
#[derive(Clone, Debug)]
pub(super) struct Console {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    voice: Arc<Voice>,
    origin: Arc<str>,
    level: Level,
    text: Mutex<Text>,
}

#[derive(Debug, Default)]
struct Text {
    /// The line that has no end yet, up to `LINE_BYTES` of it.
    line: Vec<u8>,
    /// The last bytes of all.
    end: VecDeque<u8>,
}

impl Console {
    pub(super) fn new(voice: Arc<Voice>, origin: Arc<str>, level: Level) -> Self {
        Self {
            shared: Arc::new(Shared {
                voice,
                origin,
                level,
                text: Mutex::default(),
            }),
        }
    }

    /// The end of what was written since the last call of [`Console::forget`].
    pub(super) fn end(&self) -> String {
        String::from_utf8_lossy(self.lock().end.make_contiguous()).into_owned()
    }

    /// Forgets what was written in earlier calls, which says nothing of what is wrong with the next one.
    pub(super) fn forget(&self) {
        self.lock().end.clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Text> {
        self.shared
            .text
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, bytes: &[u8]) {
        let shared = &*self.shared;
        let mut text = self.lock();
        let kept = &bytes[bytes.len().saturating_sub(STDERR_KEPT)..];
        text.end.extend(kept);
        let surplus = text.end.len().saturating_sub(STDERR_KEPT);
        text.end.drain(..surplus);
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let room = LINE_BYTES.saturating_sub(text.line.len());
            text.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                shared.say(&mut text.line);
            }
        }
    }
}

impl Shared {
    fn say(&self, line: &mut Vec<u8>) {
        let said = String::from_utf8_lossy(line);
        if !said.trim().is_empty() {
            self.voice.say(self.level, &self.origin, &said);
        }
        line.clear();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let mut text = std::mem::take(self.text.get_mut().unwrap_or_else(PoisonError::into_inner));
        self.say(&mut text.line);
    }
}

impl IsTerminal for Console {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Console {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Console {
    async fn ready(&mut self) {}
}

impl OutputStream for Console {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(WRITE_BYTES)
    }
}

impl AsyncWrite for Console {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
