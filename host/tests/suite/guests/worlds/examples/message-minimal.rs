//! The least a guest of one message a call is: it gives back what it gets.
#![cfg(target_arch = "wasm32")]
#![allow(missing_docs, unsafe_code, reason = "what is generated")]

wit_bindgen::generate!({ path: "../../../../../wit", world: "message-minimal" });

use exports::shardwright::plugin::message_handler::{Emission, Guest, Message};
use shardwright::plugin::types::Failure;

struct Least;

impl Guest for Least {
    fn handle(message: Message) -> Result<Vec<Emission>, Failure> {
        Ok(vec![Emission {
            data: message.data,
            key: None,
            output: None,
        }])
    }
}

export!(Least);
