use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use shardwright_guest::testing::{Emitted, Harness, Origin, Verdict};

use super::*;

fn texts(batch: &[&str]) -> Vec<String> {
    let mut harness = Harness::<WordCount>::new(json!({})).unwrap();
    let outcome = harness.handle(batch.iter().copied());
    outcome
        .emissions
        .iter()
        .map(|emitted| emitted.text().into_owned())
        .collect()
}

fn bytes_and_count(emitted: &Emitted) -> (Vec<u8>, u64) {
    let value: Value = serde_json::from_slice(&emitted.data).unwrap();
    let bytes = match value.get("word_base64") {
        Some(base64) => BASE64_STANDARD.decode(base64.as_str().unwrap()).unwrap(),
        None => value["word"].as_str().unwrap().as_bytes().to_vec(),
    };
    (bytes, value["count"].as_u64().unwrap())
}

#[test]
fn words_are_counted_over_the_batch_in_the_order_in_which_they_come() {
    assert_eq!(
        texts(&["to be or not", "  to\u{b}\tbe\r\n"]),
        [
            r#"{"word":"to","count":2}"#,
            r#"{"word":"be","count":2}"#,
            r#"{"word":"or","count":1}"#,
            r#"{"word":"not","count":1}"#,
        ],
    );
    assert_eq!(texts(&["", " \n"]), [""; 0]);
    assert_eq!(
        texts(&["a", "b"]),
        texts(&["a b"]),
        "no word reaches over the end of a message"
    );
}

#[test]
fn a_count_is_keyed_by_its_word_and_belongs_to_the_whole_batch() {
    let mut harness = Harness::<WordCount>::new(json!({})).unwrap();
    let long = "é".repeat(KEY_CHARS_MAX + 1);
    let outcome = harness.handle([format!("a \"q {long}").into_bytes()]);
    assert_eq!(outcome.verdicts, [Verdict::Ack]);
    let keys: Vec<&str> = outcome
        .emissions
        .iter()
        .map(|emitted| emitted.key.as_str())
        .collect();
    assert_eq!(keys, ["a", "\"q", &long[..2 * KEY_CHARS_MAX]]);
    assert!(
        outcome
            .emissions
            .iter()
            .all(|emitted| emitted.origin == Origin::Call)
    );
}

/// Letters, white space, what JSON escapes, and halves of an `é`.
const BYTES: &[u8] = b"ab\"\\\x0b\n \xc3\xa9\xff";

proptest! {
    #[test]
    fn the_sums_equal_a_count_of_the_bytes(
        batches in vec(vec(vec(select(BYTES), 0..20), 0..5), 0..5),
    ) {
        let mut harness = Harness::<WordCount>::new(json!({})).unwrap();
        let (mut sums, mut expected) = (BTreeMap::new(), BTreeMap::new());
        for batch in batches {
            for message in &batch {
                let words = message.split(|byte| b" \t\n\x0b\x0c\r".contains(byte));
                for word in words.filter(|word| !word.is_empty()) {
                    *expected.entry(word.to_vec()).or_insert(0) += 1;
                }
            }
            for emitted in harness.handle(batch).emissions {
                let (bytes, count) = bytes_and_count(&emitted);
                *sums.entry(bytes).or_insert(0) += count;
            }
        }
        prop_assert_eq!(sums, expected);
    }
}
