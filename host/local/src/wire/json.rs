//! Answers in JSON, whose byte strings are base64.
//!
//! Data is most of what the endpoint gives. Written as a string it would be encoded into a buffer of its own, looked
//! through for characters to escape, of which base64 has none, and copied.

use std::io::{self, Write};

use base64_simd::{AsOut as _, STANDARD};
use serde::Serialize;
use serde_json::ser::Formatter;

/// Bytes encoded at a time: a multiple of three, so that only the last piece is padded.
const PIECE: usize = 3072;

struct Base64Bytes;

impl Formatter for Base64Bytes {
    fn write_byte_array<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        bytes: &[u8],
    ) -> io::Result<()> {
        let mut text = [0_u8; PIECE / 3 * 4];
        writer.write_all(b"\"")?;
        for piece in bytes.chunks(PIECE) {
            writer.write_all(STANDARD.encode(piece, text[..].as_out()))?;
        }
        writer.write_all(b"\"")
    }
}

pub(super) fn encode<T: Serialize>(answer: &T) -> serde_json::Result<Vec<u8>> {
    let mut body = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut body, Base64Bytes);
    answer.serialize(&mut serializer)?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::BlobRef;

    proptest! {
        #[test]
        fn bytes_are_base64(bytes in vec(any::<u8>(), 0..3 * PIECE)) {
            let body = encode(&[BlobRef(&bytes)]).unwrap();
            let read: Vec<String> = serde_json::from_slice(&body).unwrap();
            prop_assert_eq!(STANDARD.decode_to_vec(&read[0]).unwrap(), bytes);
        }
    }
}
