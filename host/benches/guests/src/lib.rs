//! The work that every variant does, in the sandbox and outside.

/// How many words there are, split at white space.
pub fn words(text: &[u8]) -> u64 {
    let mut words = 0;
    let mut in_word = false;
    for byte in text {
        let space = byte.is_ascii_whitespace();
        words += u64::from(in_word & space);
        in_word = !space;
    }
    words + u64::from(in_word)
}
