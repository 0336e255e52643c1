//! The contract's bindings.
#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated"
)]

wit_bindgen::generate!({
    path: "../../../../wit",
    world: "batch-full",
    additional_derives: [Clone],
});

export!(Hostile);

use super::Hostile;
