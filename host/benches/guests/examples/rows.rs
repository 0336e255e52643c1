//! A batch as a list of records.

wit_bindgen::generate!({ path: "rows.wit", world: "row-handler" });

use exports::bench::rows::rows::{Guest, Message};

struct Rows;

impl Guest for Rows {
    fn handle(messages: Vec<Message>) -> Result<u64, String> {
        Ok(messages
            .iter()
            .map(|message| bench_guests::words(&message.data))
            .sum())
    }
}

export!(Rows);
