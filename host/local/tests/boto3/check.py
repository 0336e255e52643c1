"""Drives the endpoint as boto3 users do. Takes its URL; ends with status 0 when all holds."""

import datetime
import hashlib
import json
import sys
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

URL = sys.argv[1]
SETTINGS = dict(
    endpoint_url=URL,
    region_name="eu-west-1",
    aws_access_key_id="local",
    aws_secret_access_key="local",
    config=Config(retries={"max_attempts": 1}, read_timeout=20),
)
kinesis = boto3.client("kinesis", **SETTINGS)
dynamodb = boto3.client("dynamodb", **SETTINGS)


def refused(kind, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == kind, (kind, error.response["Error"])
        assert error.response["Error"]["Message"], error.response
        return
    raise AssertionError(f"{call} with {arguments} was not refused")


def read_all(stream, shard, **start):
    start = start or {"ShardIteratorType": "TRIM_HORIZON"}
    iterator = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, **start)["ShardIterator"]
    records, children = [], None
    while iterator:
        page = kinesis.get_records(ShardIterator=iterator)
        records += page["Records"]
        children = page.get("ChildShards")
        iterator = page.get("NextShardIterator")
        if page["MillisBehindLatest"] == 0 and not page["Records"]:
            break
    return records, children


def set_clock(**change):
    request = urllib.request.Request(URL + "/_shardwright/clock", json.dumps(change).encode(), method="PUT")
    return json.load(urllib.request.urlopen(request))["now_ms"]


def shard_of(shards, key):
    hashed = int.from_bytes(hashlib.md5(key.encode()).digest(), "big")
    for shard in shards:
        keys = shard["HashKeyRange"]
        if int(keys["StartingHashKey"]) <= hashed <= int(keys["EndingHashKey"]):
            return shard["ShardId"]


def streams():
    kinesis.create_stream(StreamName="s", ShardCount=3)
    kinesis.get_waiter("stream_exists").wait(StreamName="s")
    refused("ResourceInUseException", kinesis.create_stream, StreamName="s", ShardCount=1)
    described = kinesis.describe_stream(StreamName="s")["StreamDescription"]
    assert described["StreamStatus"] == "ACTIVE" and described["RetentionPeriodHours"] == 24, described
    assert described["StreamARN"] == "arn:aws:kinesis:eu-west-1:000000000000:stream/s", described
    summary = kinesis.describe_stream_summary(StreamARN=described["StreamARN"])["StreamDescriptionSummary"]
    assert summary["OpenShardCount"] == 3 and summary["ConsumerCount"] == 0, summary
    assert isinstance(summary["StreamCreationTimestamp"], datetime.datetime)
    for name in "abcde":
        kinesis.create_stream(StreamName=name, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    names = [n for page in kinesis.get_paginator("list_streams").paginate(Limit=2) for n in page["StreamNames"]]
    assert names == ["a", "b", "c", "d", "e", "s"], names
    for name in "abcde":
        kinesis.delete_stream(StreamName=name)
    refused("ResourceNotFoundException", kinesis.describe_stream_summary, StreamName="a")
    refused("ResourceNotFoundException", kinesis.put_record, StreamName="a", Data=b"x", PartitionKey="k")
    # An operation that this endpoint does not have is refused by name.
    refused("UnknownOperationException", kinesis.list_stream_consumers, StreamARN=described["StreamARN"])


def records():
    shards = kinesis.list_shards(StreamName="s")["Shards"]
    entries = [{"Data": bytes([i % 256]) * i, "PartitionKey": f"schlüssel-{i}"} for i in range(300)]
    answer = kinesis.put_records(StreamName="s", Records=entries)
    assert answer["FailedRecordCount"] == 0
    for entry, placed in zip(entries, answer["Records"]):
        assert placed["ShardId"] == shard_of(shards, entry["PartitionKey"])
    found = {}
    for shard in shards:
        got, _ = read_all("s", shard["ShardId"])
        numbers = [int(r["SequenceNumber"]) for r in got]
        assert numbers == sorted(set(numbers)) and all(len(str(n)) == 56 for n in numbers)
        assert not numbers or numbers[0] > int(shard["SequenceNumberRange"]["StartingSequenceNumber"])
        found.update({r["SequenceNumber"]: r for r in got})
    for entry, placed in zip(entries, answer["Records"]):
        record = found.pop(placed["SequenceNumber"])
        assert (record["Data"], record["PartitionKey"]) == (entry["Data"], entry["PartitionKey"])
    assert not found

    top = str(2**128 - 1)
    put = kinesis.put_record(StreamName="s", Data=b"top", PartitionKey="k", ExplicitHashKey=top)
    assert put["ShardId"] == shards[-1]["ShardId"], put
    refused("InvalidArgumentException", kinesis.put_record, StreamName="s", Data=b"", PartitionKey="k",
            ExplicitHashKey=str(2**128))
    refused("ValidationException", kinesis.put_records, StreamName="s", Records=entries + entries)
    refused("ValidationException", kinesis.put_record, StreamName="s", Data=bytes(2**20), PartitionKey="k")
    refused("InvalidArgumentException", kinesis.put_records, StreamName="s",
            Records=[{"Data": bytes(2**20 - 1), "PartitionKey": "k"}] * 11)

    at = dict(ShardIteratorType="AT_SEQUENCE_NUMBER", StartingSequenceNumber=put["SequenceNumber"])
    assert [r["Data"] for r in read_all("s", put["ShardId"], **at)[0]] == [b"top"]
    at["ShardIteratorType"] = "AFTER_SEQUENCE_NUMBER"
    assert read_all("s", put["ShardId"], **at)[0] == []
    refused("InvalidArgumentException", kinesis.get_shard_iterator, StreamName="s", ShardId=shards[0]["ShardId"], **at)
    refused("InvalidArgumentException", kinesis.get_records, ShardIterator="no such")
    refused("ResourceNotFoundException", kinesis.get_shard_iterator, StreamName="s", ShardId="shardId-000000000099",
            ShardIteratorType="LATEST")


def pages():
    kinesis.create_stream(StreamName="big", ShardCount=1)
    for _ in range(2):
        kinesis.put_records(StreamName="big", Records=[{"Data": bytes(1_000_000), "PartitionKey": "k"}] * 8)
    iterator = kinesis.get_shard_iterator(StreamName="big", ShardId="shardId-000000000000",
                                          ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    page = kinesis.get_records(ShardIterator=iterator)
    assert len(page["Records"]) == 10 and page["MillisBehindLatest"] > 0, len(page["Records"])
    page = kinesis.get_records(ShardIterator=page["NextShardIterator"])
    assert len(page["Records"]) == 6 and page["MillisBehindLatest"] == 0
    page = kinesis.get_records(ShardIterator=iterator, Limit=3)
    assert len(page["Records"]) == 3 and page["MillisBehindLatest"] > 0
    refused("ValidationException", kinesis.get_records, ShardIterator=iterator, Limit=10001)


def resharding():
    kinesis.create_stream(StreamName="r", ShardCount=1)
    first = "shardId-000000000000"
    for i in range(10):
        kinesis.put_record(StreamName="r", Data=str(i).encode(), PartitionKey=str(i))
    kinesis.split_shard(StreamName="r", ShardToSplit=first, NewStartingHashKey=str(2**127))
    refused("ResourceInUseException", kinesis.split_shard, StreamName="r", ShardToSplit=first,
            NewStartingHashKey=str(2**126))
    got, children = read_all("r", first)
    assert len(got) == 10
    assert [c["ShardId"] for c in children] == ["shardId-000000000001", "shardId-000000000002"], children
    assert all(c["ParentShards"] == [first] for c in children)
    ending = kinesis.list_shards(StreamName="r")["Shards"][0]["SequenceNumberRange"]["EndingSequenceNumber"]
    child = kinesis.put_record(StreamName="r", Data=b"child", PartitionKey="x")
    assert int(got[-1]["SequenceNumber"]) < int(ending) < int(child["SequenceNumber"])
    kinesis.merge_shards(StreamName="r", ShardToMerge="shardId-000000000002",
                         AdjacentShardToMerge="shardId-000000000001")
    merged = kinesis.list_shards(StreamName="r", ShardFilter={"Type": "AT_LATEST"})["Shards"]
    assert [s["ParentShardId"] for s in merged] == ["shardId-000000000002"], merged
    assert merged[0]["AdjacentParentShardId"] == "shardId-000000000001"
    answer = kinesis.update_shard_count(StreamName="r", TargetShardCount=2, ScalingType="UNIFORM_SCALING")
    assert (answer["CurrentShardCount"], answer["TargetShardCount"]) == (1, 2)
    refused("InvalidArgumentException", kinesis.update_shard_count, StreamName="r", TargetShardCount=5,
            ScalingType="UNIFORM_SCALING")

    everything = [s["ShardId"] for s in kinesis.list_shards(StreamName="r")["Shards"]]
    paged, token = [], None
    while True:
        start = {"NextToken": token} if token else {"StreamName": "r"}
        page = kinesis.list_shards(MaxResults=2, **start)
        paged += [s["ShardId"] for s in page["Shards"]]
        token = page.get("NextToken")
        if not token:
            break
    assert paged == everything and len(everything) == 6, paged
    horizon = kinesis.list_shards(StreamName="r", ShardFilter={"Type": "AT_TRIM_HORIZON"})["Shards"]
    assert [s["ShardId"] for s in horizon] == [first], horizon
    after = kinesis.list_shards(StreamName="r", ShardFilter={"Type": "AFTER_SHARD_ID", "ShardId": everything[2]})
    assert [s["ShardId"] for s in after["Shards"]] == everything[3:]


def clock():
    now = set_clock(freeze_ms=1_800_000_000_000)
    kinesis.create_stream(StreamName="t", ShardCount=1)
    shard = "shardId-000000000000"
    for second in range(4):
        set_clock(freeze_ms=now + second * 1000)
        kinesis.put_record(StreamName="t", Data=str(second).encode(), PartitionKey="k")
    at = datetime.datetime.fromtimestamp(now / 1000 + 2, datetime.timezone.utc)
    got, _ = read_all("t", shard, ShardIteratorType="AT_TIMESTAMP", Timestamp=at)
    assert [r["Data"] for r in got] == [b"2", b"3"], got
    assert got[0]["ApproximateArrivalTimestamp"] == at, got[0]
    iterator = kinesis.get_shard_iterator(StreamName="t", ShardId=shard, ShardIteratorType="LATEST")["ShardIterator"]
    set_clock(advance_ms=299_000)
    kinesis.get_records(ShardIterator=iterator)
    set_clock(advance_ms=2_000)
    refused("ExpiredIteratorException", kinesis.get_records, ShardIterator=iterator)
    kinesis.increase_stream_retention_period(StreamName="t", RetentionPeriodHours=48)
    set_clock(freeze_ms=now + 2000 + 24 * 3600_000)
    assert len(read_all("t", shard)[0]) == 4
    kinesis.decrease_stream_retention_period(StreamName="t", RetentionPeriodHours=24)
    assert [r["Data"] for r in read_all("t", shard)[0]] == [b"3"]
    kinesis.increase_stream_retention_period(StreamName="t", RetentionPeriodHours=48)
    assert [r["Data"] for r in read_all("t", shard)[0]] == [b"3"]
    set_clock(follow_system=True)


def tables():
    dynamodb.create_table(
        TableName="leases",
        AttributeDefinitions=[{"AttributeName": "leaseKey", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    key = {"leaseKey": {"S": "shardId-000000000000"}}
    create = dict(TableName="leases", Item={**key, "leaseCounter": {"N": "1"}},
                  ConditionExpression="attribute_not_exists(leaseKey)")
    dynamodb.put_item(**create)
    refused("ConditionalCheckFailedException", dynamodb.put_item, **create)
    assert dynamodb.get_item(TableName="leases", Key=key)["Item"]["leaseCounter"]["N"] == "1"
    refused("ResourceNotFoundException", dynamodb.describe_table, TableName="none")


for check in (streams, records, pages, resharding, clock, tables):
    check()
    print(f"{check.__name__}: holds")
