//! A handler's configuration, and what may be wrong with it.

use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

/// The configuration of a handler that has none: anything but an empty `with:` is refused.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Why a configuration is refused.
///
/// ```
/// use shardwright_guest::ConfigError;
///
/// let error = ConfigError::invalid("/window/size", "0 messages: give at least 1")
///     .and("/window/slide", "larger than the size of the window");
/// assert_eq!(
///     error.to_string(),
///     "/window/size: 0 messages: give at least 1; /window/slide: larger than the size of the window",
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// It can be read, and these values are wrong: all of them, not only the first.
    Invalid(Vec<ConfigProblem>),
    /// It cannot be read at all.
    Unreadable(String),
}

/// One value that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Where: a JSON pointer into the configuration, empty for the whole.
    pub path: String,
    /// What is wrong with it and what would be right.
    pub message: String,
}

impl ConfigError {
    /// A value that is wrong, by its JSON pointer.
    pub fn invalid(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![ConfigProblem {
            path: path.into(),
            message: message.into(),
        }])
    }

    /// This, and another value that is wrong. What cannot be read has no values, and stays as it is.
    #[must_use]
    pub fn and(mut self, path: impl Into<String>, message: impl Into<String>) -> Self {
        if let Self::Invalid(problems) = &mut self {
            problems.push(ConfigProblem {
                path: path.into(),
                message: message.into(),
            });
        }
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(problems) => {
                for (i, problem) in problems.iter().enumerate() {
                    let separator = if i == 0 { "" } else { "; " };
                    write!(f, "{separator}{}: {}", problem.path, problem.message)?;
                }
                Ok(())
            }
            Self::Unreadable(reason) => write!(f, "the configuration cannot be read: {reason}"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Reads a configuration; what does not fit is reported at its JSON pointer.
pub(crate) fn parse<C: DeserializeOwned>(json: &str) -> Result<C, ConfigError> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let config = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        if error.inner().is_data() {
            ConfigError::invalid(pointer(error.path()), message(error.inner()))
        } else {
            ConfigError::Unreadable(error.inner().to_string())
        }
    })?;
    deserializer
        .end()
        .map_err(|error| ConfigError::Unreadable(error.to_string()))?;
    Ok(config)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => {
                pointer.push('/');
                pointer.push_str(&index.to_string());
            }
            Segment::Map { key: name } | Segment::Enum { variant: name } => {
                pointer.push('/');
                pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Unknown => break,
        }
    }
    pointer
}

/// The error without ` at line 1 column 17`, which is a place in a text that the author of the YAML never sees.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place)
        .map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Window {
        size: u32,
        #[serde(default)]
        names: Vec<String>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Config {
        #[serde(rename = "a/b~c")]
        window: Window,
    }

    fn path_of(json: &str) -> String {
        match parse::<Config>(json) {
            Err(ConfigError::Invalid(problems)) => problems[0].path.clone(),
            other => panic!("expected an invalid value, got {other:?}"),
        }
    }

    #[test]
    fn what_does_not_fit_is_reported_at_its_pointer() {
        assert_eq!(path_of(r#"{"a/b~c": {"size": "x"}}"#), "/a~1b~0c/size");
        assert_eq!(
            path_of(r#"{"a/b~c": {"size": 1, "names": ["a", 2]}}"#),
            "/a~1b~0c/names/1"
        );
        assert_eq!(
            path_of(r#"{"a/b~c": {"size": 1, "nams": []}}"#),
            "/a~1b~0c/nams"
        );
        assert_eq!(path_of(r#"{"a/b~c": {}}"#), "/a~1b~0c");
        assert_eq!(path_of("{}"), "");
        assert_eq!(path_of("[]"), "");
    }

    #[test]
    fn messages_say_nothing_of_lines() {
        let error = parse::<Config>(r#"{"a/b~c": {"size": -1}}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/a~1b~0c/size: invalid value: integer `-1`, expected u32"
        );
    }

    #[test]
    fn what_is_no_json_cannot_be_read() {
        for json in ["", "{", "{} x", "nul"] {
            assert!(
                matches!(parse::<NoConfig>(json), Err(ConfigError::Unreadable(_))),
                "{json}"
            );
        }
    }

    #[test]
    fn no_config_takes_nothing() {
        assert_eq!(parse::<NoConfig>("{}"), Ok(NoConfig {}));
        assert!(parse::<NoConfig>(r#"{"x": 1}"#).is_err());
    }
}
