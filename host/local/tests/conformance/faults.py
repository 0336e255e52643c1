"""Faults on demand, of servers that can be asked for them."""

import time

from botocore.exceptions import ClientError, HTTPClientError
from urllib3.exceptions import ProtocolError

from server import check
from subscriptions import Reader, put, take

SHARD = "shardId-000000000000"


def rule(fault, **rest):
    return dict(rules=[dict(fault=fault, **rest)])


def code(call, **arguments):
    """What the call ends with: an error's code, `reset`, or nothing."""
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    except HTTPClientError:
        return "reset"
    return None


@check("Throttling, 500 and 503 on demand: nothing is done", needs="faults")
def refusals(s):
    with s.stream(1) as name:
        record = dict(StreamName=name, Data=b"x", PartitionKey="k")
        for fault, expected, status in (
            ("throttle", "ProvisionedThroughputExceededException", 400),
            ("server_error", "InternalFailure", 500),
            ("unavailable", "ServiceUnavailable", 503),
        ):
            with s.asked("faults", **rule(fault, operation="PutRecord", times=1)):
                try:
                    s.kinesis.put_record(**record)
                except ClientError as error:
                    found = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
                    assert found == (expected, status), found
                else:
                    raise AssertionError(f"no {fault}")
                s.kinesis.put_record(**record)
        assert s.data(name, SHARD) == [b"x"] * 3


@check("Some records of a PutRecords refused on demand", needs="faults")
def partial(s):
    with s.stream(1) as name, s.asked("faults", seed=3, **rule("partial_throttle", times=1)):
        entries = [{"Data": b"%d" % i, "PartitionKey": "k"} for i in range(20)]
        answer = s.kinesis.put_records(StreamName=name, Records=entries)
        kept = [entry["Data"] for entry, placed in zip(entries, answer["Records"]) if "SequenceNumber" in placed]
        assert 0 < answer["FailedRecordCount"] == 20 - len(kept), answer["FailedRecordCount"]
        assert s.data(name, SHARD) == kept


@check("Latency on demand", needs="faults")
def latency(s):
    with s.stream(1) as name, s.asked("faults", **rule("latency", operation="PutRecord", times=1, ms=300)):
        begun = time.monotonic()
        s.kinesis.put_record(StreamName=name, Data=b"x", PartitionKey="k")
        assert time.monotonic() - begun >= 0.3


@check("A connection that is reset on demand: nothing is done", needs="faults")
def reset(s):
    with s.stream(1) as name:
        record = dict(StreamName=name, Data=b"x", PartitionKey="k")
        with s.asked("faults", **rule("reset", operation="PutRecord", times=1)):
            assert code(s.kinesis.put_record, **record) == "reset"
            s.kinesis.put_record(**record)
        assert s.data(name, SHARD) == [b"x"]


@check("Applied but timed out, on demand: it is done, and the client is not told", needs="faults")
def applied(s):
    with s.stream(1) as name:
        record = dict(StreamName=name, Data=b"x", PartitionKey="k")
        with s.asked("faults", **rule("applied_but_timed_out", operation="PutRecord", times=1, ms=50)):
            assert code(s.kinesis.put_record, **record) == "reset"
        assert s.data(name, SHARD) == [b"x"]


@check("An iterator that expires on demand", needs="faults")
def expired(s):
    with s.stream(1) as name, s.asked("faults", **rule("expired_iterator", times=1)):
        iterator = s.iterator(name, SHARD)
        s.refused("ExpiredIteratorException", s.kinesis.get_records, ShardIterator=iterator)
        s.kinesis.get_records(ShardIterator=iterator)


@check("A read that is duplicated on demand", needs="faults")
def duplicated(s):
    with s.stream(1) as name:
        for i in range(3):
            put(s, name, b"%d" % i)
        with s.asked("faults", **rule("duplicated_read", times=1)):
            assert s.data(name, SHARD) == [b"0", b"1", b"2"] * 2


@check("A subscription that is dropped on demand", needs="faults")
def dropped(s):
    with s.stream(1) as name, s.asked("faults", **rule("dropped_subscription", times=1, events=1)):
        put(s, name, b"0")
        with Reader(s, name).subscribed() as events:
            assert [r["Data"] for r in take(events, 1)[0]] == [b"0"]
            try:
                rest = list(events)
            except ProtocolError:
                # The body broke off under botocore.
                return
            raise AssertionError(f"an end in order, after {rest}")


@check("The same seed brings the same faults", needs="faults")
def seeded(s):
    with s.stream(1) as name:
        record = dict(StreamName=name, Data=b"x", PartitionKey="k")
        seen = {}
        for seed in (1, 1, 2):
            with s.asked("faults", seed=seed, **rule("throttle", operation="PutRecord", rate=0.5)):
                met = [code(s.kinesis.put_record, **record) is not None for _ in range(40)]
            assert any(met) and not all(met), met
            assert seen.setdefault(seed, met) == met, seed
        assert seen[1] != seen[2]
