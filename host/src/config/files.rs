//! From paths to texts.

use std::path::{Path, PathBuf};

use super::problem::Problem;

/// A configuration is written by hand; a larger file is something else.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// A file that was read.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// Reads every file that the paths name: files as they are, folders as their `*.yaml` and `*.yml` in order of name.
pub(super) fn read(paths: &[PathBuf]) -> (Vec<File>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut named = Vec::new();
    for path in paths {
        match listed(path) {
            Ok(found) => named.extend(found),
            Err(problem) => problems.push(problem),
        }
    }
    // A file that is named twice, say by itself and by its folder, is one file.
    let mut seen = std::collections::BTreeSet::new();
    named.retain(|path| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())));
    let mut files = Vec::new();
    for path in named {
        match text(&path) {
            Ok(text) => files.push(File { path, text }),
            Err(problem) => problems.push(problem),
        }
    }
    (files, problems)
}

/// Every file that the paths name, as far as they can be listed.
pub(super) fn named(paths: &[PathBuf]) -> Vec<PathBuf> {
    let named = paths
        .iter()
        .flat_map(|path| listed(path).unwrap_or_else(|_problem| vec![path.clone()]));
    named.collect()
}

fn listed(path: &Path) -> Result<Vec<PathBuf>, Problem> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let refuse = |error: std::io::Error| {
        let message = format!("this folder cannot be listed: {error}");
        Problem::of_file(path.to_owned(), message, "check its permissions")
    };
    let mut found = Vec::new();
    for entry in path.read_dir().map_err(refuse)? {
        let file = entry.map_err(refuse)?.path();
        let hidden = file
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let yaml = file
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        if yaml && !hidden && !file.is_dir() {
            found.push(file);
        }
    }
    found.sort();
    if found.is_empty() {
        let message = "this folder has no *.yaml or *.yml file".to_owned();
        let help = "name a file, or a folder with pipelines in it";
        return Err(Problem::of_file(path.to_owned(), message, help));
    }
    Ok(found)
}

fn text(path: &Path) -> Result<String, Problem> {
    let problem =
        |message: String, help: &str| Err(Problem::of_file(path.to_owned(), message, help));
    match path.metadata() {
        Err(error) => {
            return problem(
                format!("this file cannot be read: {error}"),
                "check its name",
            );
        }
        Ok(metadata) if metadata.len() > MAX_FILE_BYTES => {
            let message = format!("this file has {} bytes, more than 4 MiB", metadata.len());
            return problem(message, "is it a configuration?");
        }
        Ok(_) => {}
    }
    match std::fs::read(path).map(String::from_utf8) {
        Err(error) => problem(
            format!("this file cannot be read: {error}"),
            "check its name",
        ),
        Ok(Err(error)) => {
            let at = error.utf8_error().valid_up_to();
            problem(
                format!("byte {at} of this file is not UTF-8"),
                "save it as UTF-8",
            )
        }
        Ok(Ok(text)) => Ok(text),
    }
}
