//! CBOR's tags, which say what a value is for (the Java SDK marks times with them) and which serde has no words for.

use std::borrow::Cow;

/// A map without entries.
pub(super) const EMPTY_MAP: &[u8] = &[0xa0];

/// Major types, in the upper three bits of a head.
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const TAG: u8 = 6;

/// The same items without their tags. Items lie one after the other whatever they are nested in, so this is one walk
/// over their heads, and what is broken stays so for the decoder to refuse.
pub(super) fn without_tags(body: &[u8]) -> Cow<'_, [u8]> {
    let mut kept: Option<Vec<u8>> = None;
    let (mut at, mut copied) = (0, 0);
    while let Some(head) = body.get(at) {
        let (major, argument_bytes) = (head >> 5, argument_bytes(*head));
        let end = (at + 1).saturating_add(argument_bytes).min(body.len());
        let payload = match major {
            BYTES | TEXT => argument(*head, &body[at + 1..end]),
            _ => 0,
        };
        if major == TAG {
            kept.get_or_insert_default()
                .extend_from_slice(&body[copied..at]);
            copied = end;
        }
        at = end.saturating_add(payload);
    }
    match kept {
        None => Cow::Borrowed(body),
        Some(mut kept) => {
            kept.extend_from_slice(body.get(copied..).unwrap_or_default());
            Cow::Owned(kept)
        }
    }
}

/// How many bytes after the head hold its argument.
fn argument_bytes(head: u8) -> usize {
    match head & 0x1f {
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        _ => 0,
    }
}

/// The argument: in the head if it is small. An indefinite length counts as none: its pieces have heads of their own.
fn argument(head: u8, bytes: &[u8]) -> usize {
    match head & 0x1f {
        small @ 0..24 => small.into(),
        24..28 => bytes.iter().fold(0, |value: usize, byte| {
            value.saturating_mul(256).saturating_add(usize::from(*byte))
        }),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tagged_time_is_left_as_its_number() {
        // {"T": 1(1000), "B": h'c1c1'}: bytes inside a string are no tags.
        let tagged = [
            0xa2, 0x61, b'T', 0xc1, 0x19, 3, 0xe8, 0x61, b'B', 0x42, 0xc1, 0xc1,
        ];
        let plain = [
            0xa2, 0x61, b'T', 0x19, 3, 0xe8, 0x61, b'B', 0x42, 0xc1, 0xc1,
        ];
        assert_eq!(*without_tags(&tagged), plain);
        assert!(matches!(without_tags(&plain), Cow::Borrowed(_)));
        // A tag of 8 bytes, in an indefinite list.
        let long = [0x9f, 0xdb, 0, 0, 0, 0, 0, 0, 0, 1, 5, 0xff];
        assert_eq!(*without_tags(&long), [0x9f, 5, 0xff]);
    }

    proptest! {
        #[test]
        fn any_bytes_at_all_are_walked_and_no_tag_is_left(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let once = without_tags(&body).into_owned();
            prop_assert!(once.len() <= body.len());
            prop_assert_eq!(&*without_tags(&once), &once[..]);
        }
    }
}
