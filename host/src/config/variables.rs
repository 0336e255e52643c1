//! `${env:NAME}` in string values.

/// What a string looks like once its variables are filled in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    pub(super) text: String,
    /// Whether there was a variable: such a text may stand for a number.
    pub(super) filled: bool,
}

/// Why a string cannot be filled in.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum VariableError {
    #[error("the variable `{0}` is not set")]
    Unset(String),
    #[error("secrets (`{0}`) are not available in this version")]
    Secret(String),
    #[error("`{0}` is not a variable")]
    Unknown(String),
    #[error("`{0}` has no closing `}}`")]
    Open(String),
}

impl VariableError {
    pub(super) fn help(&self) -> String {
        match self {
            Self::Unset(name) => {
                format!("set {name}, or give a default: `${{env:{name}:-value}}`")
            }
            Self::Secret(_) => "use `${env:NAME}` and let the environment carry it".to_owned(),
            Self::Unknown(_) | Self::Open(_) => {
                "write `${env:NAME}` or `${env:NAME:-default}`; `$${` stands for `${`".to_owned()
            }
        }
    }
}

/// Fills in the variables of a string. What comes from the environment is not looked at again.
pub(super) fn expand(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Expanded, VariableError> {
    let mut out = String::with_capacity(text.len());
    let mut filled = false;
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if let Some(escaped) = rest[..at].strip_suffix('$') {
            out.push_str(escaped);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let Some(length) = rest[at..].find('}') else {
            return Err(VariableError::Open(rest[at..].to_owned()));
        };
        let whole = &rest[at..=at + length];
        out.push_str(&value(whole, env)?);
        filled = true;
        rest = &rest[at + length + 1..];
    }
    out.push_str(rest);
    Ok(Expanded { text: out, filled })
}

fn value(whole: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, VariableError> {
    let inner = &whole[2..whole.len() - 1];
    if inner.starts_with("secret:") {
        return Err(VariableError::Secret(whole.to_owned()));
    }
    let Some(variable) = inner.strip_prefix("env:") else {
        return Err(VariableError::Unknown(whole.to_owned()));
    };
    let (name, default) = match variable.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (variable, None),
    };
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(VariableError::Unknown(whole.to_owned()));
    }
    // As in a shell, `:-` also stands in for an empty value.
    match (env(name), default) {
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(VariableError::Unset(name.to_owned())),
    }
}
