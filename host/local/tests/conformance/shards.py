"""Shards: their listings, splits and merges."""

import time
from datetime import datetime, timezone

from server import KEYS, Bound, bounds, check, covers_all, ids, uniform


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


@check("ListShards: a NextToken expires after five minutes", is_slow=True)
def token_expired(s):
    with s.stream(3) as name:
        token = s.kinesis.list_shards(StreamName=name, MaxResults=1)["NextToken"]
        s.kinesis.list_shards(NextToken=token)
        s.passes(310)
        s.refused("ExpiredNextTokenException", s.kinesis.list_shards, NextToken=token)
