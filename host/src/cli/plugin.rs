//! `shardwright plugin`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::CliError;
use super::table::Table;
use crate::app::App;
use crate::builtin::{BUILTINS, builtin};

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  shardwright plugin inspect handler.wasm
  shardwright plugin export builtin:word-count word-count.wasm")]
pub(super) enum Plugin {
    /// Shows what a component is: digest, size, handler, description, imports.
    Inspect {
        /// A component, or `builtin:NAME`.
        file: String,
    },
    /// Writes a plugin that the binary carries to a file.
    Export {
        /// `builtin:NAME`.
        plugin: String,
        /// The file to write.
        file: PathBuf,
    },
    /// Lists the plugins that the binary carries.
    List,
}

impl Plugin {
    pub(super) fn run(
        self,
        app: impl FnOnce() -> Result<App, CliError>,
    ) -> Result<ExitCode, CliError> {
        match self {
            Self::List => {
                let mut table = Table::new(["PLUGIN", "BYTES"]);
                for builtin in BUILTINS {
                    table.row([
                        format!("builtin:{}", builtin.name),
                        builtin.bytes.len().to_string(),
                    ]);
                }
                table.print()
            }
            Self::Export { plugin, file } => {
                let bytes = named(&plugin)?;
                std::fs::write(&file, bytes).map_err(CliError::io(file.display().to_string()))?;
                println!("{} bytes written to {}", bytes.len(), file.display());
                Ok(ExitCode::SUCCESS)
            }
            Self::Inspect { file } => {
                let bytes = if file.starts_with("builtin:") {
                    bytes::Bytes::from_static(named(&file)?)
                } else {
                    std::fs::read(&file)
                        .map_err(CliError::io(file.as_str()))?
                        .into()
                };
                inspect(&mut app()?, &file, bytes)
            }
        }
    }
}

fn named(plugin: &str) -> Result<&'static [u8], CliError> {
    let name = plugin.strip_prefix("builtin:").unwrap_or(plugin);
    builtin(name).map(|found| found.bytes).ok_or_else(|| {
        let known: Vec<String> = BUILTINS
            .iter()
            .map(|builtin| format!("builtin:{}", builtin.name))
            .collect();
        CliError::Other(format!(
            "there is no builtin:{name}; there are {}",
            known.join(", ")
        ))
    })
}

fn inspect(app: &mut App, file: &str, bytes: bytes::Bytes) -> Result<ExitCode, CliError> {
    let found = app
        .inspect(file, bytes)
        .map_err(|error| CliError::Other(format!("{file}: {error}")))?;
    let mut out = std::io::stdout().lock();
    let mut line = |name: &str, value: &str| writeln!(out, "{name:<10} {value}");
    let written = (|| {
        line("plugin", file)?;
        line(
            "name",
            &format!("{} {}", found.description.name, found.description.version),
        )?;
        line("handler", found.description.handler)?;
        line("digest", &found.digest)?;
        line("size", &format!("{} bytes", found.size))?;
        let outputs = found.description.outputs.as_ref();
        line(
            "outputs",
            &outputs.map_or("any".to_owned(), |outputs| outputs.join(", ")),
        )?;
        line("columns", &columns(found.description.columns))?;
        for (index, import) in found.imports.iter().enumerate() {
            line(if index == 0 { "imports" } else { "" }, import)?;
        }
        if let Some(schema) = &found.description.config_schema {
            line("config", schema)?;
        }
        Ok(())
    })();
    written.map_err(CliError::io("standard output"))?;
    Ok(ExitCode::SUCCESS)
}

fn columns(wanted: shardwright_core::ColumnsWanted) -> String {
    let all = [
        (true, "data"),
        (wanted.keys, "keys"),
        (wanted.sequence_numbers, "sequence-numbers"),
        (wanted.sub_sequence_numbers, "sub-sequence-numbers"),
        (wanted.arrival_times, "arrival-times"),
    ];
    let names: Vec<&str> = all
        .into_iter()
        .filter(|(wanted, _)| *wanted)
        .map(|(_, name)| name)
        .collect();
    names.join(", ")
}
