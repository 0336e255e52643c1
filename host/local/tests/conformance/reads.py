"""GetShardIterator and GetRecords."""

import time
from datetime import datetime, timedelta, timezone

from server import KEYS, Bound, check


@check("GetRecords: bytes, keys, arrival times, and the position after them")
def read(s):
    with s.stream(1) as name:
        s.kinesis.put_record(StreamName=name, Data=bytes(range(256)), PartitionKey="ключ")
        s.kinesis.put_record(StreamName=name, Data=b"", PartitionKey="k")
        page = s.kinesis.get_records(ShardIterator=s.iterator(name, "shardId-000000000000"))
        assert [r["Data"] for r in page["Records"]] == [bytes(range(256)), b""], page
        assert [r["PartitionKey"] for r in page["Records"]] == ["ключ", "k"], page
        for record in page["Records"]:
            assert abs(record["ApproximateArrivalTimestamp"] - datetime.now(timezone.utc)) < timedelta(minutes=1)
        s.kinesis.put_record(StreamName=name, Data=b"next", PartitionKey="k")
        page = s.kinesis.get_records(ShardIterator=page["NextShardIterator"])
        assert [r["Data"] for r in page["Records"]] == [b"next"], page


@check("GetRecords: Limit, from 1 to 10000; an iterator can be used again")
def read_limit(s):
    with s.stream(1) as name:
        s.kinesis.put_records(StreamName=name, Records=[{"Data": b"%d" % i, "PartitionKey": "k"} for i in range(5)])
        iterator = s.iterator(name, "shardId-000000000000")
        for _ in range(2):
            page = s.kinesis.get_records(ShardIterator=iterator, Limit=2)
            assert [r["Data"] for r in page["Records"]] == [b"0", b"1"], page
        page = s.kinesis.get_records(ShardIterator=page["NextShardIterator"], Limit=10000)
        assert [r["Data"] for r in page["Records"]] == [b"2", b"3", b"4"], page
        s.refused("ValidationException", s.kinesis.get_records, ShardIterator=iterator, Limit=10001)
        s.refused("ValidationException", s.kinesis.get_records, ShardIterator=iterator, Limit=0)


@check("GetRecords: MillisBehindLatest is above 0 while there is more, and 0 at the tip")
def behind(s):
    with s.stream(1) as name:
        for _ in range(3):
            s.kinesis.put_record(StreamName=name, Data=b"x", PartitionKey="k")
            time.sleep(0.05)
        page = s.kinesis.get_records(ShardIterator=s.iterator(name, "shardId-000000000000"), Limit=1)
        assert page["MillisBehindLatest"] > 0, page
        page = s.kinesis.get_records(ShardIterator=page["NextShardIterator"])
        assert len(page["Records"]) == 2 and page["MillisBehindLatest"] == 0, page


@check("GetRecords: at most 10 MB in a page")
def page_cap(s):
    with s.stream(1) as name:
        for _ in range(4):
            entries = [{"Data": bytes(1_000_000), "PartitionKey": "k"}] * 4
            assert s.kinesis.put_records(StreamName=name, Records=entries)["FailedRecordCount"] == 0
        sizes, iterator = [], s.iterator(name, "shardId-000000000000")
        bound = Bound()
        while sum(sizes) < 16 and bound.holds():
            page = s.kinesis.get_records(ShardIterator=iterator)
            sizes.append(len(page["Records"]))
            iterator = page["NextShardIterator"]
        assert max(sizes) <= 10, sizes


@check("GetRecords: an iterator that is none is refused")
def bad_iterator(s):
    s.refused("InvalidArgumentException", s.kinesis.get_records, ShardIterator="no such iterator")
    s.refused("ValidationException", s.kinesis.get_records)
    with s.stream(1) as name:
        iterator = s.iterator(name, "shardId-000000000000")
        s.refused("InvalidArgumentException", s.kinesis.get_records, ShardIterator=iterator[:-4] + "AAAA")


@check("GetShardIterator: AT_SEQUENCE_NUMBER and AFTER_SEQUENCE_NUMBER")
def at_number(s):
    with s.stream(1) as name:
        shard = "shardId-000000000000"
        put = [s.kinesis.put_record(StreamName=name, Data=b"%d" % i, PartitionKey="k") for i in range(3)]
        middle = dict(StartingSequenceNumber=put[1]["SequenceNumber"])
        assert s.data(name, shard, "AT_SEQUENCE_NUMBER", **middle) == [b"1", b"2"]
        assert s.data(name, shard, "AFTER_SEQUENCE_NUMBER", **middle) == [b"2"]
        start = s.shards(name)[0]["SequenceNumberRange"]["StartingSequenceNumber"]
        assert s.data(name, shard, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=start) == [b"0", b"1", b"2"]


@check("GetShardIterator: LATEST is the tip at the time of the call")
def latest(s):
    with s.stream(1) as name:
        s.kinesis.put_record(StreamName=name, Data=b"before", PartitionKey="k")
        iterator = s.iterator(name, "shardId-000000000000", "LATEST")
        s.kinesis.put_record(StreamName=name, Data=b"after", PartitionKey="k")
        assert [r["Data"] for r in s.read(iterator)[0]] == [b"after"]


@check("GetShardIterator: AT_TIMESTAMP begins with the first record at or after it")
def at_time(s):
    with s.stream(1) as name:
        shard = "shardId-000000000000"
        for i in range(3):
            # Whole seconds, because that is what boto3 sends.
            time.sleep(1.0 - time.time() % 1.0 + 0.5)
            s.kinesis.put_record(StreamName=name, Data=b"%d" % i, PartitionKey="k")
        arrived = [r["ApproximateArrivalTimestamp"] for r in s.read(s.iterator(name, shard))[0]]
        for i, at in enumerate(arrived):
            begun = s.data(name, shard, "AT_TIMESTAMP", Timestamp=at.replace(microsecond=0))
            assert begun == [b"0", b"1", b"2"][i:], (i, begun)
        assert s.data(name, shard, "AT_TIMESTAMP", Timestamp=datetime(2020, 1, 1, tzinfo=timezone.utc)) == [
            b"0", b"1", b"2"]


@check("GetShardIterator: what is wrong is refused")
def iterator_refused(s):
    with s.stream(2) as name:
        shard = dict(StreamName=name, ShardId="shardId-000000000000")
        get = s.kinesis.get_shard_iterator
        s.refused("ResourceNotFoundException", get, StreamName=name, ShardId="shardId-000000000099",
                  ShardIteratorType="LATEST")
        s.refused("ResourceNotFoundException", get, StreamName="no-such-stream", ShardId="shardId-000000000000",
                  ShardIteratorType="LATEST")
        s.refused("ValidationException", get, **shard, ShardIteratorType="NEWEST")
        s.refused("ValidationException", get, StreamName=name, ShardIteratorType="LATEST")
        s.refused("InvalidArgumentException", get, **shard, ShardIteratorType="AT_SEQUENCE_NUMBER")
        s.refused("InvalidArgumentException", get, **shard, ShardIteratorType="AT_SEQUENCE_NUMBER",
                  StartingSequenceNumber="17")
        s.refused("InvalidArgumentException", get, **shard, ShardIteratorType="AT_TIMESTAMP")
        future = datetime.now(timezone.utc) + timedelta(hours=1)
        s.refused("InvalidArgumentException", get, **shard, ShardIteratorType="AT_TIMESTAMP", Timestamp=future)
        put = s.kinesis.put_record(StreamName=name, Data=b"x", PartitionKey="k", ExplicitHashKey=str(KEYS - 1))
        s.refused("InvalidArgumentException", get, **shard, ShardIteratorType="AT_SEQUENCE_NUMBER",
                  StartingSequenceNumber=put["SequenceNumber"])


@check("An iterator expires after five minutes, and not before", is_slow=True)
def expired(s):
    with s.stream(1) as name:
        iterator = s.iterator(name, "shardId-000000000000")
        s.passes(295 if s.can_ask("clock") else 270)
        s.kinesis.get_records(ShardIterator=iterator)
        s.passes(6 if s.can_ask("clock") else 40)
        s.refused("ExpiredIteratorException", s.kinesis.get_records, ShardIterator=iterator)
