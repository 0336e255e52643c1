//! Hash keys and the ranges of them that shards own.

use md5::{Digest, Md5};

/// A 128-bit hash key.
pub(crate) type HashKey = u128;

/// The hash key of a partition key: its MD5, read as a big-endian number.
pub(crate) fn of_partition_key(key: &str) -> HashKey {
    HashKey::from_be_bytes(Md5::digest(key.as_bytes()).into())
}

/// The `count`th of a row of hash keys of which any run lies evenly among all: multiples of the golden section of 2^128.
pub(crate) fn spread(count: u64) -> HashKey {
    HashKey::from(count).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}

/// Hash keys from `start` to `end`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HashRange {
    pub(crate) start: HashKey,
    pub(crate) end: HashKey,
}

impl HashRange {
    /// All hash keys in `count` ranges of equal width; the last takes the remainder, as the service does.
    pub(crate) fn uniform(count: u32) -> impl Iterator<Item = Self> {
        let count = HashKey::from(count.max(1));
        // 2^128 / count without 2^128, which does not fit.
        let width =
            (HashKey::MAX / count).wrapping_add(u128::from(HashKey::MAX % count == count - 1));
        (0..count).map(move |i| Self {
            start: width.wrapping_mul(i),
            end: if i + 1 == count {
                HashKey::MAX
            } else {
                width.wrapping_mul(i + 1) - 1
            },
        })
    }

    pub(crate) fn contains(self, key: HashKey) -> bool {
        (self.start..=self.end).contains(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_ranges_cover_all_keys_once() {
        for count in [1, 2, 3, 4, 7, 16, 1000] {
            let ranges: Vec<_> = HashRange::uniform(count).collect();
            assert_eq!(ranges.len(), count as usize);
            assert_eq!(ranges[0].start, 0);
            assert_eq!(ranges[ranges.len() - 1].end, HashKey::MAX);
            for pair in ranges.windows(2) {
                assert_eq!(pair[0].end + 1, pair[1].start);
            }
        }
    }

    #[test]
    fn three_shards_have_the_bounds_the_service_documents() {
        let ends: Vec<_> = HashRange::uniform(3).map(|r| r.end.to_string()).collect();
        assert_eq!(ends[0], "113427455640312821154458202477256070484");
        assert_eq!(ends[1], "226854911280625642308916404954512140969");
    }
}
