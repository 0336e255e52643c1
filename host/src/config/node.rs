//! YAML as nodes that know where they are written.
//!
//! The parser stops at its first error, so that it only ever builds this tree; whatever can be wrong with a document
//! beyond its syntax is found on the tree, and nothing is found alone.

mod tree;

use std::collections::BTreeMap;

use super::problem::{Findings, Site, Span, join};
use super::variables;
use tree::{Bytes, Shape, Tree};

/// A value and where it is written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    /// A map or list that is the value of a field is shown at the field's name.
    pub(super) site: Site,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Flag(bool),
    Whole(i128),
    Real(f64),
    Text {
        text: String,
        /// Whether a variable was filled in: such a text may stand for a number or a flag.
        filled: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Something is wrong with it that has been told.
    Told,
}

impl Value {
    /// What it is, for an error.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null | Self::Told => "nothing",
            Self::Flag(_) => "a flag",
            Self::Whole(_) | Self::Real(_) => "a number",
            Self::Text { .. } => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// A field of a map.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    /// Where its name is written.
    pub(super) site: Site,
    pub(super) node: Node,
}

/// Reads every document of a file. Empty ones are left out.
pub(super) fn documents(
    file: usize,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    findings: &mut Findings,
) -> Vec<Node> {
    let mut builder = Builder {
        file,
        text,
        env,
        findings,
    };
    match tree::parse(text) {
        Ok(trees) => builder.nodes(&trees, 0),
        // Each document is tried alone, so that one slip hides the rest of its own document and no other.
        Err(_) => pieces(text)
            .into_iter()
            .flat_map(|(start, piece)| match tree::parse(piece) {
                Ok(trees) => builder.nodes(&trees, start),
                Err(error) => {
                    builder.syntax(start, &error);
                    Vec::new()
                }
            })
            .collect(),
    }
}

/// A value that is not written but follows from another: it is shown at `site`.
pub(super) fn implied(yaml: &str, site: &Site) -> Option<Node> {
    let trees = tree::parse(yaml).ok()?;
    let none = |_: &str| None;
    let mut findings = Findings::default();
    let mut builder = Builder {
        file: site.span.file,
        text: yaml,
        env: &none,
        findings: &mut findings,
    };
    let mut node = builder.node(trees.first()?, 0, "".into());
    node.show_at(site);
    findings.is_empty().then_some(node)
}

impl Node {
    fn show_at(&mut self, site: &Site) {
        self.site.span = site.span;
        self.site.path = join_paths(&site.path, &self.site.path);
        match &mut self.value {
            Value::List(nodes) => nodes.iter_mut().for_each(|node| node.show_at(site)),
            Value::Map(entries) => {
                for entry in entries {
                    entry.site.span = site.span;
                    entry.site.path = join_paths(&site.path, &entry.site.path);
                    entry.node.show_at(site);
                }
            }
            _ => {}
        }
    }
}

fn join_paths(outer: &str, inner: &str) -> std::sync::Arc<str> {
    if inner.is_empty() {
        outer.into()
    } else {
        join(outer, inner)
    }
}

/// Splits at the lines that begin a document: YAML lets no scalar go past such a line, whatever its style.
fn pieces(text: &str) -> Vec<(usize, &str)> {
    let mut starts = vec![0];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let marks = line.strip_prefix("---");
        if at > 0
            && marks
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r']))
        {
            starts.push(at);
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let piece = |(start, end): (&usize, usize)| (*start, &text[*start..end]);
    starts.iter().zip(ends).map(piece).collect()
}

struct Builder<'a> {
    file: usize,
    text: &'a str,
    env: &'a dyn Fn(&str) -> Option<String>,
    findings: &'a mut Findings,
}

impl Builder<'_> {
    fn site(&self, base: usize, bytes: Bytes, path: std::sync::Arc<str>) -> Site {
        let start = (base + bytes.start).min(self.text.len());
        let span = Span {
            file: self.file,
            start,
            len: bytes.len.min(self.text.len() - start),
        };
        Site { span, path }
    }

    fn syntax(&mut self, base: usize, error: &tree::SyntaxError) {
        let site = self.site(base, error.at, "".into());
        let start = site.span.start;
        let line = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[start..]
            .find('\n')
            .map_or(self.text.len(), |at| start + at);
        let bare = self.text[line..end].contains("{ ${")
            || self.text[line..end].contains(": ${")
            || self.text[line..end].contains(", ${");
        let finding = self
            .findings
            .add(&site, format!("this is not YAML: {}", error.message));
        if bare {
            finding.help("between `{` and `}` a variable stands in quotes: { n: \"${env:N}\" }");
        }
    }

    fn nodes(&mut self, trees: &[Tree], base: usize) -> Vec<Node> {
        let build = |tree: &Tree| self.node(tree, base, "".into());
        trees.iter().map(build).collect()
    }

    fn node(&mut self, tree: &Tree, base: usize, path: std::sync::Arc<str>) -> Node {
        let site = self.site(base, tree.at, path);
        let value = match &tree.shape {
            Shape::Null => Value::Null,
            Shape::Flag(flag) => Value::Flag(*flag),
            Shape::Whole(number) => Value::Whole(*number),
            Shape::Real(number) => Value::Real(*number),
            Shape::Text(text) => match variables::expand(text, self.env) {
                Ok(expanded) => Value::Text {
                    text: expanded.text,
                    filled: expanded.filled,
                },
                Err(error) => {
                    let help = error.help();
                    self.findings.add(&site, error.to_string()).help(help);
                    Value::Told
                }
            },
            Shape::List(items) => {
                let item = |(index, tree): (usize, &Tree)| {
                    let path = format!("{}[{index}]", site.path).into();
                    self.node(tree, base, path)
                };
                Value::List(items.iter().enumerate().map(item).collect())
            }
            Shape::Map(entries) => Value::Map(self.entries(entries, base, &site)),
        };
        Node { value, site }
    }

    fn entries(&mut self, entries: &[(Tree, Tree)], base: usize, parent: &Site) -> Vec<Entry> {
        let mut seen: BTreeMap<String, Site> = BTreeMap::new();
        let mut built = Vec::with_capacity(entries.len());
        for (key, tree) in entries {
            let Some(name) = self.name(key, base) else {
                let site = self.site(base, key.at, parent.path.clone());
                self.findings
                    .add(&site, "a field's name is a word, not a list or a map");
                continue;
            };
            let site = self.site(base, key.at, join(&parent.path, &name));
            if let Some(first) = seen.get(&name) {
                self.findings
                    .add(&site, format!("`{name}` is written twice"))
                    .help("keep one of them")
                    .also(first, "first here");
                continue;
            }
            let mut node = self.node(tree, base, site.path.clone());
            if !matches!(
                node.value,
                Value::Text { .. } | Value::Whole(_) | Value::Real(_)
            ) && !matches!(node.value, Value::Flag(_) | Value::Told)
            {
                node.site = site.clone();
            }
            seen.insert(name.clone(), site.clone());
            built.push(Entry { name, site, node });
        }
        built
    }

    /// A name that looks like a number or a flag is a name all the same, as it is written.
    fn name(&self, key: &Tree, base: usize) -> Option<String> {
        match &key.shape {
            Shape::Text(text) => Some(text.clone()),
            Shape::List(_) | Shape::Map(_) => None,
            Shape::Null | Shape::Flag(_) | Shape::Whole(_) | Shape::Real(_) => {
                let start = base + key.at.start;
                let written = self.text.get(start..start + key.at.len)?;
                Some(written.to_owned())
            }
        }
    }
}
