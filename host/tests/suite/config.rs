//! What somebody sees who writes a pipeline: what it becomes, or everything that is wrong with it.

mod docs;
mod goldens;
mod hostile;
mod schema;

use std::path::{Path, PathBuf};

/// The variables that tests set.
fn env(name: &str) -> Option<String> {
    match name {
        "LANES" => Some("16".to_owned()),
        "STREAM" => Some("orders".to_owned()),
        "EMPTY" => Some(String::new()),
        "STRICT" => Some("true".to_owned()),
        _ => None,
    }
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a folder with this extension, sorted.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = folder
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}
