"""What is ours beside Kinesis, as boto3 sees it: TLS, a clock that can be set, and DynamoDB. Ends with status 0 when all
holds.

    check.py http://HOST:PORT https://HOST:PORT CERTIFICATE.pem CONTAINER.hex
"""

import datetime
import json
import pathlib
import sys
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

URL, SECURED, CERTIFICATE, CONTAINER = sys.argv[1:]
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


def secured():
    """Puts, reads and a subscription over TLS, with the endpoint's certificate alone to trust."""
    client = boto3.client("kinesis", **{**SETTINGS, "endpoint_url": SECURED}, verify=CERTIFICATE)
    client.create_stream(StreamName="secured", ShardCount=1)
    container = bytes.fromhex(pathlib.Path(CONTAINER).read_text())
    sent = [bytes(range(256)), b"", bytes(1_000_000), container]
    shard = client.put_record(StreamName="secured", Data=sent[0], PartitionKey="ключ")["ShardId"]
    entries = [{"Data": data, "PartitionKey": "ключ"} for data in sent[1:]]
    assert client.put_records(StreamName="secured", Records=entries)["FailedRecordCount"] == 0
    iterator = client.get_shard_iterator(StreamName="secured", ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    page = client.get_records(ShardIterator=iterator["ShardIterator"])
    assert [(r["Data"], r["PartitionKey"]) for r in page["Records"]] == [(data, "ключ") for data in sent]
    arn = client.describe_stream_summary(StreamName="secured")["StreamDescriptionSummary"]["StreamARN"]
    consumer = client.register_stream_consumer(StreamARN=arn, ConsumerName="c")["Consumer"]["ConsumerARN"]
    answer = client.subscribe_to_shard(
        ConsumerARN=consumer, ShardId=shard, StartingPosition={"Type": "TRIM_HORIZON"})
    pushed, is_split = [], False
    for event in answer["EventStream"]:
        event = event["SubscribeToShardEvent"]
        pushed += [r["Data"] for r in event["Records"]]
        if len(pushed) == len(sent) and not is_split:
            client.split_shard(StreamName="secured", ShardToSplit=shard, NewStartingHashKey="9")
            is_split = True
    assert pushed == sent, [len(data) for data in pushed]
    assert len(event["ChildShards"]) == 2, event


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


for check in (secured, clock, tables):
    check()
    print(f"{check.__name__}: holds")
