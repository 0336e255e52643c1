//! A guest that wants what nobody gave it.
#![cfg(target_arch = "wasm32")]
#![allow(missing_docs, unsafe_code, reason = "what is generated")]

wit_bindgen::generate!({
    path: "../../../../../wit",
    inline: "
        package test:granted;
        world granted {
            import wasi:keyvalue/store@0.2.0;
            include shardwright:plugin/message-minimal@0.1.0;
        }
        package wasi:keyvalue@0.2.0 {
            interface store {
                call: func();
            }
        }
    ",
    world: "test:granted/granted",
    generate_all,
});

use exports::shardwright::plugin::message_handler::{Emission, Guest, Message};
use shardwright::plugin::types::Failure;

struct Granted;

impl Guest for Granted {
    fn handle(message: Message) -> Result<Vec<Emission>, Failure> {
        if message.data.is_empty() {
            wasi::keyvalue::store::call();
        }
        Ok(Vec::new())
    }
}

export!(Granted);
