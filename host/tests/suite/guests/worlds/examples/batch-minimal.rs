//! The least a columnar guest is: it rejects the first message.
#![cfg(target_arch = "wasm32")]
#![allow(missing_docs, unsafe_code, reason = "what is generated")]

wit_bindgen::generate!({ path: "../../../../../wit", world: "batch-minimal" });

use exports::shardwright::plugin::batch_handler::{Batch, Emissions, Guest, MessageFailure, Reply};
use shardwright::plugin::types::Failure;

struct Least;

impl Guest for Least {
    fn handle(batch: Batch) -> Result<Reply, Failure> {
        let first =
            String::from_utf8_lossy(&batch.data[..batch.data_ends[0] as usize]).into_owned();
        Ok(Reply {
            failures: vec![MessageFailure {
                index: 0,
                failure: Failure::Reject(first),
            }],
            holds: Vec::new(),
            releases: Vec::new(),
            emissions: Emissions {
                data: Vec::new(),
                data_ends: Vec::new(),
                keys: Vec::new(),
                key_ends: Vec::new(),
                sources: Vec::new(),
                outputs: Vec::new(),
                output_names: Vec::new(),
            },
        })
    }
}

export!(Least);
