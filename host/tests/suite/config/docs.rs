//! Every YAML block in the docs is a pipeline that loads, or a piece of one.

use std::path::{Path, PathBuf};

use shardwright::config;

use super::{env, files, package};

/// What a piece leaves out.
fn completed(block: &str) -> String {
    let mut text = block.to_owned();
    let writes = |field: &str| block.lines().any(|line| line.starts_with(field));
    if !writes("version:") {
        text.push_str("\nversion: 1\n");
    }
    if !writes("pipeline:") {
        text.push_str("\npipeline: example\n");
    }
    if !writes("source:") {
        text.push_str("\nsource: { kinesis: { stream: example } }\n");
    }
    text
}

/// The YAML blocks of a page, each with its line.
fn blocks(page: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in page.lines().enumerate() {
        match &mut open {
            None if line.trim() == "```yaml" => open = Some((index + 1, String::new())),
            None => {}
            Some(_) if line.trim() == "```" => blocks.extend(open.take()),
            Some((_, block)) => {
                block.push_str(line);
                block.push('\n');
            }
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

fn pages() -> Vec<PathBuf> {
    let root = package().parent().unwrap();
    let folders = [
        root.to_owned(),
        root.join("docs"),
        root.join("docs/decisions"),
    ];
    folders
        .iter()
        .flat_map(|folder| files(folder, "md"))
        .collect()
}

#[test]
fn every_yaml_block_in_the_docs_loads() {
    let mut count = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for (line, block) in blocks(&text) {
            count += 1;
            let text = if block.contains("---") {
                block
            } else {
                completed(&block)
            };
            if let Err(problems) = config::load_text(Path::new("docs.yaml"), &text, &env) {
                panic!("{}:{line}:\n{problems}", page.display());
            }
        }
    }
    assert!(count >= 8, "{count} blocks");
}
