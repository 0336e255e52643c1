//! How emissions look as JSON lines.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use shardwright_core::pipeline::LineFormat;

use crate::ports::Outgoing;

/// How every line begins.
pub(super) const LINE_BEGIN: &[u8] = br#"{"id":""#;

/// Appends one line: `{"id":…,"key":…,"data":…}`.
///
/// Payloads that are not UTF-8 come as `data_base64`. With [`LineFormat::Json`] a payload that is a JSON value is written
/// as that value, its digits and spaces as they were; one that is none is written as text.
pub(super) fn push(lines: &mut Vec<u8>, emission: &Outgoing<'_>, format: LineFormat) {
    // Writing to a vector cannot fail, and neither can text as JSON.
    let _ = write!(lines, r#"{{"id":"{}","key":"#, emission.id);
    push_text(lines, emission.key);
    push_payload(lines, emission.data, format);
    lines.extend_from_slice(b"}\n");
}

/// Appends `,"data":…`.
pub(super) fn push_payload(lines: &mut Vec<u8>, data: &[u8], format: LineFormat) {
    if format == LineFormat::Json && serde_json::from_slice::<&RawValue>(data).is_ok() {
        lines.extend_from_slice(br#","data":"#);
        // A line ending can only stand between tokens: inside of strings JSON has it escaped.
        lines.extend(data.iter().map(|byte| {
            if matches!(byte, b'\n' | b'\r') {
                b' '
            } else {
                *byte
            }
        }));
        return;
    }
    if let Ok(text) = std::str::from_utf8(data) {
        lines.extend_from_slice(br#","data":"#);
        push_text(lines, text);
    } else {
        lines.extend_from_slice(br#","data_base64":"#);
        push_text(lines, &STANDARD.encode(data));
    }
}

pub(super) fn push_text(lines: &mut Vec<u8>, text: &str) {
    let _ = serde_json::to_writer(lines, text);
}
