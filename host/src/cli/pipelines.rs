//! Reading pipelines, and the commands that only do that.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use shardwright_core::pipeline::Pipeline;

use super::CliError;
use crate::config;

/// Reads every pipeline of files and folders, with the process's own environment.
pub(super) fn load(paths: &[PathBuf]) -> Result<Vec<Pipeline>, CliError> {
    config::load(paths, &|name| std::env::var(name).ok()).map_err(CliError::Problems)
}

#[derive(Args, Debug)]
pub(super) struct Validate {
    /// Files, or folders of `*.yaml`.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

impl Validate {
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        let pipelines = load(&self.paths)?;
        let mut out = std::io::stdout().lock();
        for pipeline in &pipelines {
            let steps = match pipeline.steps().len() {
                0 => "a mirror".to_owned(),
                1 => "1 step".to_owned(),
                many => format!("{many} steps"),
            };
            let stream = &pipeline.source.stream;
            writeln!(
                out,
                "{}: reads {stream}, {steps}, {} lanes: valid",
                pipeline.name, pipeline.flow.lanes
            )
            .map_err(CliError::io("standard output"))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

pub(super) fn schema() -> Result<ExitCode, CliError> {
    let mut out = std::io::stdout().lock();
    let schema = config::schema();
    writeln!(out, "{schema:#}").map_err(CliError::io("standard output"))?;
    Ok(ExitCode::SUCCESS)
}
