//! The constraints of the service's model, refused in the service's words.

use std::ops::RangeInclusive;

use crate::wire::ServiceError;

/// A field that has to be there.
pub(super) fn required<T>(value: Option<T>, field: &str) -> Result<T, ServiceError> {
    value.ok_or_else(|| ServiceError::missing(field))
}

/// Ends what was asked for only to be tried, where everything is checked and nothing is done yet.
pub(super) fn unless_dry_run(dry_run: Option<bool>) -> Result<(), ServiceError> {
    if dry_run == Some(true) {
        return Err(ServiceError::DryRun);
    }
    Ok(())
}

/// A number in decimal of at most so many digits, without sign or leading zeros.
pub(super) fn is_decimal(text: &str, digits: usize) -> bool {
    (1..=digits).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'))
}

/// A text of so many characters.
pub(super) fn length(
    text: &str,
    field: &str,
    chars: RangeInclusive<usize>,
) -> Result<(), ServiceError> {
    count(
        // More bytes than the most can still be few enough characters, fewer bytes than the least cannot be enough.
        if text.len() > *chars.end() {
            text.chars().count()
        } else {
            text.len()
        },
        text,
        field,
        chars,
    )
}

/// A list or map of so many members; `shown` stands for it in the error.
pub(super) fn count(
    found: usize,
    shown: &str,
    field: &str,
    members: RangeInclusive<usize>,
) -> Result<(), ServiceError> {
    let (least, most) = (members.start(), members.end());
    if found < *least {
        let rule = format!("Member must have length greater than or equal to {least}");
        return Err(ServiceError::constraint(shown, field, &rule));
    }
    if found > *most {
        let rule = format!("Member must have length less than or equal to {most}");
        return Err(ServiceError::constraint(shown, field, &rule));
    }
    Ok(())
}

/// One of the values of an enumeration.
pub(super) fn one_of<'a>(
    value: &'a str,
    field: &str,
    values: &[&str],
) -> Result<&'a str, ServiceError> {
    if values.contains(&value) {
        return Ok(value);
    }
    let rule = format!(
        "Member must satisfy enum value set: [{}]",
        values.join(", ")
    );
    Err(ServiceError::constraint(value, field, &rule))
}

/// How many a list or a read gives at once: as asked for, but never more than `page`. It can be asked for up to `most`,
/// which the service takes and does not give.
pub(super) fn limited(
    value: Option<i64>,
    field: &str,
    page: usize,
    most: usize,
) -> Result<usize, ServiceError> {
    let Some(value) = value else {
        return Ok(page);
    };
    if value < 1 {
        let rule = "Member must have value greater than or equal to 1";
        return Err(ServiceError::constraint(&value.to_string(), field, rule));
    }
    usize::try_from(value)
        .ok()
        .filter(|v| *v <= most)
        .map(|v| v.min(page))
        .ok_or_else(|| {
            let rule = format!("Member must have value less than or equal to {most}");
            ServiceError::constraint(&value.to_string(), field, &rule)
        })
}
