"""The protocol itself: unknown operations, broken bodies, CBOR."""

import json
import time
from datetime import datetime

import cbor2
from botocore.eventstream import EventStreamBuffer

from server import check, ids, wait_for_consumer


@check("An operation that is none: UnknownOperationException")
def unknown_operation(s):
    for target in ("Kinesis_20131202.NoSuchOperation", "Kinesis_20131202.", "NoService.ListStreams"):
        status, headers, body = s.raw(b"{}", target)
        assert status in (400, 404), status
        assert json.loads(body)["__type"].endswith("UnknownOperationException"), body


@check("Every operation of the service's model is one")
def known_operations(s):
    for operation in s.kinesis.meta.service_model.operation_names:
        status, _, body = s.raw(b"{}", f"Kinesis_20131202.{operation}")
        kind = json.loads(body or b"{}").get("__type", "")
        assert status in (200, 400) and "UnknownOperation" not in kind and "InvalidAction" not in kind, (operation, body)


@check("A body that is broken or of wrong types: SerializationException")
def broken(s):
    for body in (b"{", b"[]", b"no json", b'{"Limit": "many"}', b'{"ExclusiveStartStreamName": 7}', b"\xff\xfe"):
        status, headers, answer = s.raw(body)
        assert status == 400, (body, status)
        assert json.loads(answer)["__type"].endswith("SerializationException"), (body, answer)
        assert headers["x-amzn-requestid"], headers


@check("CBOR: a request is read and answered in it, with blobs as byte strings and times in milliseconds")
def cbor(s):
    def ask(operation, **request):
        status, headers, body = s.raw(cbor2.dumps(request), f"Kinesis_20131202.{operation}",
                                      "application/x-amz-cbor-1.1")
        assert headers["content-type"] == "application/x-amz-cbor-1.1", headers["content-type"]
        return status, cbor2.loads(body) if body else None

    with s.stream(1) as name:
        data = bytes(range(256)) * 40
        status, put = ask("PutRecord", StreamName=name, Data=data, PartitionKey="k")
        assert status == 200 and put["ShardId"] == "shardId-000000000000", put
        status, answer = ask("PutRecords", StreamName=name, Records=[{"Data": b"2", "PartitionKey": "k"}])
        assert status == 200 and answer["FailedRecordCount"] == 0, answer
        assert s.data(name, put["ShardId"]) == [data, b"2"]
        # The Java SDK marks times with CBOR's tag 1, though they are in milliseconds.
        at = cbor2.CBORTag(1, int((time.time() - 3600) * 1000))
        _, iterator = ask("GetShardIterator", StreamName=name, ShardId=put["ShardId"], ShardIteratorType="AT_TIMESTAMP",
                          Timestamp=at)
        status, page = ask("GetRecords", ShardIterator=iterator["ShardIterator"])
        assert [r["Data"] for r in page["Records"]] == [data, b"2"], page
        arrived = page["Records"][0]["ApproximateArrivalTimestamp"]
        arrived = arrived.timestamp() * 1000 if isinstance(arrived, datetime) else arrived
        assert abs(arrived - time.time() * 1000) < 60_000, arrived


@check("CBOR: errors are in it too")
def cbor_errors(s):
    for operation, body, kind in (
        ("DescribeStreamSummary", cbor2.dumps({"StreamName": "no-such-stream"}), "ResourceNotFoundException"),
        ("DescribeStreamSummary", b"\xa1\x61", "SerializationException"),
        ("DescribeStreamSummary", cbor2.dumps({"StreamName": 7}), "SerializationException"),
    ):
        status, headers, answer = s.raw(body, f"Kinesis_20131202.{operation}", "application/x-amz-cbor-1.1")
        assert status == 400 and headers["content-type"] == "application/x-amz-cbor-1.1", (status, answer)
        assert cbor2.loads(answer)["__type"].endswith(kind), answer


@check("CBOR: a subscription's events are in it")
def cbor_events(s):
    with s.stream(1) as name:
        s.kinesis.put_record(StreamName=name, Data=b"\x00\xff", PartitionKey="k")
        s.kinesis.register_stream_consumer(StreamARN=s.arn(name), ConsumerName="c")
        consumer = wait_for_consumer(s, s.arn(name), "c")["ConsumerARN"]
        s.kinesis.split_shard(StreamName=name, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127))
        s.active(name)
        request = dict(ConsumerARN=consumer, ShardId="shardId-000000000000", StartingPosition={"Type": "TRIM_HORIZON"})
        # The shard is closed, so the answer ends.
        status, headers, body = s.raw(cbor2.dumps(request), "Kinesis_20131202.SubscribeToShard",
                                      "application/x-amz-cbor-1.1")
        assert status == 200 and headers["content-type"] == "application/vnd.amazon.eventstream", (status, body)
        messages = EventStreamBuffer()
        messages.add_data(body)
        messages = list(messages)
        assert messages[0].headers[":event-type"] == "initial-response", messages[0].headers
        events = [cbor2.loads(m.payload) for m in messages[1:] if m.headers[":event-type"] == "SubscribeToShardEvent"]
        records = [record for event in events for record in event["Records"]]
        assert [(r["Data"], r["PartitionKey"]) for r in records] == [(b"\x00\xff", "k")], records
        assert ids(events[-1]["ChildShards"]) == [1, 2], events[-1]
