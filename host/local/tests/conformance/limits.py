"""The service's limits, of servers that can be asked to have them."""

from server import check

THROTTLED = "ProvisionedThroughputExceededException"
MIB = 2**20


class Standing:
    """The server's time stands still until it is moved, so that a second's worth is not a matter of luck."""

    def __init__(self, server):
        self.server = server

    def __enter__(self):
        self.server.ask("clock", freeze_ms=self.server.ask("clock", advance_ms=0)["now_ms"])

    def __exit__(self, *_):
        self.server.ask("clock", follow_system=True)


@check("1,000 records a second into a shard: those too many are refused, each by itself", needs="limits")
def records_in(s):
    with s.stream(2) as name, s.asked("limits", throughput=True), Standing(s):
        entry = {"Data": b"x", "PartitionKey": "k", "ExplicitHashKey": "0"}
        many = dict(StreamName=name, Records=[entry] * 400)
        for _ in range(2):
            assert s.kinesis.put_records(**many)["FailedRecordCount"] == 0
        answer = s.kinesis.put_records(**many)
        failed = [r for r in answer["Records"] if "ErrorCode" in r]
        assert (answer["FailedRecordCount"], len(failed), len(answer["Records"])) == (200, 200, 400), answer
        assert all(r["ErrorCode"] == THROTTLED and "SequenceNumber" not in r for r in failed), failed[0]
        message = failed[0]["ErrorMessage"]
        assert "Rate exceeded for shard shardId-000000000000 in stream " + name in message, message
        s.refused(THROTTLED, s.kinesis.put_record, StreamName=name, **entry)
        elsewhere = {**entry, "ExplicitHashKey": str(2**127)}
        s.kinesis.put_record(StreamName=name, **elsewhere)
        s.passes(1)
        assert s.kinesis.put_records(**many)["FailedRecordCount"] == 0
        assert len(s.data(name, "shardId-000000000000")) == 1400


@check("1 MiB a second into a shard", needs="limits")
def bytes_in(s):
    with s.stream(1) as name, s.asked("limits", throughput=True), Standing(s):
        half = dict(StreamName=name, Data=bytes(MIB // 2 - 1), PartitionKey="k")
        s.kinesis.put_record(**half)
        s.kinesis.put_record(**half)
        s.refused(THROTTLED, s.kinesis.put_record, **half)
        s.passes(1)
        s.kinesis.put_record(**half)


@check("5 reads a second of a shard", needs="limits")
def reads_out(s):
    with s.stream(1) as name, s.asked("limits", throughput=True), Standing(s):
        iterator = s.iterator(name, "shardId-000000000000")
        for _ in range(5):
            s.kinesis.get_records(ShardIterator=iterator)
        s.refused(THROTTLED, s.kinesis.get_records, ShardIterator=iterator)
        s.passes(1)
        s.kinesis.get_records(ShardIterator=iterator)


@check("2 MiB a second out of a shard: a page of 10 MiB is paid off over five seconds", needs="limits")
def bytes_out(s):
    with s.stream(1) as name:
        entry = {"Data": bytes(MIB - 1), "PartitionKey": "k"}
        assert s.kinesis.put_records(StreamName=name, Records=[entry] * 10)["FailedRecordCount"] == 0
        with s.asked("limits", throughput=True), Standing(s):
            page = s.kinesis.get_records(ShardIterator=s.iterator(name, "shardId-000000000000"))
            assert len(page["Records"]) == 10, len(page["Records"])
            for _ in range(3):
                s.refused(THROTTLED, s.kinesis.get_records, ShardIterator=page["NextShardIterator"])
                s.passes(1)
            s.passes(2.01)
            s.kinesis.get_records(ShardIterator=page["NextShardIterator"])


@check("Every limit can be set", needs="limits")
def set_limits(s):
    standard = s.ask("limits")
    try:
        with s.stream(1) as name, s.asked("limits", throughput=True, write_records_per_s=2, reads_per_s=1), Standing(s):
            small = dict(StreamName=name, Data=b"x", PartitionKey="k")
            s.kinesis.put_record(**small)
            s.kinesis.put_record(**small)
            s.refused(THROTTLED, s.kinesis.put_record, **small)
            iterator = s.iterator(name, "shardId-000000000000")
            s.kinesis.get_records(ShardIterator=iterator)
            s.refused(THROTTLED, s.kinesis.get_records, ShardIterator=iterator)
        with s.stream(1) as name, s.asked("limits", record_bytes=100, put_records_bytes=150):
            fits = {"Data": bytes(99), "PartitionKey": "k"}
            s.kinesis.put_record(StreamName=name, **fits)
            s.refused("ValidationException", s.kinesis.put_record, StreamName=name, Data=bytes(100), PartitionKey="k")
            s.refused("InvalidArgumentException", s.kinesis.put_records, StreamName=name, Records=[fits, fits])
    finally:
        s.ask("limits", **standard)
