"""PutRecord and PutRecords."""

import base64
from concurrent.futures import ThreadPoolExecutor

import aws_kinesis_agg.aggregator
import aws_kinesis_agg.deaggregator

from server import KEYS, check, hash_of, owner


@check("PutRecord: to the shard that owns the key's MD5, or the ExplicitHashKey")
def put(s):
    with s.stream(3) as name:
        shards, last = s.shards(name), {}
        for i in range(30):
            answer = s.kinesis.put_record(StreamName=name, Data=b"x", PartitionKey=f"schlüssel-{i}")
            shard = answer["ShardId"]
            assert shard == owner(shards, hash_of(f"schlüssel-{i}")), answer
            number = answer["SequenceNumber"]
            assert number.isdigit() and not number.startswith("0") and int(number) > last.get(shard, 0), answer
            last[shard] = int(number)
        for hashed in (0, 2**127, KEYS - 1):
            explicit = dict(PartitionKey="k", ExplicitHashKey=str(hashed))
            assert s.kinesis.put_record(StreamName=name, Data=b"x", **explicit)["ShardId"] == owner(shards, hashed)


@check("PutRecord: what is wrong is refused")
def put_refused(s):
    with s.stream(1) as name:
        good = dict(StreamName=name, Data=b"x", PartitionKey="k")
        s.refused("InvalidArgumentException", s.kinesis.put_record, **good, ExplicitHashKey=str(KEYS))
        s.refused("ValidationException", s.kinesis.put_record, **good, ExplicitHashKey="-1")
        s.refused("ValidationException", s.kinesis.put_record, **{**good, "PartitionKey": ""})
        s.refused("ValidationException", s.kinesis.put_record, **{**good, "PartitionKey": "ü" * 257})
        s.refused("ValidationException", s.kinesis.put_record, StreamName=name, Data=b"x")
        s.refused("ValidationException", s.kinesis.put_record, StreamName=name, PartitionKey="k")
        s.refused("InvalidArgumentException", s.kinesis.put_record, **good, SequenceNumberForOrdering="17")
        s.refused("ResourceNotFoundException", s.kinesis.put_record, **{**good, "StreamName": "no-such-stream"})
        s.kinesis.put_record(StreamName=name, Data=b"x", PartitionKey="ü" * 256)


@check("PutRecord: 1 MiB of data and key, and no more")
def put_size(s):
    with s.stream(1) as name:
        s.kinesis.put_record(StreamName=name, Data=bytes(2**20 - 1), PartitionKey="k")
        s.refused("ValidationException|InvalidArgumentException", s.kinesis.put_record, StreamName=name,
                  Data=bytes(2**20), PartitionKey="k")


@check("PutRecords: every record to its shard, in order")
def put_many(s):
    with s.stream(2) as name:
        shards = s.shards(name)
        entries = [{"Data": b"%d" % i, "PartitionKey": f"k{i}"} for i in range(500)]
        entries[7]["ExplicitHashKey"] = "0"
        answer = s.kinesis.put_records(StreamName=name, Records=entries)
        assert answer["FailedRecordCount"] == 0 and len(answer["Records"]) == 500, answer["FailedRecordCount"]
        by_shard = {}
        for entry, placed in zip(entries, answer["Records"]):
            hashed = int(entry.get("ExplicitHashKey", hash_of(entry["PartitionKey"])))
            assert placed["ShardId"] == owner(shards, hashed), placed
            by_shard.setdefault(placed["ShardId"], []).append((int(placed["SequenceNumber"]), entry["Data"]))
        for shard, placed in by_shard.items():
            assert placed == sorted(placed, key=lambda p: p[0]) and len({p[0] for p in placed}) == len(placed)
            assert s.data(name, shard) == [p[1] for p in placed]


@check("PutRecords: 1 to 500 records; one that is wrong refuses the request")
def put_many_refused(s):
    with s.stream(1) as name:
        good = {"Data": b"x", "PartitionKey": "k"}
        s.refused("ValidationException", s.kinesis.put_records, StreamName=name, Records=[])
        s.refused("ValidationException|InvalidArgumentException", s.kinesis.put_records, StreamName=name,
                  Records=[good] * 501)
        s.refused("ValidationException", s.kinesis.put_records, StreamName=name,
                  Records=[good, {"Data": b"x", "PartitionKey": ""}])
        s.refused("InvalidArgumentException", s.kinesis.put_records, StreamName=name,
                  Records=[good, {**good, "ExplicitHashKey": str(KEYS)}])
        assert s.data(name, "shardId-000000000000") == []


@check("PutRecords: 10 MiB in one request, and no more")
def put_many_size(s):
    with s.stream(1) as name:
        entry = {"Data": bytes(2**20 - 1), "PartitionKey": "k"}
        assert s.kinesis.put_records(StreamName=name, Records=[entry] * 10)["FailedRecordCount"] == 0
        s.refused("InvalidArgumentException|ValidationException", s.kinesis.put_records, StreamName=name,
                  Records=[entry] * 10 + [{"Data": b"", "PartitionKey": "k"}])


@check("8 writers at once: numbers rise in every shard, and all that was acknowledged is there once")
def concurrent_puts(s):
    with s.stream(4) as name:

        def write(writer):
            placed = []
            for request in range(10):
                entries = [{"Data": b"%d-%d-%d" % (writer, request, i), "PartitionKey": f"{writer}{request}{i}"}
                           for i in range(50)]
                answer = s.kinesis.put_records(StreamName=name, Records=entries)
                assert answer["FailedRecordCount"] == 0
                placed += [(p["ShardId"], p["SequenceNumber"], e["Data"]) for e, p in zip(entries, answer["Records"])]
            return placed

        with ThreadPoolExecutor(8) as pool:
            acknowledged = [p for placed in pool.map(write, range(8)) for p in placed]
        found = []
        for shard in s.shards(name):
            records, _ = s.read(s.iterator(name, shard["ShardId"]))
            numbers = [int(r["SequenceNumber"]) for r in records]
            assert numbers == sorted(set(numbers)), shard["ShardId"]
            found += [(shard["ShardId"], r["SequenceNumber"], r["Data"]) for r in records]
        assert sorted(found) == sorted(acknowledged), (len(found), len(acknowledged))


@check("A KPL container comes back byte for byte")
def kpl(s):
    with s.stream(1) as name:
        aggregator = aws_kinesis_agg.aggregator.RecordAggregator()
        users = [(f"key-{i % 7}", bytes([i % 256]) * (i % 90)) for i in range(200)]
        for key, data in users:
            assert aggregator.add_user_record(key, data) is None
        key, explicit, container = aggregator.clear_and_get().get_contents()
        s.kinesis.put_record(StreamName=name, Data=container, PartitionKey=key, ExplicitHashKey=explicit)
        records, _ = s.read(s.iterator(name, "shardId-000000000000"))
        assert [r["Data"] for r in records] == [container] and records[0]["PartitionKey"] == key
        record = {"kinesis": {"data": base64.b64encode(container).decode(), "partitionKey": key,
                              "sequenceNumber": records[0]["SequenceNumber"], "kinesisSchemaVersion": "1.0",
                              "approximateArrivalTimestamp": 0}, "eventID": "e", "eventName": "n", "eventSource": "s",
                  "eventSourceARN": "a", "eventVersion": "1", "awsRegion": "r", "invokeIdentityArn": "i"}
        opened = aws_kinesis_agg.deaggregator.deaggregate_records([record])
        data = [base64.b64decode(o["kinesis"]["data"]) for o in opened]
        assert [(o["kinesis"]["partitionKey"], d) for o, d in zip(opened, data)] == users
