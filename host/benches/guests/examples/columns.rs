//! A batch as columns.
#![cfg(target_arch = "wasm32")]
#![allow(missing_docs, unsafe_code, reason = "what is generated")]

wit_bindgen::generate!({ path: "../../../wit", world: "batch-minimal" });

use exports::shardwright::plugin::batch_handler::{Batch, Emissions, Guest, Reply};
use shardwright::plugin::types::Failure;

struct Columns;

impl Guest for Columns {
    fn handle(batch: Batch) -> Result<Reply, Failure> {
        let mut start = 0;
        let mut words = 0;
        for &end in &batch.data_ends {
            words += shardwright_bench_guests::words(&batch.data[start..end as usize]);
            start = end as usize;
        }
        let data = words.to_string().into_bytes();
        Ok(Reply {
            failures: Vec::new(),
            holds: Vec::new(),
            releases: Vec::new(),
            emissions: Emissions {
                data_ends: vec![data.len() as u32],
                data,
                keys: Vec::new(),
                key_ends: vec![0],
                sources: vec![u32::MAX],
                outputs: Vec::new(),
                output_names: Vec::new(),
            },
        })
    }
}

export!(Columns);
