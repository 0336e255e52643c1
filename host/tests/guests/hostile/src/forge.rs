//! Replies that no SDK would give.

use crate::bindings::exports::shardwright::plugin::batch_handler::{
    Hold, MessageFailure, Release, Reply,
};
use crate::bindings::shardwright::plugin::types::Failure;
use crate::emit;

/// A number that is no index of anything.
const NOWHERE: u32 = 4_000_000_000;

/// Forges the reply in one way.
pub(crate) fn forge(what: &str, index: u32, reply: &mut Reply) {
    let failure = Failure::Reject("forged".to_owned());
    let emission = |reply: &mut Reply| emit(reply, index, "key", "default", b"forged");
    match what {
        "failure-index" => reply.failures.push(MessageFailure {
            index: NOWHERE,
            failure,
        }),
        "failure-twice" => {
            reply.failures.push(MessageFailure {
                index,
                failure: failure.clone(),
            });
            reply.failures.push(MessageFailure { index, failure });
        }
        "hold-index" => reply.holds.push(Hold {
            index: NOWHERE,
            id: 1,
        }),
        "hold-twice" => reply.holds.extend([1, 1].map(|id| Hold { index, id })),
        "hold-two-ids" => reply.holds.extend([1, 2].map(|id| Hold { index, id })),
        "hold-and-fail" => {
            reply.holds.push(Hold { index, id: 1 });
            reply.failures.push(MessageFailure { index, failure });
        }
        "release-id" => reply.releases.push(Release {
            id: u64::MAX,
            failure: None,
        }),
        "release-twice" => reply
            .releases
            .extend([1, 1].map(|id| Release { id, failure: None })),
        "source" => emit(reply, NOWHERE, "key", "default", b"forged"),
        "output" => {
            emission(reply);
            reply.emissions.outputs.fill(NOWHERE);
        }
        "output-name" => emit(reply, index, "key", "never-declared", b"forged"),
        "output-count" => {
            emission(reply);
            emission(reply);
            reply.emissions.outputs.pop();
        }
        "data-ends" => {
            emission(reply);
            reply.emissions.data_ends.fill(NOWHERE);
        }
        "data-order" => {
            emission(reply);
            emission(reply);
            reply.emissions.data_ends.reverse();
        }
        "data-left" => {
            emission(reply);
            reply.emissions.data.push(b'x');
        }
        "key-utf8" => {
            emission(reply);
            reply.emissions.keys.fill(0xff);
        }
        "key-count" => {
            emission(reply);
            reply.emissions.key_ends.clear();
        }
        "source-count" => {
            emission(reply);
            reply.emissions.sources.push(index);
        }
        _ => {}
    }
}
