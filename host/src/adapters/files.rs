//! JSON lines in files: a sink, and the dead letters.

mod dead_letter_file;
mod file_sink;
mod line_file;
mod lines;
mod stdout_sink;
#[cfg(test)]
mod tests;

pub use dead_letter_file::DeadLetterFile;
pub use file_sink::FileSink;
pub use line_file::LineFiles;
pub use stdout_sink::StdoutSink;
