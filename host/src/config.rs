//! Pipelines from YAML: every finding at once, each with its file, line, column and path.
//!
//! A file is parsed into [nodes](node) that know where they are written. The [raw types](raw) declare each field once;
//! from that declaration come its reader and its place in the [schema]. [Resolving](resolve) gives core's pipelines, in
//! which nothing is left open.

mod across;
mod bounds;
mod files;
mod node;
mod problem;
mod raw;
mod reading;
mod resolve;
mod values;
mod variables;

pub use problem::{Problem, Problems};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::NamedSource;
use shardwright_core::pipeline::Pipeline;

use problem::Findings;
use reading::{Readable, Reader};

/// Reads every pipeline of these files and folders, in their order. A folder stands for its `*.yaml` and `*.yml`,
/// sorted by name. `env` answers `${env:NAME}`.
///
/// # Errors
/// Everything that is wrong in any of them. There is no pipeline unless all of them are right.
pub fn load(
    paths: &[PathBuf],
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Pipeline>, Problems> {
    let (files, mut problems) = files::read(paths);
    let texts = files.into_iter().map(|file| (file.path, file.text));
    let (pipelines, found) = read_all(texts.collect(), env);
    problems.extend(found);
    if problems.is_empty() && pipelines.is_empty() {
        let path = paths.first().cloned().unwrap_or_default();
        let help = "write one: `version: 1`, `pipeline: …`, `source: …`";
        let message = "there is no pipeline here".to_owned();
        problems.push(Problem::of_file(path, message, help));
    }
    if problems.is_empty() {
        Ok(pipelines)
    } else {
        Err(Problems(problems))
    }
}

/// The files that [`load`] reads for these paths, whether or not they can be read.
pub fn files(paths: &[PathBuf]) -> Vec<PathBuf> {
    files::named(paths)
}

/// Reads the pipelines of a text as if it were the file `name`: relative paths start from that file's folder.
///
/// # Errors
/// As [`load`]; a text without a pipeline gives none.
pub fn load_text(
    name: &Path,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Pipeline>, Problems> {
    let (pipelines, problems) = read_all(vec![(name.to_owned(), text.to_owned())], env);
    if problems.is_empty() {
        Ok(pipelines)
    } else {
        Err(Problems(problems))
    }
}

/// The JSON Schema of a document.
pub fn schema() -> serde_json::Value {
    let generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
    generator.into_root_schema_for::<raw::Document>().to_value()
}

fn read_all(
    files: Vec<(PathBuf, String)>,
    env: &dyn Fn(&str) -> Option<String>,
) -> (Vec<Pipeline>, Vec<Problem>) {
    let mut findings = Findings::default();
    let mut pipelines = Vec::new();
    let mut sites = Vec::new();
    let mut sources = Vec::new();
    for (index, (path, text)) in files.into_iter().enumerate() {
        let nodes = node::documents(index, &text, env, &mut findings);
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        let mut reader = Reader {
            findings: &mut findings,
            folder: &folder,
        };
        for node in &nodes {
            if let Some(document) = raw::Document::read(node, &mut reader) {
                let (pipeline, its_sites) = resolve::resolve(&document, &mut reader);
                pipelines.extend(pipeline);
                sites.push(its_sites);
            }
        }
        sources.push(Arc::new(NamedSource::new(path.to_string_lossy(), text)));
    }
    across::check(&sites, &mut findings);
    (pipelines, findings.into_problems(&sources))
}
