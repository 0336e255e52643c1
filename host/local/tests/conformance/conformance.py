"""What a client of Kinesis Data Streams may count on, as boto3 sees it.

    conformance.py URL [--json FILE] [--only TEXT] [--wait]

Runs every check against the endpoint at URL, prints one line each, and ends with status 1 if one does not hold. A check
makes streams of its own, waits until they are ACTIVE, and deletes them. It knows nothing of the server, except that one
whose clock can be set (ours) need not be waited for: without that, `--wait` waits the five minutes in which an iterator
expires, and without `--wait` that check is left out.

What is expected is what AWS documents. Nothing here was compared with AWS.
"""

import argparse
import base64
import contextlib
import hashlib
import json
import time
import traceback
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import aws_kinesis_agg.aggregator
import aws_kinesis_agg.deaggregator
import boto3
import cbor2
from botocore.config import Config
from botocore.exceptions import ClientError

KEYS = 2**128
CHECKS = []


def check(name):
    def add(function):
        CHECKS.append((name, function))
        return function

    return add


class Server:
    """The server under test, and what most checks do with it."""

    def __init__(self, url):
        self.url = url
        # No validation by the client: the server has to do it. No retries: they would hide what it says.
        self.kinesis = boto3.client(
            "kinesis",
            endpoint_url=url,
            region_name="eu-west-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=Config(
                retries={"total_max_attempts": 1},
                read_timeout=120,
                parameter_validation=False,
                max_pool_connections=16,
            ),
        )

    def active(self, stream):
        """Waits until a change of the stream is done, and gives its description."""
        for _ in range(400):
            summary = self.kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
            if summary["StreamStatus"] == "ACTIVE":
                return summary
            time.sleep(0.05)
        raise AssertionError(f"{stream} does not become ACTIVE")

    @contextlib.contextmanager
    def stream(self, shards=1, **arguments):
        name = f"s-{uuid.uuid4().hex[:12]}"
        if shards:
            arguments["ShardCount"] = shards
        self.kinesis.create_stream(StreamName=name, **arguments)
        self.active(name)
        try:
            yield name
        finally:
            with contextlib.suppress(ClientError):
                self.kinesis.delete_stream(StreamName=name, EnforceConsumerDeletion=True)

    def arn(self, stream):
        return self.active(stream)["StreamARN"]

    def shards(self, stream, **arguments):
        return self.kinesis.list_shards(StreamName=stream, **arguments)["Shards"]

    def iterator(self, stream, shard, kind="TRIM_HORIZON", **start):
        answer = self.kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType=kind, **start)
        return answer["ShardIterator"]

    def read(self, iterator):
        """All records from an iterator on, and the last page."""
        records = []
        for _ in range(200):
            page = self.kinesis.get_records(ShardIterator=iterator)
            records += page["Records"]
            iterator = page.get("NextShardIterator")
            if not iterator or (not page["Records"] and page["MillisBehindLatest"] == 0):
                return records, page
        raise AssertionError("the shard has no end of pages")

    def data(self, stream, shard, kind="TRIM_HORIZON", **start):
        return [r["Data"] for r in self.read(self.iterator(stream, shard, kind, **start))[0]]

    def refused(self, codes, call, **arguments):
        """The call must be refused with one of these codes (texts split by |), and say why."""
        try:
            call(**arguments)
        except ClientError as error:
            found = error.response["Error"]
            assert found["Code"] in codes.split("|"), f"{codes} expected, {found['Code']}: {found['Message']}"
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400, error.response["ResponseMetadata"]
            assert found["Message"], f"{found['Code']} without a message"
            return
        raise AssertionError(f"{codes} expected, but it was accepted")

    def raw(self, body, target="Kinesis_20131202.ListStreams", kind="application/x-amz-json-1.1"):
        headers = {
            "content-type": kind,
            "x-amz-target": target,
            "x-amz-date": "20260101T000000Z",
            "authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/eu-west-1/kinesis/aws4_request, "
            "SignedHeaders=host;x-amz-date;x-amz-target, Signature=00",
        }
        request = urllib.request.Request(self.url + "/", data=body, headers=headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def set_clock(self, **change):
        """Sets the server's clock if it can be set; whether it was."""
        body = json.dumps(change).encode()
        request = urllib.request.Request(self.url + "/_shardwright/clock", data=body, method="PUT")
        try:
            return "now_ms" in json.load(urllib.request.urlopen(request, timeout=30))
        except (ValueError, OSError):
            return False


class Bound:
    """Ends a listing that has no end."""

    def __init__(self):
        self.pages = 0

    def holds(self):
        self.pages += 1
        assert self.pages <= 200, "a listing without an end"
        return True


def hash_of(key):
    return int.from_bytes(hashlib.md5(key.encode()).digest(), "big")


def bounds(shard):
    keys = shard["HashKeyRange"]
    return int(keys["StartingHashKey"]), int(keys["EndingHashKey"])


def owner(shards, hashed):
    return next(s["ShardId"] for s in shards if bounds(s)[0] <= hashed <= bounds(s)[1])


def covers_all(shards):
    ranges = sorted(bounds(s) for s in shards)
    assert ranges[0][0] == 0 and ranges[-1][1] == KEYS - 1, ranges
    assert all(a[1] + 1 == b[0] for a, b in zip(ranges, ranges[1:])), ranges


def uniform(shards, count):
    """Of equal width, but for a remainder that may go to any of them."""
    covers_all(shards)
    widths = [bounds(s)[1] - bounds(s)[0] for s in shards]
    assert len(shards) == count and max(widths) - min(widths) <= count, widths


# === streams ===


@check("CreateStream: ACTIVE with shards that cover all hash keys")
def create(s):
    with s.stream(3) as name:
        summary = s.active(name)
        assert summary["OpenShardCount"] == 3, summary
        assert summary["RetentionPeriodHours"] == 24, summary
        assert summary["StreamARN"].endswith(f":stream/{name}"), summary
        assert isinstance(summary["StreamCreationTimestamp"], datetime), summary
        assert abs(summary["StreamCreationTimestamp"] - datetime.now(timezone.utc)) < timedelta(minutes=1)
        covers_all(s.shards(name))


@check("CreateStream: what is wrong is refused")
def create_refused(s):
    with s.stream(1) as name:
        s.refused("ResourceInUseException", s.kinesis.create_stream, StreamName=name, ShardCount=1)
    s.refused("ValidationException", s.kinesis.create_stream, StreamName="no name", ShardCount=1)
    s.refused("ValidationException", s.kinesis.create_stream, StreamName="n" * 129, ShardCount=1)
    s.refused("ValidationException", s.kinesis.create_stream, StreamName="n", ShardCount=0)
    s.refused("ValidationException", s.kinesis.create_stream, ShardCount=1)


@check("CreateStream and UpdateStreamMode: on-demand and back; its shards are the service's to change")
def on_demand(s):
    with s.stream(None, StreamModeDetails={"StreamMode": "ON_DEMAND"}) as name:
        summary = s.active(name)
        assert summary["StreamModeDetails"] == {"StreamMode": "ON_DEMAND"}, summary
        assert summary["OpenShardCount"] == 4, summary
        shard = s.shards(name)[0]["ShardId"]
        split = dict(StreamName=name, ShardToSplit=shard, NewStartingHashKey=str(2**124))
        s.refused("ValidationException", s.kinesis.split_shard, **split)
        scale = dict(StreamName=name, TargetShardCount=8, ScalingType="UNIFORM_SCALING")
        s.refused("ValidationException", s.kinesis.update_shard_count, **scale)
        arn = summary["StreamARN"]
        s.kinesis.update_stream_mode(StreamARN=arn, StreamModeDetails={"StreamMode": "PROVISIONED"})
        assert s.active(name)["StreamModeDetails"] == {"StreamMode": "PROVISIONED"}
        s.kinesis.split_shard(**split)
        assert s.active(name)["OpenShardCount"] == 5


@check("DeleteStream: gone; one with consumers only when told so")
def delete(s):
    with s.stream(1) as name:
        s.kinesis.register_stream_consumer(StreamARN=s.arn(name), ConsumerName="c")
        wait_for_consumer(s, s.arn(name), "c")
        s.refused("ResourceInUseException", s.kinesis.delete_stream, StreamName=name)
        s.kinesis.delete_stream(StreamName=name, EnforceConsumerDeletion=True)
        for _ in range(200):
            try:
                s.kinesis.describe_stream_summary(StreamName=name)
            except s.kinesis.exceptions.ResourceNotFoundException:
                break
            time.sleep(0.05)
        s.refused("ResourceNotFoundException", s.kinesis.describe_stream, StreamName=name)
        s.refused("ResourceNotFoundException", s.kinesis.delete_stream, StreamName=name)
        s.refused("ResourceNotFoundException", s.kinesis.put_record, StreamName=name, Data=b"x", PartitionKey="k")


@check("DescribeStream: pages of shards by Limit and ExclusiveStartShardId")
def describe(s):
    with s.stream(5) as name:
        found, more, start = [], True, {}
        bound = Bound()
        while more and bound.holds():
            page = s.kinesis.describe_stream(StreamName=name, Limit=2, **start)["StreamDescription"]
            assert page["StreamStatus"] == "ACTIVE" and page["RetentionPeriodHours"] == 24, page
            assert page["EnhancedMonitoring"] and len(page["Shards"]) <= 2, page
            found += [shard["ShardId"] for shard in page["Shards"]]
            more, start = page["HasMoreShards"], {"ExclusiveStartShardId": found[-1]}
        assert found == [f"shardId-{i:012}" for i in range(5)], found
        s.refused("ValidationException", s.kinesis.describe_stream, StreamName=name, Limit=10001)


@check("DescribeStreamSummary: counts open shards and consumers")
def summary(s):
    with s.stream(2) as name:
        s.kinesis.register_stream_consumer(StreamARN=s.arn(name), ConsumerName="c")
        wait_for_consumer(s, s.arn(name), "c")
        s.kinesis.split_shard(StreamName=name, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**126))
        found = s.active(name)
        assert (found["OpenShardCount"], found["ConsumerCount"]) == (3, 1), found
    s.refused("ResourceNotFoundException", s.kinesis.describe_stream_summary, StreamName="no-such-stream")


@check("ListStreams: in order, by ExclusiveStartStreamName and by NextToken, with summaries")
def list_streams(s):
    with s.stream(1) as one, s.stream(1) as two, s.stream(1) as three:
        ours = sorted([one, two, three])
        by_name, start = [], {}
        bound = Bound()
        while bound.holds():
            page = s.kinesis.list_streams(Limit=1, **start)
            by_name += page["StreamNames"]
            if not page["HasMoreStreams"]:
                break
            start = {"ExclusiveStartStreamName": page["StreamNames"][-1]}
        assert by_name == sorted(by_name) and [n for n in by_name if n in ours] == ours, by_name
        pages = s.kinesis.get_paginator("list_streams").paginate(PaginationConfig={"PageSize": 1})
        found = [stream for page in pages for stream in page["StreamSummaries"] if stream["StreamName"] in ours]
        assert [stream["StreamName"] for stream in found] == ours, found
        assert all(stream["StreamStatus"] == "ACTIVE" and stream["StreamARN"] for stream in found), found


@check("DescribeLimits: open shards, on-demand streams, and their limits")
def describe_limits(s):
    before = s.kinesis.describe_limits()
    with s.stream(3), s.stream(None, StreamModeDetails={"StreamMode": "ON_DEMAND"}):
        after = s.kinesis.describe_limits()
        assert after["OpenShardCount"] >= before["OpenShardCount"] + 3, after
        assert after["OnDemandStreamCount"] == before["OnDemandStreamCount"] + 1, after
        assert after["ShardLimit"] > 0 and after["OnDemandStreamCountLimit"] > 0, after


@check("Every operation that takes StreamARN takes it alone")
def by_arn(s):
    with s.stream(1) as name:
        arn = dict(StreamARN=s.arn(name))
        shard = "shardId-000000000000"
        s.kinesis.put_record(**arn, Data=b"1", PartitionKey="k")
        s.kinesis.put_records(**arn, Records=[{"Data": b"2", "PartitionKey": "k"}])
        iterator = s.kinesis.get_shard_iterator(**arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
        page = s.kinesis.get_records(**arn, ShardIterator=iterator["ShardIterator"])
        assert [r["Data"] for r in page["Records"]] == [b"1", b"2"], page
        assert s.kinesis.describe_stream(**arn)["StreamDescription"]["StreamName"] == name
        assert len(s.kinesis.list_shards(**arn)["Shards"]) == 1
        s.kinesis.increase_stream_retention_period(**arn, RetentionPeriodHours=30)
        s.active(name)
        s.kinesis.decrease_stream_retention_period(**arn, RetentionPeriodHours=24)
        s.active(name)
        s.kinesis.add_tags_to_stream(**arn, Tags={"a": "b"})
        assert s.kinesis.list_tags_for_stream(**arn)["Tags"] == [{"Key": "a", "Value": "b"}]
        s.kinesis.remove_tags_from_stream(**arn, TagKeys=["a"])
        s.kinesis.update_shard_count(**arn, TargetShardCount=2, ScalingType="UNIFORM_SCALING")
        s.active(name)
        s.kinesis.merge_shards(**arn, ShardToMerge="shardId-000000000001", AdjacentShardToMerge="shardId-000000000002")
        s.active(name)
        s.kinesis.split_shard(**arn, ShardToSplit="shardId-000000000003", NewStartingHashKey=str(2**127))
        s.active(name)
        s.kinesis.delete_stream(**arn)


# === shards ===


@check("ListShards: pages by NextToken alone; NextToken excludes StreamName")
def list_shards(s):
    with s.stream(5) as name:
        page = s.kinesis.list_shards(StreamName=name, MaxResults=2)
        token, found = page["NextToken"], page["Shards"]
        s.refused("InvalidArgumentException", s.kinesis.list_shards, StreamName=name, NextToken=token)
        bound = Bound()
        while token and bound.holds():
            page = s.kinesis.list_shards(NextToken=token, MaxResults=2)
            assert len(page["Shards"]) <= 2, page
            token, found = page.get("NextToken"), found + page["Shards"]
        assert [f["ShardId"] for f in found] == [f"shardId-{i:012}" for i in range(5)], found
        s.refused("InvalidArgumentException", s.kinesis.list_shards, NextToken="no-such-token")
        s.refused("ValidationException", s.kinesis.list_shards, StreamName=name, MaxResults=10001)
        s.refused("ResourceNotFoundException", s.kinesis.list_shards, StreamName="no-such-stream")


def split_stream(s, name):
    """The stream's one shard split at the middle; a whole second on either side."""
    time.sleep(2.1)
    at = datetime.now(timezone.utc)
    time.sleep(1.1)
    s.kinesis.split_shard(StreamName=name, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127))
    s.active(name)
    time.sleep(1.1)
    return at


def ids(shards):
    return [int(shard["ShardId"].split("-")[1]) for shard in shards]


@check("ListShards: filters AT_LATEST, FROM_TRIM_HORIZON, AFTER_SHARD_ID")
def filters(s):
    with s.stream(1) as name:
        s.kinesis.split_shard(StreamName=name, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127))
        s.active(name)
        assert ids(s.shards(name)) == [0, 1, 2]
        assert ids(s.shards(name, ShardFilter={"Type": "AT_LATEST"})) == [1, 2]
        assert ids(s.shards(name, ShardFilter={"Type": "FROM_TRIM_HORIZON"})) == [0, 1, 2]
        after = {"Type": "AFTER_SHARD_ID", "ShardId": "shardId-000000000000"}
        assert ids(s.shards(name, ShardFilter=after)) == [1, 2]
        wrong = dict(StreamName=name, ShardFilter={"Type": "AT_NOON"})
        s.refused("ValidationException", s.kinesis.list_shards, **wrong)


@check("ListShards: filter AT_TRIM_HORIZON gives the shards that were open then")
def filter_at_horizon(s):
    with s.stream(1) as name:
        s.kinesis.split_shard(StreamName=name, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127))
        s.active(name)
        assert ids(s.shards(name, ShardFilter={"Type": "AT_TRIM_HORIZON"})) == [0]


@check("ListShards: filters AT_TIMESTAMP and FROM_TIMESTAMP")
def filter_by_time(s):
    with s.stream(1) as name:
        at = split_stream(s, name)
        assert ids(s.shards(name, ShardFilter={"Type": "AT_TIMESTAMP", "Timestamp": at})) == [0]
        assert ids(s.shards(name, ShardFilter={"Type": "FROM_TIMESTAMP", "Timestamp": at})) == [0, 1, 2]
        now = datetime.now(timezone.utc)
        assert ids(s.shards(name, ShardFilter={"Type": "AT_TIMESTAMP", "Timestamp": now})) == [1, 2]
        assert ids(s.shards(name, ShardFilter={"Type": "FROM_TIMESTAMP", "Timestamp": now})) == [1, 2]


@check("SplitShard: lineage, and sequence numbers that lie between parent's and children's")
def split(s):
    with s.stream(1) as name:
        last = s.kinesis.put_record(StreamName=name, Data=b"x", PartitionKey="k")
        s.kinesis.split_shard(StreamName=name, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127))
        s.active(name)
        parent, low, high = s.shards(name)
        assert bounds(low) == (0, 2**127 - 1) and bounds(high) == (2**127, KEYS - 1)
        for child in (low, high):
            assert child["ParentShardId"] == parent["ShardId"] and "AdjacentParentShardId" not in child, child
            assert "EndingSequenceNumber" not in child["SequenceNumberRange"], child
        end = int(parent["SequenceNumberRange"]["EndingSequenceNumber"])
        assert int(last["SequenceNumber"]) <= end, (last, end)
        first = s.kinesis.put_record(StreamName=name, Data=b"y", PartitionKey="k")
        assert first["ShardId"] in (low["ShardId"], high["ShardId"]) and end < int(first["SequenceNumber"])


@check("SplitShard: what is wrong is refused")
def split_refused(s):
    with s.stream(2) as name:
        first = dict(StreamName=name, ShardToSplit="shardId-000000000000")
        s.refused("InvalidArgumentException", s.kinesis.split_shard, **first, NewStartingHashKey="0")
        s.refused("InvalidArgumentException", s.kinesis.split_shard, **first, NewStartingHashKey=str(2**127 + 5))
        s.refused("ValidationException", s.kinesis.split_shard, **first, NewStartingHashKey="-1")
        missing = dict(StreamName=name, ShardToSplit="shardId-000000000099", NewStartingHashKey="17")
        s.refused("ResourceNotFoundException", s.kinesis.split_shard, **missing)
        s.kinesis.split_shard(**first, NewStartingHashKey=str(2**120))
        s.active(name)
        s.refused("ResourceInUseException|InvalidArgumentException", s.kinesis.split_shard, **first,
                  NewStartingHashKey=str(2**121))


@check("A closed shard is read to its end: null NextShardIterator and ChildShards")
def shard_end(s):
    with s.stream(1) as name:
        for i in range(10):
            s.kinesis.put_record(StreamName=name, Data=b"%d" % i, PartitionKey="k")
        s.kinesis.split_shard(StreamName=name, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127))
        s.active(name)
        records, page = s.read(s.iterator(name, "shardId-000000000000"))
        assert [r["Data"] for r in records] == [b"%d" % i for i in range(10)], records
        assert page.get("NextShardIterator") is None, page
        children = sorted(page.get("ChildShards", []), key=lambda c: c["ShardId"])
        assert ids(children) == [1, 2], children
        assert all(c["ParentShards"] == ["shardId-000000000000"] for c in children), children
        assert bounds(children[0]) == (0, 2**127 - 1), children


@check("MergeShards: adjacent shards become one with both as parents; others are refused")
def merge(s):
    with s.stream(3) as name:
        far = dict(ShardToMerge="shardId-000000000000", AdjacentShardToMerge="shardId-000000000002")
        s.refused("InvalidArgumentException", s.kinesis.merge_shards, StreamName=name, **far)
        near = dict(ShardToMerge="shardId-000000000000", AdjacentShardToMerge="shardId-000000000001")
        s.kinesis.merge_shards(StreamName=name, **near)
        s.active(name)
        child = s.shards(name)[-1]
        assert child["ParentShardId"] == near["ShardToMerge"], child
        assert child["AdjacentParentShardId"] == near["AdjacentShardToMerge"], child
        covers_all(s.shards(name, ShardFilter={"Type": "AT_LATEST"}))
        for parent in near.values():
            _, page = s.read(s.iterator(name, parent))
            assert page.get("NextShardIterator") is None, page
            assert ids(page["ChildShards"]) == [3] and len(page["ChildShards"][0]["ParentShards"]) == 2, page


@check("UpdateShardCount: 2 to 4 to 2, uniform, with lineage; more than double or less than half is refused")
def rescale(s):
    with s.stream(2) as name:
        scale = dict(StreamName=name, ScalingType="UNIFORM_SCALING")
        s.refused("InvalidArgumentException|LimitExceededException", s.kinesis.update_shard_count, **scale,
                  TargetShardCount=5)
        answer = s.kinesis.update_shard_count(**scale, TargetShardCount=4)
        assert (answer["CurrentShardCount"], answer["TargetShardCount"]) == (2, 4), answer
        s.active(name)
        opened = s.shards(name, ShardFilter={"Type": "AT_LATEST"})
        uniform(opened, 4)
        assert all("ParentShardId" in o for o in opened), opened
        s.refused("InvalidArgumentException|LimitExceededException", s.kinesis.update_shard_count, **scale,
                  TargetShardCount=1)
        s.kinesis.update_shard_count(**scale, TargetShardCount=2)
        s.active(name)
        opened = s.shards(name, ShardFilter={"Type": "AT_LATEST"})
        uniform(opened, 2)
        assert all("AdjacentParentShardId" in o for o in opened), opened
        s.refused("ValidationException", s.kinesis.update_shard_count, StreamName=name, ScalingType="RANDOM",
                  TargetShardCount=2)


# === puts ===


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


# === reads ===


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


# === retention and tags ===


@check("IncreaseStreamRetentionPeriod and DecreaseStreamRetentionPeriod: 24 to 8760 hours, each its own way")
def retention(s):
    with s.stream(1) as name:
        named = dict(StreamName=name)
        s.kinesis.increase_stream_retention_period(**named, RetentionPeriodHours=48)
        assert s.active(name)["RetentionPeriodHours"] == 48
        refused = "InvalidArgumentException|ValidationException"
        s.refused(refused, s.kinesis.increase_stream_retention_period, **named, RetentionPeriodHours=8761)
        s.refused(refused, s.kinesis.increase_stream_retention_period, **named, RetentionPeriodHours=25)
        s.refused(refused, s.kinesis.decrease_stream_retention_period, **named, RetentionPeriodHours=23)
        s.refused(refused, s.kinesis.decrease_stream_retention_period, **named, RetentionPeriodHours=72)
        s.kinesis.decrease_stream_retention_period(**named, RetentionPeriodHours=24)
        assert s.active(name)["RetentionPeriodHours"] == 24


@check("Tags of a stream: given at CreateStream, added, overwritten, listed in pages, removed")
def stream_tags(s):
    with s.stream(1, Tags={"team": "a"}) as name:
        named = dict(StreamName=name)
        assert s.kinesis.list_tags_for_stream(**named)["Tags"] == [{"Key": "team", "Value": "a"}]
        s.kinesis.add_tags_to_stream(**named, Tags={"team": "b", "empty": "", **{f"t{i:02}": "v" for i in range(8)}})
        found, more, start = [], True, {}
        bound = Bound()
        while more and bound.holds():
            page = s.kinesis.list_tags_for_stream(**named, Limit=3, **start)
            found, more = found + page["Tags"], page["HasMoreTags"]
            start = {"ExclusiveStartTagKey": found[-1]["Key"]}
        wanted = {"team": "b", "empty": "", **{f"t{i:02}": "v" for i in range(8)}}
        assert {t["Key"]: t["Value"] for t in found} == wanted and len(found) == 10, found
        s.kinesis.remove_tags_from_stream(**named, TagKeys=["team", "t00", "no-such-tag"])
        assert len(s.kinesis.list_tags_for_stream(**named)["Tags"]) == 8


@check("Tags of a stream: what is wrong is refused")
def tags_refused(s):
    with s.stream(1) as name:
        named = dict(StreamName=name)
        add = s.kinesis.add_tags_to_stream
        s.refused("ValidationException", add, **named, Tags={})
        s.refused("ValidationException", add, **named, Tags={"k" * 129: "v"})
        s.refused("ValidationException", add, **named, Tags={"k": "v" * 257})
        s.kinesis.add_tags_to_stream(**named, Tags={f"t{i}": "v" for i in range(45)})
        s.refused("InvalidArgumentException|LimitExceededException", add, **named, Tags={f"u{i}": "v" for i in range(9)})
        s.refused("ValidationException", s.kinesis.list_tags_for_stream, **named, Limit=51)
        s.refused("ValidationException", s.kinesis.remove_tags_from_stream, **named, TagKeys=[])
        s.refused("ResourceNotFoundException", add, StreamName="no-such-stream", Tags={"k": "v"})


@check("TagResource, ListTagsForResource, UntagResource: streams and consumers")
def resource_tags(s):
    with s.stream(1) as name:
        arn = s.arn(name)
        registered = s.kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c", Tags={"x": "y"})
        wait_for_consumer(s, arn, "c")
        tags = {}
        for resource in (arn, registered["Consumer"]["ConsumerARN"]):
            s.kinesis.tag_resource(ResourceARN=resource, Tags={"a": "1", "b": "2"})
            s.kinesis.untag_resource(ResourceARN=resource, TagKeys=["b"])
            found = s.kinesis.list_tags_for_resource(ResourceARN=resource)["Tags"]
            tags[resource] = {t["Key"]: t["Value"] for t in found}
        assert list(tags.values()) == [{"a": "1"}, {"a": "1", "x": "y"}], tags
        assert s.kinesis.list_tags_for_stream(StreamName=name)["Tags"] == [{"Key": "a", "Value": "1"}]
        s.refused("ResourceNotFoundException", s.kinesis.list_tags_for_resource, ResourceARN=arn + "-not")


# === consumers ===


def wait_for_consumer(s, arn, name):
    for _ in range(400):
        found = s.kinesis.describe_stream_consumer(StreamARN=arn, ConsumerName=name)["ConsumerDescription"]
        if found["ConsumerStatus"] == "ACTIVE":
            return found
        time.sleep(0.05)
    raise AssertionError(f"{name} does not become ACTIVE")


@check("Consumers: registered, described by name and by ARN, deregistered by either")
def consumers(s):
    with s.stream(1) as name:
        arn = s.arn(name)
        for by in ("name", "arn"):
            registered = s.kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c")["Consumer"]
            assert registered["ConsumerStatus"] in ("CREATING", "ACTIVE"), registered
            made = int(registered["ConsumerCreationTimestamp"].timestamp())
            assert registered["ConsumerARN"] == f"{arn}/consumer/c:{made}", registered
            described = wait_for_consumer(s, arn, "c")
            assert described["StreamARN"] == arn, described
            by_arn = s.kinesis.describe_stream_consumer(ConsumerARN=registered["ConsumerARN"])["ConsumerDescription"]
            assert by_arn == described, by_arn
            s.refused("ResourceInUseException", s.kinesis.register_stream_consumer, StreamARN=arn, ConsumerName="c")
            names = dict(StreamARN=arn, ConsumerName="c") if by == "name" else dict(ConsumerARN=by_arn["ConsumerARN"])
            s.kinesis.deregister_stream_consumer(**names)
            for _ in range(200):
                if not s.kinesis.list_stream_consumers(StreamARN=arn)["Consumers"]:
                    break
                time.sleep(0.05)
            s.refused("ResourceNotFoundException", s.kinesis.describe_stream_consumer, **names)
            s.refused("ResourceNotFoundException", s.kinesis.deregister_stream_consumer, **names)


@check("ListStreamConsumers: pages by NextToken")
def list_consumers(s):
    with s.stream(1) as name:
        arn = s.arn(name)
        for i in range(5):
            s.kinesis.register_stream_consumer(StreamARN=arn, ConsumerName=f"c{i}")
            wait_for_consumer(s, arn, f"c{i}")
        found, start = [], {}
        bound = Bound()
        while bound.holds():
            page = s.kinesis.list_stream_consumers(StreamARN=arn, MaxResults=2, **start)
            assert len(page["Consumers"]) <= 2, page
            found += [c["ConsumerName"] for c in page["Consumers"]]
            if not page.get("NextToken"):
                break
            start = {"NextToken": page["NextToken"]}
        assert sorted(found) == [f"c{i}" for i in range(5)], found
        s.refused("InvalidArgumentException", s.kinesis.list_stream_consumers, StreamARN=arn, NextToken="no-such-token")


@check("Consumers: what is wrong is refused; 20 to a stream")
def consumers_refused(s):
    register = s.kinesis.register_stream_consumer
    with s.stream(1) as name:
        arn = s.arn(name)
        s.refused("ResourceNotFoundException", register, StreamARN=arn + "-not", ConsumerName="c")
        s.refused("ValidationException", register, StreamARN=arn, ConsumerName="no name")
        s.refused("ValidationException", register, StreamARN="arn:of:nothing", ConsumerName="c")
        s.refused("InvalidArgumentException|ValidationException", s.kinesis.describe_stream_consumer, ConsumerName="c")
        for i in range(20):
            register(StreamARN=arn, ConsumerName=f"c{i}")
            wait_for_consumer(s, arn, f"c{i}")
        s.refused("LimitExceededException", register, StreamARN=arn, ConsumerName="c20")


# === the protocol ===


@check("An operation that is none: UnknownOperationException")
def unknown_operation(s):
    for target in ("Kinesis_20131202.NoSuchOperation", "Kinesis_20131202.", "NoService.ListStreams"):
        status, headers, body = s.raw(b"{}", target)
        assert status in (400, 404), status
        assert json.loads(body)["__type"].endswith("UnknownOperationException"), body


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


@check("An iterator expires after five minutes, and not before")
def expired(s):
    with s.stream(1) as name:
        iterator = s.iterator(name, "shardId-000000000000")
        if s.set_clock(advance_ms=295_000):
            s.kinesis.get_records(ShardIterator=iterator)
            s.set_clock(advance_ms=6_000)
        else:
            time.sleep(270)
            s.kinesis.get_records(ShardIterator=iterator)
            time.sleep(40)
        s.refused("ExpiredIteratorException", s.kinesis.get_records, ShardIterator=iterator)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("url")
    arguments.add_argument("--json", help="also write the results there")
    arguments.add_argument("--only", default="", help="only checks whose name has this text")
    arguments.add_argument("--wait", action="store_true", help="wait where the clock cannot be set")
    arguments = arguments.parse_args()
    server, results = Server(arguments.url.rstrip("/")), {}
    can_set = server.set_clock(advance_ms=0)
    chosen = [(name, function) for name, function in CHECKS if arguments.only in name]
    with ThreadPoolExecutor(1) as waiting:
        # The one that waits for minutes does so beside the others.
        slow = [(name, waiting.submit(outcome, function, server)) for name, function in chosen
                if function is expired and arguments.wait and not can_set]
        for name, function in chosen:
            if function is not expired or can_set:
                results[name] = told(name, outcome(function, server))
        for name, result in slow:
            results[name] = told(name, result.result())
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(results, file, indent=1)
    failed = sum(1 for reason in results.values() if reason is not None)
    print(f"{len(results) - failed} hold, {failed} do not")
    return 1 if failed or not results else 0


def outcome(function, server):
    """None if the check holds; else where it does not, and why."""
    try:
        function(server)
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == __file__]
        line = frames[1].lineno if len(frames) > 1 else 0
        return f"line {line}: " + " ".join(f"{type(error).__name__}: {error}".split())
    return None


def told(name, reason):
    print(f"holds  {name}" if reason is None else f"FAILS  {name}\n       {reason[:400]}", flush=True)
    return reason


if __name__ == "__main__":
    raise SystemExit(main())
