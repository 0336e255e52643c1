//! What a value is compared with.

use std::cmp::Ordering;

use serde::Deserialize;
use serde_json::{Number, Value};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Comparison {
    Eq(Value),
    Ne(Value),
    Lt(Value),
    Le(Value),
    Gt(Value),
    Ge(Value),
    In(Vec<Value>),
    Contains(String),
    Exists(bool),
}

impl Comparison {
    /// What is compared by order, with its JSON pointer in the configuration.
    pub(crate) fn limit(&self) -> Option<(&'static str, &Value)> {
        match self {
            Self::Lt(limit) => Some(("/is/lt", limit)),
            Self::Le(limit) => Some(("/is/le", limit)),
            Self::Gt(limit) => Some(("/is/gt", limit)),
            Self::Ge(limit) => Some(("/is/ge", limit)),
            _ => None,
        }
    }

    pub(crate) fn holds(&self, value: Option<&Value>) -> bool {
        let Some(value) = value else {
            return matches!(self, Self::Ne(_) | Self::Exists(false));
        };
        match self {
            Self::Eq(other) => equal(value, other),
            Self::Ne(other) => !equal(value, other),
            Self::Lt(limit) => order(value, limit).is_some_and(Ordering::is_lt),
            Self::Le(limit) => order(value, limit).is_some_and(Ordering::is_le),
            Self::Gt(limit) => order(value, limit).is_some_and(Ordering::is_gt),
            Self::Ge(limit) => order(value, limit).is_some_and(Ordering::is_ge),
            Self::In(others) => others.iter().any(|other| equal(value, other)),
            Self::Contains(part) => value.as_str().is_some_and(|text| text.contains(part)),
            Self::Exists(wanted) => *wanted,
        }
    }
}

/// Equal as JSON, except that `1` and `1.0` are one number.
fn equal(a: &Value, b: &Value) -> bool {
    order(a, b).map_or_else(|| a == b, Ordering::is_eq)
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => order_numbers(a, b),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

/// Integers compare exactly: identifiers beyond 2^53 are common in JSON, and differ by one.
fn order_numbers(a: &Number, b: &Number) -> Option<Ordering> {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}
