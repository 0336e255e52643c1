//! One message a call.
#![cfg(target_arch = "wasm32")]
#![allow(missing_docs, unsafe_code, reason = "what is generated")]

wit_bindgen::generate!({ path: "../../../wit", world: "message-minimal" });

use exports::shardwright::plugin::message_handler::{Emission, Guest, Message};
use shardwright::plugin::types::Failure;

struct Messages;

impl Guest for Messages {
    fn handle(message: Message) -> Result<Vec<Emission>, Failure> {
        Ok(vec![Emission {
            data: shardwright_bench_guests::words(&message.data)
                .to_string()
                .into_bytes(),
            key: None,
            output: None,
        }])
    }
}

export!(Messages);
