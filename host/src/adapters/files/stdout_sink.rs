//! Standard output as a sink.

use std::io::{self, Write as _};

use shardwright_core::pipeline::StdoutFormat;

use super::file_sink::off_thread;
use super::lines;
use crate::ports::{DeliveryError, ErrorKind, Outgoing, PortError, PortFuture, Sink};

/// Emissions on standard output, a line each.
#[derive(Debug)]
pub struct StdoutSink {
    format: StdoutFormat,
}

impl StdoutSink {
    /// A sink that writes in this format.
    pub fn new(format: StdoutFormat) -> Self {
        Self { format }
    }
}

impl Sink for StdoutSink {
    fn delivered_means(&self) -> &'static str {
        "standard output has taken it"
    }

    fn deliver<'a>(
        &'a self,
        emissions: &'a [Outgoing<'a>],
    ) -> PortFuture<'a, Result<(), DeliveryError>> {
        let mut text = Vec::new();
        for emission in emissions {
            match self.format {
                StdoutFormat::Plain => {
                    text.extend_from_slice(emission.data);
                    text.push(b'\n');
                }
                StdoutFormat::Line(format) => lines::push(&mut text, emission, format),
            }
        }
        Box::pin(async move {
            // Whoever reads a pipe may stop to, and then this waits.
            off_thread(move || write(&text))
                .await
                .map_err(|error| DeliveryError::of_all(emissions.len(), &error))
        })
    }

    fn sync(&self) -> PortFuture<'_, Result<(), PortError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

fn write(text: &[u8]) -> Result<(), PortError> {
    let mut out = io::stdout().lock();
    out.write_all(text)
        .and_then(|()| out.flush())
        .map_err(|error| PortError::new(ErrorKind::Transient, format!("standard output: {error}")))
}
