//! Which worker looks after the rows of all: KCL's deterministic election, in which ours and KCL's workers take part alike.

use std::collections::BTreeSet;

use crate::lease::WorkerId;

/// KCL's seed, so that every worker draws the same.
const SEED: u64 = 1947;

/// The worker that leads, of those that own leases. With no owners there is none, and everybody may do a leader's duty.
///
/// The owners are sorted as Java sorts strings and shuffled as `Collections.shuffle` does with `java.util.Random`; the
/// first one leads. Should our id come out first, no KCL worker looks for missing leases: so we must.
pub(super) fn leader<'a>(owners: impl IntoIterator<Item = &'a WorkerId>) -> Option<&'a WorkerId> {
    let distinct: BTreeSet<&WorkerId> = owners.into_iter().collect();
    let mut owners: Vec<&WorkerId> = distinct.into_iter().collect();
    owners.sort_by(|one, other| {
        let (one, other) = (one.as_str(), other.as_str());
        one.encode_utf16().cmp(other.encode_utf16())
    });
    let mut random = JavaRandom::new(SEED);
    for bound in (2..=owners.len()).rev() {
        let bound_of_java = u32::try_from(bound).unwrap_or(u32::MAX);
        let other = random.below(bound_of_java) as usize;
        owners.swap(bound - 1, other);
    }
    owners.first().copied()
}

/// `java.util.Random`, as far as a shuffle needs it.
struct JavaRandom(u64);

impl JavaRandom {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;

    fn new(seed: u64) -> Self {
        Self((seed ^ Self::MULTIPLIER) & Self::MASK)
    }

    /// 31 random bits.
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(Self::MULTIPLIER).wrapping_add(0xB) & Self::MASK;
        u32::try_from(self.0 >> 17).unwrap_or_default()
    }

    /// Java's `nextInt(bound)`, for bounds from 1 to 2³¹ − 1.
    fn below(&mut self, bound: u32) -> u32 {
        if bound.is_power_of_two() {
            let product = u64::from(bound) * u64::from(self.next());
            return u32::try_from(product >> 31).unwrap_or_default();
        }
        loop {
            let bits = self.next();
            let value = bits % bound;
            // Java rejects what overflows its int: the last, incomplete run of values.
            if bits - value + (bound - 1) <= i32::MAX.unsigned_abs() {
                return value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_of(count: usize) -> String {
        let names: Vec<WorkerId> = (0..count)
            .map(|number| WorkerId::new(format!("worker-{number:04}")))
            .collect();
        leader(&names).unwrap().as_str().to_owned()
    }

    /// kcl: the vectors that a JVM gave.
    #[test]
    fn elects_whom_java_elects() {
        let firsts = [
            (1, 0),
            (2, 0),
            (3, 2),
            (4, 3),
            (5, 4),
            (6, 2),
            (7, 2),
            (8, 2),
            (16, 11),
            (50, 47),
            (100, 95),
            (1000, 748),
        ];
        for (count, first) in firsts {
            assert_eq!(first_of(count), format!("worker-{first:04}"), "of {count}");
        }
    }

    #[test]
    fn nobody_leads_where_nobody_owns() {
        assert_eq!(leader([]), None);
    }

    /// In UTF-16 a character beyond the basic plane comes before U+FF5E; in UTF-8 and by code point, after it.
    #[test]
    fn sorts_names_as_java_does() {
        let names = ["a", "\u{1F600}", "\u{FF5E}"].map(WorkerId::new);
        // Of three, the third of the sorted names leads.
        assert_eq!(leader(&names).unwrap().as_str(), "\u{FF5E}");
    }

    #[test]
    fn counts_an_owner_of_many_leases_once() {
        let names = ["b", "a", "b", "a", "a"].map(WorkerId::new);
        assert_eq!(leader(&names).unwrap().as_str(), "a");
    }
}
