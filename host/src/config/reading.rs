//! From nodes to the raw types: the one declaration of a field gives its reader and its schema.
//!
//! Reading never stops at a fault. A field that cannot be read is told and left empty, and everything around it is
//! read on, so that one run shows all there is to mend.

mod declare;

pub(super) use declare::{RecordSchema, choice, described, record};

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::node::{Entry, Node, Value, implied};
use super::problem::{Findings, Site};

/// What reading needs beside the node.
pub(super) struct Reader<'a> {
    pub(super) findings: &'a mut Findings,
    /// The folder that relative paths start from.
    pub(super) folder: &'a std::path::Path,
}

/// A raw type: it can be read from a node, and says in a schema what it takes.
pub(super) trait Readable: Sized + JsonSchema {
    /// Reads a node; none if something was told about it.
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;
}

/// A value and where it is written; a default is shown where it would be written.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) site: Site,
}

/// A field of a record: it may be absent, and it may have been told and thrown away.
#[derive(Clone, Debug)]
pub(super) struct Field<T> {
    at: Option<At<T>>,
    written: bool,
}

impl<T> Field<T> {
    /// The value, unless it is absent or wrong.
    pub(super) fn get(&self) -> Option<&At<T>> {
        self.at.as_ref()
    }

    /// The value, unless it is absent or wrong.
    pub(super) fn value(&self) -> Option<&T> {
        self.at.as_ref().map(|at| &at.value)
    }

    /// Whether it is in the file, right or wrong.
    pub(super) fn is_written(&self) -> bool {
        self.written
    }

    /// The value if one may be absent: none only if what is written is wrong.
    #[expect(
        clippy::option_option,
        reason = "absent and wrong differ: `?` on the outer one ends what cannot be built"
    )]
    pub(super) fn if_written(&self) -> Option<Option<&T>> {
        (self.at.is_some() || !self.written).then(|| self.value())
    }
}

/// The fields of a map, on their way into a record.
pub(super) struct Entries<'a> {
    site: &'a Site,
    left: BTreeMap<&'a str, &'a Entry>,
}

impl<'a> Entries<'a> {
    /// Takes a map apart; whatever is not in `known` is told.
    pub(super) fn of(
        node: &'a Node,
        known: &[&str],
        later: &[&str],
        reader: &mut Reader<'_>,
    ) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            expected(node, "a map of fields", reader)
                .map(|finding| finding.help(format!("its fields are {}", listed(known))));
            return None;
        };
        let mut left = BTreeMap::new();
        for entry in entries {
            let name = entry.name.as_str();
            if known.contains(&name) {
                left.insert(name, entry);
            } else if later.contains(&name) {
                not_yet(&entry.site, name, reader);
            } else {
                unknown("field", name, &entry.site, known, reader);
            }
        }
        let site = &node.site;
        Some(Self { site, left })
    }

    /// A field that must be there.
    pub(super) fn required<T: Readable>(&self, name: &str, reader: &mut Reader<'_>) -> Field<T> {
        let field = self.optional(name, reader);
        if !field.written {
            reader
                .findings
                .add(self.site, format!("`{name}` is missing"))
                .help(format!("add `{name}:` here"));
        }
        field
    }

    /// A field that may be absent.
    pub(super) fn optional<T: Readable>(&self, name: &str, reader: &mut Reader<'_>) -> Field<T> {
        let at = self.left.get(name).and_then(|entry| {
            let value = T::read(&entry.node, reader)?;
            let site = entry.node.site.clone();
            Some(At { value, site })
        });
        Field {
            at,
            written: self.left.contains_key(name),
        }
    }

    /// A field that has a default, written as YAML.
    pub(super) fn or<T: Readable>(
        &self,
        name: &str,
        default: &str,
        reader: &mut Reader<'_>,
    ) -> Field<T> {
        let mut field = self.optional(name, reader);
        if !field.written {
            let site = self.site.inside(name);
            field.at = implied(default, &site)
                .and_then(|node| T::read(&node, reader))
                .map(|value| At { value, site });
        }
        field
    }
}

/// Tells that a node is not what it must be; a node that was told already is not told again.
pub(super) fn expected<'f>(
    node: &Node,
    what: &str,
    reader: &'f mut Reader<'_>,
) -> Option<&'f mut super::problem::Finding> {
    match &node.value {
        Value::Told => None,
        Value::Null => Some(
            reader
                .findings
                .add(&node.site, format!("this has no value; it must be {what}"))
                .help("write a value, or remove the line"),
        ),
        other => Some(reader.findings.add(
            &node.site,
            format!("this must be {what}, and is {}", other.kind()),
        )),
    }
}

/// Tells that a word is not among those that are known.
pub(super) fn unknown(
    what: &str,
    name: &str,
    site: &Site,
    known: &[&str],
    reader: &mut Reader<'_>,
) {
    let help = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it may be {}", listed(known)),
    };
    reader
        .findings
        .add(site, format!("there is no {what} `{name}` here"))
        .help(help);
}

/// Tells that a word belongs to a version to come.
pub(super) fn not_yet(site: &Site, name: &str, reader: &mut Reader<'_>) {
    reader
        .findings
        .add(
            site,
            format!("`{name}` is not available in this version yet"),
        )
        .help("remove it: nothing that is written is ignored");
}

/// The known word that a wrong one most likely stands for.
pub(super) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    /// Below this, two words have little more than their length in common.
    const ALIKE: f64 = 0.75;
    known
        .map(|word| (strsim::jaro_winkler(name, word), word))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, word)| word)
}

/// Words for a sentence.
pub(super) fn listed(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.as_slice() {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [all @ .., last] => format!("{} or {last}", all.join(", ")),
    }
}

/// What a choice fell on.
pub(super) enum Chosen<'a> {
    Word(&'a str),
    Field(&'a str, &'a Node),
}

/// Finds what a choice fell on; anything but one known word or one known field is told.
pub(super) fn chosen<'a>(
    node: &'a Node,
    words: &[&str],
    fields: &[&str],
    later: &[&str],
    reader: &mut Reader<'_>,
) -> Option<Chosen<'a>> {
    let all = [words, fields].concat();
    match &node.value {
        Value::Text { text, .. } if words.contains(&text.as_str()) => Some(Chosen::Word(text)),
        Value::Text { text, .. } if later.contains(&text.as_str()) => {
            not_yet(&node.site, text, reader);
            None
        }
        Value::Text { text, .. } if fields.contains(&text.as_str()) => {
            reader
                .findings
                .add(&node.site, format!("`{text}` needs its fields"))
                .help(format!("write it as a map: {{ {text}: … }}"));
            None
        }
        Value::Text { text, .. } => {
            unknown("choice", text, &node.site, &all, reader);
            None
        }
        Value::Map(entries) if !fields.is_empty() => one_of(node, entries, fields, later, reader),
        _ => {
            expected(node, &listed(&all), reader);
            None
        }
    }
}

fn one_of<'a>(
    node: &Node,
    entries: &'a [Entry],
    fields: &[&str],
    later: &[&str],
    reader: &mut Reader<'_>,
) -> Option<Chosen<'a>> {
    let mut found: Option<&Entry> = None;
    let mut told = false;
    for entry in entries {
        let name = entry.name.as_str();
        if later.contains(&name) {
            not_yet(&entry.site, name, reader);
            told = true;
        } else if !fields.contains(&name) {
            unknown("choice", name, &entry.site, fields, reader);
            told = true;
        } else if let Some(first) = found {
            reader
                .findings
                .add(
                    &entry.site,
                    format!("only one of {} can be chosen", listed(fields)),
                )
                .help("keep one of them")
                .also(&first.site, "first here");
        } else {
            found = Some(entry);
        }
    }
    if found.is_none() && !told {
        reader.findings.add(
            &node.site,
            format!("this is empty; it must be {}", listed(fields)),
        );
    }
    found.map(|entry| Chosen::Field(&entry.name, &entry.node))
}

/// A map from names that the writer chose.
#[derive(Clone, Debug)]
pub(super) struct Named<T>(pub(super) Vec<(At<String>, Option<T>)>);

impl<T: Readable> Readable for Named<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            expected(node, "a map with names of your choice", reader);
            return None;
        };
        let read = |entry: &Entry| {
            let name = At {
                value: entry.name.clone(),
                site: entry.site.clone(),
            };
            super::values::check_name(&entry.name, &entry.site, 1, reader);
            (name, T::read(&entry.node, reader))
        };
        Some(Self(entries.iter().map(read).collect()))
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Named{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": generator.subschema_for::<T>(),
        })
    }
}

/// A list.
#[derive(Clone, Debug)]
pub(super) struct List<T>(pub(super) Vec<Option<At<T>>>);

impl<T: Readable> Readable for List<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::List(nodes) = &node.value else {
            expected(node, "a list", reader);
            return None;
        };
        let read = |node: &Node| {
            let value = T::read(node, reader)?;
            let site = node.site.clone();
            Some(At { value, site })
        };
        Some(Self(nodes.iter().map(read).collect()))
    }
}

impl<T: JsonSchema> JsonSchema for List<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("List{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": generator.subschema_for::<T>() })
    }
}
