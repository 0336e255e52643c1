//! How much goes through a shard: who may write and read now, and who has to come back later.
//!
//! Time is an argument, so a clock that stands still gives nothing back until it is moved.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Millis;
use crate::service_limits::ServiceLimits;

/// The limits in force, and what shards have been used for under them.
#[derive(Debug)]
pub(crate) struct Limiter(Mutex<(ServiceLimits, Throughput)>);

impl Limiter {
    pub(crate) fn new(limits: ServiceLimits) -> Self {
        Self(Mutex::new((limits, Throughput::default())))
    }

    pub(crate) fn limits(&self) -> ServiceLimits {
        self.state().0
    }

    /// Puts other limits in force. What was used before is forgiven.
    pub(crate) fn set(&self, limits: ServiceLimits) {
        *self.state() = (limits, Throughput::default());
    }

    /// Asks or tells what goes through shards; nothing is asked while rates are not limited.
    pub(crate) fn with<T>(
        &self,
        ask: impl FnOnce(&mut Throughput, &ServiceLimits) -> T,
    ) -> Option<T> {
        let (limits, throughput) = &mut *self.state();
        limits.throughput.then(|| ask(throughput, limits))
    }

    fn state(&self) -> MutexGuard<'_, (ServiceLimits, Throughput)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A shard, by its stream's id and its number.
pub(crate) type ShardKey = (i64, u32);

/// What every shard has been used for within the last seconds. One that has rested takes no room.
#[derive(Debug, Default)]
pub(crate) struct Throughput {
    shards: HashMap<ShardKey, Usage>,
}

#[derive(Debug, Default)]
struct Usage {
    write_bytes: Bucket,
    write_records: Bucket,
    reads: Bucket,
    read_bytes: Bucket,
}

impl Throughput {
    /// Whether a record of so many bytes may be written now; if so, it counts.
    pub(crate) fn admit_write(
        &mut self,
        shard: ShardKey,
        bytes: u64,
        limits: &ServiceLimits,
        now: Millis,
    ) -> bool {
        let usage = self.shards.entry(shard).or_default();
        let (of_bytes, of_records) = (limits.write_bytes_per_s, limits.write_records_per_s);
        let bytes_fit = usage.write_bytes.fits(bytes, of_bytes, now);
        let fits = usage.write_records.fits(1, of_records, now) && bytes_fit;
        if fits {
            usage.write_bytes.add(bytes);
            usage.write_records.add(1);
        }
        fits
    }

    /// Whether the shard may be read now; if so, the read counts. What it brings is told with `charge_read`.
    pub(crate) fn admit_read(
        &mut self,
        shard: ShardKey,
        limits: &ServiceLimits,
        now: Millis,
    ) -> bool {
        let usage = self.shards.entry(shard).or_default();
        let fits = usage.reads.fits(1, limits.reads_per_s, now)
            && usage.read_bytes.has_room(limits.read_bytes_per_s, now);
        if fits {
            usage.reads.add(1);
        }
        fits
    }

    /// A read that was admitted has brought so many bytes.
    pub(crate) fn charge_read(
        &mut self,
        shard: ShardKey,
        bytes: u64,
        limits: &ServiceLimits,
        now: Millis,
    ) {
        let usage = self.shards.entry(shard).or_default();
        usage.read_bytes.charge(bytes, limits.read_bytes_per_s, now);
    }

    /// Forgets shards whose use is paid off.
    pub(crate) fn forget_rested(&mut self, limits: &ServiceLimits, now: Millis) {
        self.shards.retain(|_, usage| {
            let rested = usage.write_bytes.is_empty(limits.write_bytes_per_s, now)
                && usage
                    .write_records
                    .is_empty(limits.write_records_per_s, now)
                && usage.reads.is_empty(limits.reads_per_s, now)
                && usage.read_bytes.is_empty(limits.read_bytes_per_s, now);
            !rested
        });
    }
}

/// Holds one second's worth, and runs out at the rate.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    /// In thousandths, so that a millisecond takes the rate out.
    level: u64,
    at: Millis,
}

impl Bucket {
    fn drain(&mut self, rate: u64, now: Millis) {
        let out = now.saturating_sub(self.at).saturating_mul(rate);
        self.level = self.level.saturating_sub(out);
        self.at = now;
    }

    fn is_empty(&mut self, rate: u64, now: Millis) -> bool {
        self.drain(rate, now);
        self.level == 0
    }

    /// Whether `amount` finds room. What is larger than the bucket fits when it is empty.
    fn fits(&mut self, amount: u64, rate: u64, now: Millis) -> bool {
        self.drain(rate, now);
        self.level == 0 || self.level.saturating_add(thousandths(amount)) <= thousandths(rate)
    }

    fn add(&mut self, amount: u64) {
        self.level = self.level.saturating_add(thousandths(amount));
    }

    fn has_room(&mut self, rate: u64, now: Millis) -> bool {
        self.drain(rate, now);
        self.level < thousandths(rate)
    }

    /// Takes `amount` whether it fits or not. What is more than a second's worth is paid off in full before there is
    /// room again: after a read of 10 MB at 2 MB/s that is 5 s, as the service has it.
    pub(crate) fn charge(&mut self, amount: u64, rate: u64, now: Millis) {
        self.drain(rate, now);
        if amount > rate {
            self.level = self.level.max(thousandths(rate));
        }
        self.add(amount);
    }

    /// Milliseconds until there is room.
    pub(crate) fn wait(&mut self, rate: u64, now: Millis) -> Millis {
        self.drain(rate, now);
        let over = (self.level + 1).saturating_sub(thousandths(rate));
        over.div_ceil(rate.max(1))
    }
}

fn thousandths(amount: u64) -> u64 {
    amount.saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const SHARD: ShardKey = (1, 0);
    const LIMITS: ServiceLimits = ServiceLimits::DEFAULT;

    proptest! {
        /// Over any time, no more goes in than the rate allows, and a second's worth at the begin.
        #[test]
        fn writes_keep_to_the_rate(tries in vec((0_u64..400, 1_u64..200_000), 1..200)) {
            let mut throughput = Throughput::default();
            let (mut now, mut bytes, mut records) = (1000, 0, 0);
            for (later, size) in tries {
                now += later;
                if throughput.admit_write(SHARD, size, &LIMITS, now) {
                    bytes += size;
                    records += 1;
                }
                let seconds = now - 1000 + 1000;
                prop_assert!(bytes * 1000 <= LIMITS.write_bytes_per_s * seconds);
                prop_assert!(records * 1000 <= LIMITS.write_records_per_s * seconds);
            }
        }

        /// Whoever keeps to the rate is never refused, wherever the second is cut.
        #[test]
        fn a_steady_writer_is_never_refused(size in 1_u64..100_000, begin in 0_u64..5000) {
            let mut throughput = Throughput::default();
            let mut now = begin;
            for _ in 0..300 {
                prop_assert!(throughput.admit_write(SHARD, size, &LIMITS, now));
                now += 1 + size * 1000 / LIMITS.write_bytes_per_s;
            }
        }
    }

    #[test]
    fn the_1001st_record_of_a_second_waits_for_the_next_and_other_shards_do_not_care() {
        let mut throughput = Throughput::default();
        let admitted = (0..1500)
            .filter(|_| throughput.admit_write(SHARD, 1, &LIMITS, 7))
            .count();
        assert_eq!(admitted, 1000);
        assert!(throughput.admit_write((1, 1), 1, &LIMITS, 7));
        assert!(throughput.admit_write(SHARD, 1, &LIMITS, 8));
        assert!(!throughput.admit_write(SHARD, 1, &LIMITS, 8));
    }

    #[test]
    fn five_reads_a_second() {
        let mut throughput = Throughput::default();
        let reads = |throughput: &mut Throughput, now| {
            (0..10)
                .filter(|_| throughput.admit_read(SHARD, &LIMITS, now))
                .count()
        };
        assert_eq!(reads(&mut throughput, 0), 5);
        assert_eq!(reads(&mut throughput, 199), 0);
        assert_eq!(reads(&mut throughput, 200), 1);
        assert_eq!(reads(&mut throughput, 1200), 5);
    }

    #[test]
    fn after_ten_megabytes_a_shard_rests_for_five_seconds() {
        let mut throughput = Throughput::default();
        assert!(throughput.admit_read(SHARD, &LIMITS, 0));
        throughput.charge_read(SHARD, 10 << 20, &LIMITS, 0);
        assert!(!throughput.admit_read(SHARD, &LIMITS, 5000));
        assert!(throughput.admit_read(SHARD, &LIMITS, 5001));
    }

    #[test]
    fn what_is_paid_off_is_forgotten_and_a_clock_that_goes_back_gives_nothing() {
        let mut throughput = Throughput::default();
        assert!(throughput.admit_write(SHARD, 1 << 20, &LIMITS, 9000));
        assert!(!throughput.admit_write(SHARD, 1, &LIMITS, 1000));
        throughput.forget_rested(&LIMITS, 1999);
        assert_eq!(throughput.shards.len(), 1);
        throughput.forget_rested(&LIMITS, 2000);
        assert_eq!(throughput.shards.len(), 0);
    }

    #[test]
    fn a_wait_is_as_long_as_it_has_to_be() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.wait(1000, 5), 0);
        bucket.charge(3000, 1000, 5);
        let wait = bucket.wait(1000, 5);
        assert!(!bucket.has_room(1000, 5 + wait - 1));
        assert!(bucket.has_room(1000, 5 + wait));
    }
}
