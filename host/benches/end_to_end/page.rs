//! `docs/performance.md`: what a bench measures goes there in place of what it measured before, or is printed.

use std::path::Path;

use anyhow::Context as _;

/// Where tables go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Page {
    /// To the standard output.
    Printed,
    /// Into the document, and to the standard output.
    Written,
}

impl Page {
    /// `--write` has it written.
    pub(crate) fn of(is_written: bool) -> Self {
        if is_written {
            Self::Written
        } else {
            Self::Printed
        }
    }

    /// Puts a table, Markdown, under its name. The document has a place for it, between two comments.
    pub(crate) fn put(self, name: &str, table: &str) -> anyhow::Result<()> {
        println!("{table}");
        if let Self::Printed = self {
            return Ok(());
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/performance.md");
        let text = std::fs::read_to_string(&path)?;
        Ok(std::fs::write(path, replaced(&text, name, table)?)?)
    }
}

fn replaced(document: &str, name: &str, table: &str) -> anyhow::Result<String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let place = || format!("docs/performance.md has no place for the table `{name}`");
    let (before, rest) = document.split_once(&begin).with_context(place)?;
    let (_, after) = rest.split_once(&end).with_context(place)?;
    Ok(format!("{before}{begin}{table}{end}{after}"))
}
