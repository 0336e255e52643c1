"""The server under test, what most checks do with it, and the list that checks are put on."""

import contextlib
import hashlib
import json
import time
import urllib.error
import urllib.request
import uuid
from collections import namedtuple

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

KEYS = 2**128
CHECKS = []
# Seconds until what does not end counts as endless.
PATIENCE = 30

# `needs` is what a server has to let a test ask for (of "limits" and "faults"); `is_slow` that it waits for minutes where
# the clock cannot be set.
Check = namedtuple("Check", "name function needs is_slow")


def check(name, needs=None, is_slow=False):
    def add(function):
        CHECKS.append(Check(name, function, needs, is_slow))
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
                return answer.status, answer.headers, whole(answer)
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def ask(self, what, **change):
        """Sets the server's "clock", "limits" or "faults" where it has a way to; what it says then, else nothing."""
        body = json.dumps(change).encode()
        request = urllib.request.Request(f"{self.url}/_shardwright/{what}", data=body, method="PUT")
        try:
            answer = json.load(urllib.request.urlopen(request, timeout=30))
        except (ValueError, OSError):
            return None
        member = {"clock": "now_ms", "limits": "throughput", "faults": "rules"}[what]
        return answer if isinstance(answer, dict) and member in answer else None

    def can_ask(self, what):
        nothing = {"advance_ms": 0} if what == "clock" else {}
        return self.ask(what, **nothing) is not None

    def passes(self, seconds):
        """Lets time pass: at once where the clock can be set."""
        if self.ask("clock", advance_ms=int(seconds * 1000)) is None:
            time.sleep(seconds)

    @contextlib.contextmanager
    def asked(self, what, **change):
        """Limits or faults for a while."""
        found = self.ask(what, **change)
        assert found is not None, f"{what} cannot be asked for"
        try:
            yield found
        finally:
            self.ask(what, **({} if what == "faults" else {"throughput": False}))


def whole(answer):
    """A body to its end, which has to come."""
    body, end = b"", time.monotonic() + PATIENCE
    while piece := answer.read1(65536):
        body += piece
        assert time.monotonic() < end, "an answer without an end"
    return body


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


def wait_for_consumer(s, arn, name):
    for _ in range(400):
        found = s.kinesis.describe_stream_consumer(StreamARN=arn, ConsumerName=name)["ConsumerDescription"]
        if found["ConsumerStatus"] == "ACTIVE":
            return found
        time.sleep(0.05)
    raise AssertionError(f"{name} does not become ACTIVE")


def ids(shards):
    return [int(shard["ShardId"].split("-")[1]) for shard in shards]
