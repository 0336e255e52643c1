//! Numbers, sizes and times, each with its bounds.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::text;
use crate::config::node::{Node, Value};
use crate::config::reading::{Readable, Reader, expected};

/// Bytes in a MiB.
pub(in crate::config) const MIB: u64 = 1024 * 1024;
/// Milliseconds in a second.
pub(in crate::config) const SECOND: u64 = 1000;
/// Milliseconds in a minute.
pub(in crate::config) const MINUTE: u64 = 60 * SECOND;
/// Milliseconds in an hour.
pub(in crate::config) const HOUR: u64 = 60 * MINUTE;

const SIZES: [(&str, u64); 7] = [
    ("B", 1),
    ("KiB", 1024),
    ("MiB", MIB),
    ("GiB", 1024 * MIB),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

const TIMES: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", SECOND),
    ("m", MINUTE),
    ("h", HOUR),
    ("d", 24 * HOUR),
];

const SIZE_HELP: &str = "write a whole number and a unit: 64MiB, 512KiB, 1MB";
const TIME_HELP: &str = "write a whole number and a unit: 200ms, 10s, 5m, 1h30m";

/// The sum of all `<number><unit>` in a text; none if there is anything else in it, or it is too large.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let mut rest = text.trim();
    let mut sum = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let end = unit
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(unit.len());
        let name = unit[..end].trim();
        let (_, scale) = units.iter().find(|(known, _)| *known == name)?;
        sum = sum.checked_add(number.checked_mul(*scale)?)?;
        rest = &unit[end..];
    }
    (!text.trim().is_empty()).then_some(sum)
}

/// A quantity in the largest unit that divides it.
fn shown(value: u64, units: &[(&str, u64)]) -> String {
    let best = units
        .iter()
        .filter(|(_, scale)| value.is_multiple_of(*scale) && value >= *scale)
        .max_by_key(|(_, scale)| *scale);
    match best {
        Some((unit, scale)) => format!("{}{unit}", value / scale),
        None => format!("{value}{}", units[0].0),
    }
}

fn within(
    value: u64,
    (min, max): (u64, u64),
    show: fn(u64) -> String,
    node: &Node,
    reader: &mut Reader<'_>,
) -> Option<u64> {
    if (min..=max).contains(&value) {
        return Some(value);
    }
    let (bound, limit) = if value < min {
        ("at least", min)
    } else {
        ("at most", max)
    };
    reader
        .findings
        .add(
            &node.site,
            format!(
                "{} is out of bounds: it must be {bound} {}",
                show(value),
                show(limit)
            ),
        )
        .help(format!("give a value from {} to {}", show(min), show(max)));
    None
}

fn with_unit(
    node: &Node,
    (what, units, help): (&str, &[(&str, u64)], &str),
    reader: &mut Reader<'_>,
) -> Option<u64> {
    if let Value::Whole(_) | Value::Real(_) = node.value {
        expected(node, &format!("{what} with a unit"), reader).map(|finding| finding.help(help));
        return None;
    }
    let text = text(node, what, reader)?;
    let value = quantity(text, units);
    if value.is_none() {
        reader
            .findings
            .add(&node.site, format!("`{text}` is not {what}"))
            .help(help);
    }
    value
}

fn show_number(value: u64) -> String {
    value.to_string()
}

fn show_size(value: u64) -> String {
    shown(value, &SIZES[..4])
}

fn show_time(value: u64) -> String {
    shown(value, &TIMES)
}

/// A whole number within bounds.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Number<const MIN: u64, const MAX: u64>(pub(in crate::config) u64);

impl<const MIN: u64, const MAX: u64> Readable for Number<MIN, MAX> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let number = match &node.value {
            Value::Whole(number) => u64::try_from(*number).ok(),
            Value::Text { text, filled: true } => text.trim().parse().ok(),
            Value::Text { text, .. } if text.parse::<u64>().is_ok() => {
                expected(node, "a whole number", reader)
                    .map(|finding| finding.help("remove the quotes"));
                return None;
            }
            _ => None,
        };
        let Some(number) = number else {
            let help = format!("give a number from {MIN} to {MAX}");
            if let Value::Whole(_) | Value::Real(_) = node.value {
                reader
                    .findings
                    .add(
                        &node.site,
                        "this is out of bounds: it must be a whole number",
                    )
                    .help(help);
            } else {
                expected(node, "a whole number", reader).map(|finding| finding.help(help));
            }
            return None;
        };
        within(number, (MIN, MAX), show_number, node, reader).map(Self)
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Number<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Number{MIN}To{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": MIN, "maximum": MAX },
            { "type": "string", "pattern": "\\$\\{" },
        ] })
    }
}

/// A size in bytes within bounds.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Size<const MIN: u64, const MAX: u64>(pub(in crate::config) u64);

impl<const MIN: u64, const MAX: u64> Readable for Size<MIN, MAX> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let bytes = with_unit(node, ("a size", &SIZES, SIZE_HELP), reader)?;
        within(bytes, (MIN, MAX), show_size, node, reader).map(Self)
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Size<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Size{MIN}To{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9]+ *([KMG]i?)?B)+$|\\$\\{" })
    }
}

/// A time within bounds, which are milliseconds.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Time<const MIN: u64, const MAX: u64>(pub(in crate::config) Duration);

impl<const MIN: u64, const MAX: u64> Readable for Time<MIN, MAX> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let millis = with_unit(node, ("a time", &TIMES, TIME_HELP), reader)?;
        within(millis, (MIN, MAX), show_time, node, reader)
            .map(|millis| Self(Duration::from_millis(millis)))
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Time<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Time{MIN}To{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9]+ *(ms|s|m|h|d))+$|\\$\\{" })
    }
}

/// From one time to another.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct TimeRange<const MIN: u64, const MAX: u64> {
    pub(in crate::config) min: Duration,
    pub(in crate::config) max: Duration,
}

impl<const MIN: u64, const MAX: u64> Readable for TimeRange<MIN, MAX> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let help = "write the shortest and the longest: 200ms..30s";
        let range = text(node, "a range of times", reader)?;
        let both = range.split_once("..").and_then(|(min, max)| {
            let (min, max) = (quantity(min, &TIMES)?, quantity(max, &TIMES)?);
            (min <= max).then_some((min, max))
        });
        let Some((min, max)) = both else {
            reader
                .findings
                .add(&node.site, format!("`{range}` is not a range of times"))
                .help(help);
            return None;
        };
        let min = within(min, (MIN, MAX), show_time, node, reader)?;
        let max = within(max, (MIN, MAX), show_time, node, reader)?;
        Some(Self {
            min: Duration::from_millis(min),
            max: Duration::from_millis(max),
        })
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for TimeRange<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("TimeRange{MIN}To{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = "^([0-9]+ *(ms|s|m|h|d))+ *\\.\\. *([0-9]+ *(ms|s|m|h|d))+$|\\$\\{";
        json_schema!({ "type": "string", "pattern": pattern })
    }
}
