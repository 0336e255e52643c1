"""SubscribeToShard: what is pushed, where it begins and ends, and who may subscribe when."""

import contextlib
import time
from datetime import datetime, timezone

from botocore.exceptions import EventStreamError

from server import PATIENCE, check, ids, wait_for_consumer

SHARD = "shardId-000000000000"
# A consumer may subscribe to a shard again after five seconds.
AGAIN = 5.5


class Reader:
    """A consumer of a stream's first shard."""

    def __init__(self, server, stream, name="c"):
        self.server, self.kinesis = server, server.kinesis
        arn = server.arn(stream)
        self.kinesis.register_stream_consumer(StreamARN=arn, ConsumerName=name)
        self.arn = wait_for_consumer(server, arn, name)["ConsumerARN"]

    @contextlib.contextmanager
    def subscribed(self, kind="TRIM_HORIZON", patience=PATIENCE, **position):
        """The events of a subscription, which is ended in the end."""
        answer = self.kinesis.subscribe_to_shard(
            ConsumerARN=self.arn, ShardId=SHARD, StartingPosition={"Type": kind, **position})
        # boto3 has refused the answer by now if its first message is not `initial-response`.
        events = answer["EventStream"]
        try:
            yield bounded((event["SubscribeToShardEvent"] for event in events), patience)
        finally:
            events.close()

    def first(self, count, kind="TRIM_HORIZON", **position):
        """The data of the first records of a subscription of its own."""
        with self.subscribed(kind, **position) as events:
            return [record["Data"] for record in take(events, count)[0]]


def bounded(events, patience):
    """The same, for so many seconds: an idle subscription has events too."""
    end = time.monotonic() + patience
    for event in events:
        yield event
        assert time.monotonic() < end, "it does not end"


def take(events, count):
    """So many records, and the last event."""
    records = []
    for event in events:
        records += event["Records"]
        if len(records) >= count:
            return records, event
    raise AssertionError(f"it ended after {len(records)} of {count} records")


def put(s, name, data):
    return s.kinesis.put_record(StreamName=name, Data=data, PartitionKey="k")["SequenceNumber"]


@check("SubscribeToShard: an initial response, records as they are put, and where to go on")
def pushed(s):
    with s.stream(1) as name:
        reader = Reader(s, name)
        numbers = [put(s, name, b"%d" % i) for i in range(3)]
        with reader.subscribed() as events:
            records, event = take(events, 3)
            assert [r["Data"] for r in records] == [b"0", b"1", b"2"], records
            assert [r["SequenceNumber"] for r in records] == numbers, records
            assert all(r["PartitionKey"] == "k" for r in records), records
            age = datetime.now(timezone.utc) - records[0]["ApproximateArrivalTimestamp"]
            assert abs(age.total_seconds()) < 3600, records
            assert int(event["ContinuationSequenceNumber"]) >= int(numbers[-1]), event
            assert event["MillisBehindLatest"] == 0 and not event.get("ChildShards"), event
            last = put(s, name, b"3")
            records, event = take(events, 1)
            assert [(r["Data"], r["SequenceNumber"]) for r in records] == [(b"3", last)], records
            assert int(event["ContinuationSequenceNumber"]) >= int(last), event


@check("SubscribeToShard: begins at LATEST and AT_TIMESTAMP")
def begins(s):
    with s.stream(1) as name:
        put(s, name, b"0")
        with Reader(s, name).subscribed("LATEST") as events:
            # The answer is there, so the position is settled.
            put(s, name, b"1")
            records, _ = take(events, 1)
            assert [r["Data"] for r in records] == [b"1"], records
        long_ago = datetime(2020, 1, 1, tzinfo=timezone.utc)
        assert Reader(s, name, "d").first(2, "AT_TIMESTAMP", Timestamp=long_ago) == [b"0", b"1"]


@check("SubscribeToShard: resumes AT_SEQUENCE_NUMBER and AFTER_SEQUENCE_NUMBER")
def resumes(s):
    with s.stream(1) as name:
        numbers = [put(s, name, b"%d" % i) for i in range(4)]
        at, after, goes_on = (Reader(s, name, consumer) for consumer in "abc")
        assert at.first(3, "AT_SEQUENCE_NUMBER", SequenceNumber=numbers[1]) == [b"1", b"2", b"3"]
        assert after.first(2, "AFTER_SEQUENCE_NUMBER", SequenceNumber=numbers[1]) == [b"2", b"3"]
        with goes_on.subscribed() as events:
            _, event = take(events, 4)
        put(s, name, b"4")
        s.passes(AGAIN)
        left_off = dict(SequenceNumber=event["ContinuationSequenceNumber"])
        assert goes_on.first(1, "AFTER_SEQUENCE_NUMBER", **left_off) == [b"4"]


@check("SubscribeToShard: again within five seconds is ResourceInUseException; other consumers and later are not")
def too_soon(s):
    with s.stream(1) as name:
        put(s, name, b"0")
        reader, other = Reader(s, name), Reader(s, name, "d")
        with reader.subscribed() as events:
            take(events, 1)
            again = dict(ConsumerARN=reader.arn, ShardId=SHARD, StartingPosition={"Type": "TRIM_HORIZON"})
            s.refused("ResourceInUseException", s.kinesis.subscribe_to_shard, **again)
            assert other.first(1) == [b"0"]
        s.passes(AGAIN)
        assert reader.first(1) == [b"0"]


@check("SubscribeToShard: after five seconds another one takes over, and the first is told ResourceInUseException")
def takeover(s):
    with s.stream(1) as name:
        put(s, name, b"0")
        reader = Reader(s, name)
        with reader.subscribed() as first:
            take(first, 1)
            s.passes(AGAIN)
            with reader.subscribed() as second:
                assert [r["Data"] for r in take(second, 1)[0]] == [b"0"]
                put(s, name, b"1")
                assert [r["Data"] for r in take(second, 1)[0]] == [b"1"]
                try:
                    late = [r["Data"] for event in first for r in event["Records"]]
                except EventStreamError as error:
                    assert error.response["Error"]["Code"] == "ResourceInUseException", error.response
                else:
                    raise AssertionError(f"the first one was not told, and got {late}")


@check("SubscribeToShard: the shard's end names its children and ends; a closed shard is drained")
def shard_end(s):
    with s.stream(1) as name:
        put(s, name, b"0")
        reader = Reader(s, name)
        split = dict(StreamName=name, ShardToSplit=SHARD, NewStartingHashKey=str(2**127))
        with reader.subscribed() as events:
            take(events, 1)
            s.kinesis.split_shard(**split)
            end = list(events)[-1]
            closed(end)
        s.active(name)
        s.passes(AGAIN)
        with reader.subscribed() as events:
            drained = list(events)
        assert [r["Data"] for event in drained for r in event["Records"]] == [b"0"], drained
        closed(drained[-1])


def closed(event):
    children = sorted(event["ChildShards"], key=lambda child: child["ShardId"])
    assert ids(children) == [1, 2], event
    assert all(child["ParentShards"] == [SHARD] and child["HashKeyRange"] for child in children), event
    assert not event.get("ContinuationSequenceNumber") and event["MillisBehindLatest"] == 0, event


@check("SubscribeToShard: what is wrong is refused")
def refused(s):
    with s.stream(1) as name:
        reader = Reader(s, name)
        subscribe, start = s.kinesis.subscribe_to_shard, {"Type": "TRIM_HORIZON"}
        consumer = dict(ConsumerARN=reader.arn)
        s.refused("ResourceNotFoundException", subscribe, ConsumerARN=reader.arn.replace("/c:", "/none:"), ShardId=SHARD,
                  StartingPosition=start)
        s.refused("ResourceNotFoundException", subscribe, **consumer, ShardId="shardId-000000000099",
                  StartingPosition=start)
        s.refused("ValidationException", subscribe, ConsumerARN="arn:of:nothing", ShardId=SHARD, StartingPosition=start)
        s.refused("ValidationException", subscribe, **consumer, ShardId=SHARD, StartingPosition={"Type": "NEWEST"})
        s.refused("ValidationException", subscribe, **consumer, ShardId=SHARD)
        s.refused("InvalidArgumentException", subscribe, **consumer, ShardId=SHARD,
                  StartingPosition={"Type": "AT_SEQUENCE_NUMBER"})
        s.refused("InvalidArgumentException", subscribe, **consumer, ShardId=SHARD,
                  StartingPosition={"Type": "AT_SEQUENCE_NUMBER", "SequenceNumber": "17"})


@check("SubscribeToShard: ends when its consumer is deregistered")
def deregistered(s):
    with s.stream(1) as name:
        put(s, name, b"0")
        reader = Reader(s, name)
        with reader.subscribed() as events:
            take(events, 1)
            s.kinesis.deregister_stream_consumer(ConsumerARN=reader.arn)
            with contextlib.suppress(EventStreamError):
                assert not [r for event in events for r in event["Records"]]


@check("SubscribeToShard: ends after five minutes", is_slow=True)
def life(s):
    with s.stream(1) as name:
        put(s, name, b"0")
        with Reader(s, name).subscribed(patience=400) as events:
            take(events, 1)
            begun = time.monotonic()
            if s.can_ask("clock"):
                s.passes(295)
                put(s, name, b"1")
                take(events, 1)
                s.passes(6)
            assert not [r for event in events for r in event["Records"]]
            assert s.can_ask("clock") or time.monotonic() - begun > 280, "it ended early"
