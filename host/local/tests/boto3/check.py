"""What is ours beside Kinesis: a clock that can be set, and DynamoDB. Takes the endpoint's URL; ends with status 0
when all holds."""

import datetime
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


for check in (clock, tables):
    check()
    print(f"{check.__name__}: holds")
