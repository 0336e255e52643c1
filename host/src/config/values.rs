//! The values a field can take: names, numbers, sizes, times, paths.

mod quantity;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::node::{Node, Value};
use super::problem::Site;
use super::reading::{Readable, Reader, expected};
pub(super) use quantity::{HOUR, MIB, MINUTE, Number, SECOND, Size, Time, TimeRange};

/// The longest name that Kinesis takes; the others follow.
const MAX_NAME: usize = 128;

/// Tells a name that has the wrong length or characters: those that Kinesis and `DynamoDB` take.
pub(super) fn check_name(name: &str, site: &Site, min: usize, reader: &mut Reader<'_>) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let length = name.chars().count();
    let good = name.chars().all(legal) && (min..=MAX_NAME).contains(&length);
    if !good {
        reader
            .findings
            .add(site, format!("`{name}` cannot be a name"))
            .help(format!(
                "a name has {min} to {MAX_NAME} letters, digits, `_`, `.` or `-`"
            ));
    }
    good
}

/// The text of a node, if it is text and there is some.
pub(super) fn text<'n>(node: &'n Node, what: &str, reader: &mut Reader<'_>) -> Option<&'n str> {
    match &node.value {
        Value::Text { text, .. } if text.is_empty() => {
            reader
                .findings
                .add(&node.site, format!("this is empty; it must be {what}"));
            None
        }
        Value::Text { text, .. } => Some(text),
        Value::Whole(_) | Value::Real(_) | Value::Flag(_) => {
            expected(node, what, reader).map(|finding| finding.help("put it in quotes"));
            None
        }
        _ => {
            expected(node, what, reader);
            None
        }
    }
}

/// A name that has at least this many characters.
#[derive(Clone, Debug)]
pub(super) struct Name<const MIN: usize>(pub(super) String);

impl<const MIN: usize> Readable for Name<MIN> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let name = text(node, "a name", reader)?;
        check_name(name, &node.site, MIN, reader).then(|| Self(name.to_owned()))
    }
}

impl<const MIN: usize> JsonSchema for Name<MIN> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = format!("^[A-Za-z0-9_.-]{{{MIN},{MAX_NAME}}}$|\\$\\{{");
        json_schema!({ "type": "string", "pattern": pattern })
    }
}

/// A flag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flag(pub(super) bool);

impl Readable for Flag {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Flag(flag) => Some(Self(*flag)),
            Value::Text { text, filled: true } if text == "true" => Some(Self(true)),
            Value::Text { text, filled: true } if text == "false" => Some(Self(false)),
            _ => {
                expected(node, "`true` or `false`", reader);
                None
            }
        }
    }
}

impl JsonSchema for Flag {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Flag".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "boolean" }, { "type": "string", "pattern": "\\$\\{" }] })
    }
}

/// The format's version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version;

impl Readable for Version {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Whole(1) => Some(Self),
            Value::Whole(other) => {
                reader
                    .findings
                    .add(&node.site, format!("version {other} is not known"))
                    .help("this Shardwright reads `version: 1`");
                None
            }
            _ => {
                expected(node, "the number 1", reader);
                None
            }
        }
    }
}

impl JsonSchema for Version {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Version".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "const": 1 })
    }
}

/// Declares a value that is text of a form of its own.
macro_rules! text_value {
    ($Name:ident, $what:literal, $pattern:literal) => {
        impl Readable for $Name {
            fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
                let text = text(node, $what, reader)?;
                match Self::parse(text, reader.folder) {
                    Ok(value) => Some(value),
                    Err(help) => {
                        reader
                            .findings
                            .add(&node.site, format!("`{text}` is not {}", $what))
                            .help(help);
                        None
                    }
                }
            }
        }

        impl JsonSchema for $Name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($Name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}

/// Where requests are sent.
#[derive(Clone, Debug)]
pub(super) enum EndpointText {
    Local,
    Url(Arc<str>),
}

text_value!(
    EndpointText,
    "an endpoint",
    "^local$|^https?://[^/ ]+|\\$\\{"
);

impl EndpointText {
    fn parse(text: &str, _: &std::path::Path) -> Result<Self, &'static str> {
        let host = text
            .strip_prefix("http://")
            .or_else(|| text.strip_prefix("https://"));
        match host {
            _ if text == "local" => Ok(Self::Local),
            Some(host)
                if !host.is_empty()
                    && !host.starts_with('/')
                    && !text.contains(char::is_whitespace) =>
            {
                Ok(Self::Url(text.trim_end_matches('/').into()))
            }
            _ => Err("write `local` or a URL such as http://127.0.0.1:4566; leave it out for AWS"),
        }
    }
}

/// Where a plugin's bytes are.
#[derive(Clone, Debug)]
pub(super) enum PluginText {
    Builtin(Arc<str>),
    File(PathBuf),
}

text_value!(PluginText, "a plugin", "");

impl PluginText {
    fn parse(text: &str, folder: &std::path::Path) -> Result<Self, &'static str> {
        match text.split_once(':') {
            Some(("builtin", "")) => Err("name it: `builtin:word-count`"),
            Some(("builtin", name)) => Ok(Self::Builtin(name.into())),
            Some(("oci", _)) => {
                Err("plugins from registries are not available in this version yet; give a path")
            }
            Some(("http" | "https" | "s3" | "file", _)) => {
                Err("give a path, or `builtin:` and a name")
            }
            _ if text.ends_with('/') => Err("a path that ends in `/` is a folder; name the file"),
            _ => Ok(Self::File(resolved(text, folder))),
        }
    }
}

/// A file or a folder.
#[derive(Clone, Debug)]
pub(super) struct PathText {
    pub(super) path: PathBuf,
    pub(super) is_folder: bool,
}

text_value!(PathText, "a path", "");

impl PathText {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "text_value! asks every form for a result"
    )]
    fn parse(text: &str, folder: &std::path::Path) -> Result<Self, &'static str> {
        Ok(Self {
            path: resolved(text, folder),
            is_folder: text.ends_with('/'),
        })
    }
}

/// A path seen from the YAML's folder, without `.` parts.
fn resolved(text: &str, folder: &std::path::Path) -> PathBuf {
    folder.join(text).components().collect()
}

/// An instant, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instant(pub(super) i64);

text_value!(
    Instant,
    "an instant",
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9]{2}:[0-9]{2})$|\\$\\{"
);

impl Instant {
    fn parse(text: &str, _: &std::path::Path) -> Result<Self, &'static str> {
        let help = "write it as RFC 3339: 2026-11-01T00:00:00Z or 2026-11-01T01:00:00+01:00";
        let (local, offset_minutes) = offset(text).ok_or(help)?;
        let time = humantime::parse_rfc3339(&local).map_err(|_| help)?;
        let since = time
            .duration_since(std::time::UNIX_EPOCH)
            .map_err(|_| "no record is older than 1970")?;
        let millis = i64::try_from(since.as_millis()).map_err(|_| help)?;
        Ok(Self(millis - offset_minutes * 60_000))
    }
}

/// Splits an offset off: the instant as if it were UTC, and the minutes that it is ahead.
fn offset(text: &str) -> Option<(String, i64)> {
    if text.ends_with('Z') {
        return Some((text.to_owned(), 0));
    }
    let at = text.len().checked_sub(6)?;
    let (local, offset) = (text.get(..at)?, text.get(at..)?);
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let ahead = match offset.as_bytes().first()? {
        b'+' => hours * 60 + minutes,
        b'-' => -(hours * 60 + minutes),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then(|| (format!("{local}Z"), ahead))
}

/// The configuration of a plugin: any map, handed on as JSON.
#[derive(Clone, Debug)]
pub(super) struct Settings(pub(super) Arc<str>);

impl Readable for Settings {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if !matches!(node.value, Value::Map(_)) {
            expected(node, "a map: the plugin's own configuration", reader);
            return None;
        }
        Some(Self(json(node)?.to_string().into()))
    }
}

impl JsonSchema for Settings {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Settings".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": true })
    }
}

/// A node as JSON; none if something in it was told.
fn json(node: &Node) -> Option<serde_json::Value> {
    Some(match &node.value {
        Value::Told => return None,
        Value::Null => serde_json::Value::Null,
        Value::Flag(flag) => (*flag).into(),
        Value::Whole(number) => match (u64::try_from(*number), i64::try_from(*number)) {
            (Ok(number), _) => number.into(),
            (_, Ok(number)) => number.into(),
            _ => (*number as f64).into(),
        },
        Value::Real(number) => (*number).into(),
        Value::Text { text, .. } => text.clone().into(),
        Value::List(nodes) => nodes.iter().map(json).collect::<Option<Vec<_>>>()?.into(),
        Value::Map(entries) => entries
            .iter()
            .map(|entry| Some((entry.name.clone(), json(&entry.node)?)))
            .collect::<Option<serde_json::Map<_, _>>>()?
            .into(),
    })
}
