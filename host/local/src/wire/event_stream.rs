//! Messages of `application/vnd.amazon.eventstream`, in which a subscription's events come.
//!
//! A message is its length, its headers' length, a CRC of those two, the headers, the payload, and a CRC of all before.

/// The content type of an answer that is a stream of messages.
pub(crate) const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

/// Bytes before the headers.
const PRELUDE: usize = 12;
/// Bytes of a CRC.
const CRC: usize = 4;
/// A header's value is a string.
const STRING: u8 = 7;

/// An event of this type.
pub(crate) fn event(kind: &str, content_type: &str, payload: &[u8]) -> Vec<u8> {
    let headers = [
        (":message-type", "event"),
        (":event-type", kind),
        (":content-type", content_type),
    ];
    message(&headers, payload)
}

/// An error of this type, which ends the stream.
pub(crate) fn exception(kind: &str, content_type: &str, payload: &[u8]) -> Vec<u8> {
    let headers = [
        (":message-type", "exception"),
        (":exception-type", kind),
        (":content-type", content_type),
    ];
    message(&headers, payload)
}

/// Names have less than 256 bytes and values less than 64 KiB: they are those of the service's model.
fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let header_bytes: usize = headers.iter().map(|(n, v)| 4 + n.len() + v.len()).sum();
    let total = PRELUDE + header_bytes + payload.len() + CRC;
    let mut bytes = Vec::with_capacity(total);
    bytes.extend_from_slice(&(total as u32).to_be_bytes());
    bytes.extend_from_slice(&(header_bytes as u32).to_be_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    for (name, value) in headers {
        bytes.push(name.len() as u8);
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(STRING);
        bytes.extend_from_slice(&(value.len() as u16).to_be_bytes());
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The format's published test vector: no header, payload `{'foo':'bar'}`.
    #[test]
    fn a_message_is_the_one_of_the_formats_test_vector() {
        let vector = [
            0x00, 0x00, 0x00, 0x1d, 0x00, 0x00, 0x00, 0x00, 0xfd, 0x52, 0x8c, 0x5a, 0x7b, 0x27,
            0x66, 0x6f, 0x6f, 0x27, 0x3a, 0x27, 0x62, 0x61, 0x72, 0x27, 0x7d, 0xc3, 0x65, 0x39,
            0x36,
        ];
        assert_eq!(message(&[], b"{'foo':'bar'}"), vector);
    }

    #[test]
    fn an_event_has_its_headers_in_front_of_its_payload() {
        let bytes = event("E", "t", b"p");
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("\u{d}:message-type\u{7}\0\u{5}event"));
        assert!(text.contains("\u{b}:event-type\u{7}\0\u{1}E"));
        assert_eq!(bytes[bytes.len() - 5], b'p');
        assert_eq!(bytes.len(), usize::from(bytes[3]));
    }
}
