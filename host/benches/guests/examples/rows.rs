//! A batch as a list of records.
#![cfg(target_arch = "wasm32")]
#![allow(missing_docs, unsafe_code, reason = "what is generated")]

wit_bindgen::generate!({ path: "rows.wit", world: "row-handler" });

use exports::bench::rows::rows::{Guest, Message};

struct Rows;

impl Guest for Rows {
    fn handle(messages: Vec<Message>) -> Result<u64, String> {
        Ok(messages
            .iter()
            .map(|message| shardwright_bench_guests::words(&message.data))
            .sum())
    }
}

export!(Rows);
