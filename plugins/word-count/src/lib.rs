//! Counts the words of each batch and emits `{"word":…,"count":…}`, keyed by word, once for each different word.
//!
//! A word is a run of bytes without ASCII white space (space, `\t`, `\n`, `\v`, `\f`, `\r`: what `tr` and `isspace` take
//! for it in the C locale) and never reaches over the end of a message. Words are told apart by their bytes, so the
//! sums over all emissions equal what `tr -s '[:space:]' '\n' | sort | uniq -c` counts. One that is not UTF-8 is shown
//! with replacement characters, and its bytes are beside it: `{"word":…,"word_base64":…,"count":…}`. A count belongs
//! to the whole batch: no message of it is done before all its counts are delivered.

use std::hash::Hasher;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rustc_hash::FxHasher;
use shardwright_guest::{
    Batch, Columns, ConfigError, Failure, Handler, NoConfig, Payload, Reply, Source,
};

/// A Kinesis partition key has at most 256 characters; a longer word goes under its first ones.
const KEY_CHARS_MAX: usize = 256;

/// The handler.
#[derive(Debug, Default)]
pub struct WordCount {
    /// Indices into the words of the batch, which are borrowed from it; the table is kept for its memory.
    table: HashTable<u32>,
    /// How many different words the last batch had, as a guess at the next.
    words_last: usize,
}

struct Word<'a> {
    bytes: &'a [u8],
    hash: u64,
    count: u64,
}

impl Handler for WordCount {
    type Config = NoConfig;
    const COLUMNS: Columns = Columns::NONE;
    const CONFIG_SCHEMA: Option<&'static str> =
        Some(r#"{"type": "object", "additionalProperties": false}"#);

    fn configure(_: NoConfig) -> Result<Self, ConfigError> {
        Ok(Self::default())
    }

    fn handle(&mut self, batch: &Batch<'_>, reply: &mut Reply) -> Result<(), Failure> {
        let words = self.count(batch);
        for word in &words {
            emit(word, reply);
        }
        self.words_last = words.len();
        Ok(())
    }
}

shardwright_guest::export!(WordCount);

impl WordCount {
    /// The different words in the order in which they first come.
    fn count<'a>(&mut self, batch: &Batch<'a>) -> Vec<Word<'a>> {
        self.table.clear();
        let mut words: Vec<Word<'a>> = Vec::with_capacity(self.words_last);
        for message in batch {
            for bytes in message.data.split(|&byte| is_space(byte)) {
                if bytes.is_empty() {
                    continue;
                }
                let mut hasher = FxHasher::default();
                hasher.write(bytes);
                let hash = hasher.finish();
                let found = self.table.entry(
                    hash,
                    |&index| words[index as usize].bytes == bytes,
                    |&index| words[index as usize].hash,
                );
                match found {
                    Entry::Occupied(entry) => {
                        words[*entry.get() as usize].count += 1;
                    }
                    Entry::Vacant(entry) => {
                        entry.insert(words.len() as u32);
                        words.push(Word {
                            bytes,
                            hash,
                            count: 1,
                        });
                    }
                }
            }
        }
        words
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn emit(word: &Word<'_>, reply: &mut Reply) {
    let text = String::from_utf8_lossy(word.bytes);
    let key_end = if text.len() <= KEY_CHARS_MAX {
        None
    } else {
        text.char_indices().nth(KEY_CHARS_MAX)
    };
    let key = key_end.map_or(&*text, |(end, _)| &text[..end]);
    reply.emission(Source::CALL).key(key).write(|payload| {
        // Neither text nor a number can fail to be JSON, and a payload takes all that is written.
        let _ = write_json(word, &text, payload);
    });
}

fn write_json(word: &Word<'_>, text: &str, payload: &mut Payload<'_>) -> serde_json::Result<()> {
    // Most words need no escape, and one copy each.
    if word
        .bytes
        .iter()
        .all(|byte| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~'))
    {
        payload.extend(b"{\"word\":\"");
        payload.extend(word.bytes);
        payload.extend(b"\",\"count\":");
    } else {
        payload.extend(b"{\"word\":");
        serde_json::to_writer(&mut *payload, text)?;
        // A replacement was made where the bytes differ.
        if text.as_bytes() != word.bytes {
            payload.extend(b",\"word_base64\":");
            serde_json::to_writer(&mut *payload, &BASE64_STANDARD.encode(word.bytes))?;
        }
        payload.extend(b",\"count\":");
    }
    serde_json::to_writer(&mut *payload, &word.count)?;
    payload.push(b'}');
    Ok(())
}

#[cfg(test)]
mod tests;
