//! Which emissions go in which request.

use std::borrow::Cow;
use std::collections::HashMap;

use shardwright_core::pipeline::Order;

use crate::limits::{
    PARTITION_KEY_CHARS_MAX, PUT_BYTES_MAX, PUT_RECORD_BYTES_MAX, PUT_RECORDS_MAX,
    PUT_SHARED_RECORD_BYTES_MAX,
};
use crate::ports::{ErrorKind, Outgoing, PortError};

/// Requests in the order in which they are sent, each the indices of its emissions, and what no stream would take.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) requests: Vec<Vec<usize>>,
    pub(super) refused: Vec<(usize, PortError)>,
}

/// Spreads emissions over requests within the service's limits. With [`Order::PerKey`], the n-th emission of a key goes
/// in a later request than the one before.
pub(super) fn plan(emissions: &[Outgoing<'_>], order: Order) -> Plan {
    let mut refused = Vec::new();
    // The n-th emission of every key, by n.
    let mut waves: Vec<Vec<usize>> = Vec::new();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (index, emission) in emissions.iter().enumerate() {
        if let Err(error) = check(emission) {
            refused.push((index, error));
            continue;
        }
        let wave = match order {
            Order::PerKey if !emission.key.is_empty() => {
                let count = seen.entry(emission.key).or_default();
                *count += 1;
                *count - 1
            }
            Order::PerKey | Order::Unordered => 0,
        };
        if wave == waves.len() {
            waves.push(Vec::new());
        }
        waves[wave].push(index);
    }
    let requests = waves
        .iter()
        .flat_map(|wave| requests_of(emissions, wave))
        .collect();
    Plan { requests, refused }
}

fn requests_of(emissions: &[Outgoing<'_>], wave: &[usize]) -> Vec<Vec<usize>> {
    let mut requests = Vec::new();
    let mut request = Vec::new();
    let mut bytes = 0;
    for &index in wave {
        if is_large(&emissions[index]) {
            requests.push(vec![index]);
            continue;
        }
        let size = size_of(&emissions[index]);
        if request.len() == PUT_RECORDS_MAX || bytes + size > PUT_BYTES_MAX {
            requests.push(std::mem::take(&mut request));
            bytes = 0;
        }
        request.push(index);
        bytes += size;
    }
    if !request.is_empty() {
        requests.push(request);
    }
    requests
}

/// One record that cannot be taken would fail its whole request.
fn check(emission: &Outgoing<'_>) -> Result<(), PortError> {
    let key_chars = emission.key.chars().count();
    let size = size_of(emission);
    let what = if key_chars > PARTITION_KEY_CHARS_MAX {
        format!(
            "{}: its key is {key_chars} characters, and Kinesis takes {PARTITION_KEY_CHARS_MAX}",
            emission.id
        )
    } else if size > PUT_RECORD_BYTES_MAX {
        format!(
            "{}: it is {size} bytes with its key, and Kinesis takes {PUT_RECORD_BYTES_MAX}",
            emission.id
        )
    } else {
        return Ok(());
    };
    Err(PortError::new(ErrorKind::Unfit, what))
}

/// Whether a stream takes it only when it was set up for such records: it has a request to itself.
pub(super) fn is_large(emission: &Outgoing<'_>) -> bool {
    size_of(emission) > PUT_SHARED_RECORD_BYTES_MAX
}

fn size_of(emission: &Outgoing<'_>) -> usize {
    emission.data.len() + partition_key(emission).len()
}

/// The emission's key, or one made of its id, which the stream cannot do without.
pub(super) fn partition_key<'a>(emission: &Outgoing<'a>) -> Cow<'a, str> {
    if emission.key.is_empty() {
        let (sequence, sub_sequence) = emission.id.from;
        Cow::Owned(format!("{sequence}/{sub_sequence}/{}", emission.id.n))
    } else {
        Cow::Borrowed(emission.key)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use shardwright_core::ShardId;

    use super::*;
    use crate::ports::EmissionId;

    fn outgoing<'a>(shard: &'a ShardId, n: usize, key: &'a str, data: &'a [u8]) -> Outgoing<'a> {
        Outgoing {
            id: EmissionId {
                stream: "orders",
                shard,
                from: ("7", 0),
                to: None,
                n: u32::try_from(n).expect("it is small"),
            },
            key,
            data,
        }
    }

    proptest! {
        #[test]
        fn requests_hold_each_emission_once_within_limits_and_in_order(
            // A key of few, and a size that is small, of several MB, or too much.
            made in prop::collection::vec((0_usize..6, prop_oneof![
                20 => 0_usize..2_000,
                3 => 900_000_usize..1_200_000,
                1 => 4_000_000_usize..11_000_000,
            ]), 0..1_200),
            is_ordered in any::<bool>(),
        ) {
            let zeros = vec![0_u8; 11_000_000];
            let keys = ["", "a", "b", "ccc", "dddddddd", "e"];
            let shard = ShardId::from("shardId-000000000000");
            let emissions: Vec<_> = made
                .iter()
                .enumerate()
                .map(|(n, &(key, size))| outgoing(&shard, n, keys[key], &zeros[..size]))
                .collect();
            let order = if is_ordered { Order::PerKey } else { Order::Unordered };
            let plan = plan(&emissions, order);

            let mut last: HashMap<&str, usize> = HashMap::new();
            let mut count = 0;
            for request in &plan.requests {
                let size: usize = request.iter().map(|&index| size_of(&emissions[index])).sum();
                let has_large = request
                    .iter()
                    .any(|&index| size_of(&emissions[index]) > PUT_SHARED_RECORD_BYTES_MAX);
                prop_assert!(!request.is_empty() && request.len() <= PUT_RECORDS_MAX);
                prop_assert!(size <= PUT_BYTES_MAX || request.len() == 1);
                prop_assert!(!has_large || request.len() == 1);
                count += request.len();
                if order == Order::PerKey {
                    let mut in_request = HashSet::new();
                    for &index in request {
                        let key = emissions[index].key;
                        if key.is_empty() {
                            continue;
                        }
                        prop_assert!(in_request.insert(key), "a key is twice in one request");
                        let before = last.insert(key, index);
                        prop_assert!(before.is_none_or(|before| before < index), "order is lost");
                    }
                }
            }
            for (index, _) in &plan.refused {
                prop_assert!(size_of(&emissions[*index]) > PUT_RECORD_BYTES_MAX);
            }
            prop_assert_eq!(count + plan.refused.len(), emissions.len());
        }
    }

    #[test]
    fn a_key_that_is_too_long_is_refused_alone() {
        let shard = ShardId::from("shardId-000000000000");
        let (long, fits) = ("é".repeat(257), "é".repeat(256));
        let emissions = [
            outgoing(&shard, 0, &long, b"x"),
            outgoing(&shard, 1, &fits, b"x"),
        ];
        let plan = plan(&emissions, Order::PerKey);
        assert_eq!(plan.requests, [[1]]);
        assert_eq!(plan.refused.len(), 1);
        assert_eq!(plan.refused[0].1.kind, ErrorKind::Unfit);
    }
}
