use proptest::prelude::*;

use super::*;

const PACED: ReadSettings = ReadSettings {
    interval: Duration::from_secs(1),
    records_max: 10_000,
    is_paced: true,
};

fn result(records: u32, bytes: u64, behind: u64) -> ReadResult {
    let last = (records > 0).then(|| SequenceNumber::parse("7").unwrap());
    ReadResult {
        records,
        bytes,
        last,
        millis_behind_latest: behind,
        is_end: false,
    }
}

proptest! {
    /// However large the answers and however far behind, one shard is read at most 5 times and 2 MB a second.
    #[test]
    fn a_paced_reader_keeps_to_the_service_limits(
        answers in proptest::collection::vec((1_u32..10_000, 0_u64..READ_ANSWER_BYTES_MAX, 0_u64..10_000), 1..40),
    ) {
        let mut now = Instant::from_nanos(0);
        let mut reader = Reader::new(now, PACED, StartAt::TrimHorizon, 0);
        reader.got_iterator();
        let (mut reads, mut bytes_before_last) = (0_u32, 0_u64);
        for (records, bytes, behind) in answers {
            if let ReadStep::WaitUntil(at) = reader.step(now) {
                now = at;
            }
            prop_assert!(matches!(reader.step(now), ReadStep::Read(1..=10_000)));
            let elapsed = now.since(Instant::from_nanos(0)).as_secs_f64();
            prop_assert!(f64::from(reads) <= elapsed * 5.0 + 1e-6);
            prop_assert!(bytes_before_last as f64 <= elapsed * READ_BYTES_PER_SECOND as f64 + 1.0);
            reader.got_records(now, result(records, bytes, behind));
            reads += 1;
            bytes_before_last += bytes;
        }
    }

    /// Whatever the records weigh, an answer's worth of them is within the bound that is reserved, once one was seen.
    #[test]
    fn what_is_asked_for_fits_the_largest_answer(bytes in 1_u64..1_048_576) {
        let now = Instant::from_nanos(0);
        let mut reader = Reader::new(now, PACED, StartAt::TrimHorizon, 0);
        reader.got_iterator();
        reader.got_records(now, result(1, bytes, 1));
        let ReadStep::WaitUntil(at) = reader.step(now) else { return Err(TestCaseError::fail("unpaced")) };
        let ReadStep::Read(limit) = reader.step(at) else { return Err(TestCaseError::fail("no read")) };
        prop_assert!(u64::from(limit) * bytes <= READ_ANSWER_BYTES_MAX);
    }
}

#[test]
fn an_expired_iterator_is_replaced_after_the_last_fetched_record() {
    let now = Instant::from_nanos(0);
    let mut reader = Reader::new(now, PACED, StartAt::TrimHorizon, 0);
    assert_eq!(reader.step(now), ReadStep::Iterator(StartAt::TrimHorizon));
    reader.got_iterator();
    reader.got_records(now, result(3, 300, 1));
    reader.failed(now, ReadFailure::ExpiredIterator, 0);
    let after = StartAt::AfterSequence(SequenceNumber::parse("7").unwrap());
    assert_eq!(reader.step(now), ReadStep::Iterator(after));
}

#[test]
fn latest_skips_nothing_after_the_first_iterator() {
    let now = Instant::from_nanos(0);
    let mut reader = Reader::new(now, PACED, StartAt::Latest, 1_700_000_000_000);
    reader.got_iterator();
    reader.failed(now, ReadFailure::ExpiredIterator, 0);
    assert_eq!(
        reader.step(now),
        ReadStep::Iterator(StartAt::AtTimestamp(1_699_999_995_000)),
        "less what its clock may be ahead of the service's"
    );
}

#[test]
fn a_reader_at_the_tip_waits_and_one_that_is_behind_does_not() {
    let now = Instant::from_nanos(0);
    let fast = ReadSettings {
        is_paced: false,
        ..PACED
    };
    let mut reader = Reader::new(now, fast, StartAt::TrimHorizon, 0);
    reader.got_iterator();
    reader.got_records(now, result(10, 100, 5));
    assert!(matches!(reader.step(now), ReadStep::Read(_)));
    reader.got_records(now, result(10, 100, 0));
    assert_eq!(
        reader.step(now),
        ReadStep::WaitUntil(now + Duration::from_secs(1))
    );
}
