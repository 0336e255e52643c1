//! The parser's side of a node: the one place that knows it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{DuplicateKeyPolicy, Location, Spanned, options::NonFiniteFloatPolicy};

/// The deepest field of a pipeline is at 7, which leaves a plugin's configuration its share. The parser takes 40 KiB of
/// stack for each level in a debug build, and threads have 2 MiB.
const MAX_DEPTH: usize = 24;

/// A host's worth of pipelines; it bounds what aliases can unfold to.
const MAX_NODES: usize = 200_000;

/// A range of bytes in the text that was parsed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes {
    pub(super) start: usize,
    pub(super) len: usize,
}

/// A node as it is parsed.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) shape: Shape,
    pub(super) at: Bytes,
}

/// What it is.
#[derive(Debug)]
pub(super) enum Shape {
    Null,
    Flag(bool),
    Whole(i128),
    Real(f64),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(Tree, Tree)>),
}

/// The first thing in a text that is not YAML.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) message: String,
    pub(super) at: Bytes,
}

/// Parses every document of a text that is not empty.
pub(super) fn parse(text: &str) -> Result<Vec<Tree>, SyntaxError> {
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            flow_nesting_limit: MAX_DEPTH,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        // `no` is a country, and `0123` an account.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    };
    serde_yaml::from_multiple_with_options(text, options).map_err(|error| {
        let at = error
            .location()
            .map_or(Bytes { start: 0, len: 0 }, |location| bytes(text, location));
        let message = error.to_string();
        let message = match message.rfind(" at line ") {
            Some(end) => message[..end].to_owned(),
            None => message,
        };
        let is_bound = ["budget breached", "recursion limit"];
        let message = if is_bound.iter().any(|bound| message.contains(bound)) {
            format!("it is nested more than {MAX_DEPTH} deep, or far too large")
        } else {
            message
        };
        SyntaxError { message, at }
    })
}

/// The parser counts bytes in values and characters in errors.
fn bytes(text: &str, location: Location) -> Bytes {
    let span = location.span();
    let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    match (span.byte_offset(), span.byte_len()) {
        (Some(start), Some(len)) => Bytes {
            start: number(start),
            len: number(len),
        },
        _ => Bytes {
            start: text
                .char_indices()
                .nth(number(span.offset()))
                .map_or(text.len(), |(at, _)| at),
            len: 0,
        },
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Shape>::deserialize(deserializer)?;
        // A value behind an alias or a merge is shown where it is written.
        let span = spanned.defined.span();
        let number = |value: Option<u64>| usize::try_from(value.unwrap_or(0)).unwrap_or(0);
        let at = Bytes {
            start: number(span.byte_offset()),
            len: number(span.byte_len()),
        };
        Ok(Self {
            shape: spanned.value,
            at,
        })
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_none<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Shape, E> {
        Ok(Shape::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Shape, E> {
        Ok(Shape::Whole(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Shape, E> {
        Ok(Shape::Whole(number.into()))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Shape, E> {
        Ok(Shape::Whole(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Shape, E> {
        Ok(Shape::Real(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Shape, E> {
        Ok(Shape::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Shape, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Shape::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Shape, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Shape::Map(entries))
    }
}
