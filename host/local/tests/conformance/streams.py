"""Streams, their descriptions, and the account."""

import time
from datetime import datetime, timedelta, timezone

from server import Bound, check, covers_all, wait_for_consumer


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


@check("DescribeAccountSettings and UpdateAccountSettings: no billing commitment, and none to end")
def account_settings(s):
    found = s.kinesis.describe_account_settings()["MinimumThroughputBillingCommitment"]
    assert found["Status"] == "DISABLED", found
    update = s.kinesis.update_account_settings
    same = update(MinimumThroughputBillingCommitment={"Status": "DISABLED"})["MinimumThroughputBillingCommitment"]
    assert same["Status"] == "DISABLED", same
    s.refused("ValidationException", update, MinimumThroughputBillingCommitment={"Status": "MAYBE"})
    s.refused("ValidationException", update)


@check("ListChannels, DescribeChannel, DeleteChannel: none where none was made")
def channels(s):
    assert s.kinesis.list_channels()["ChannelSummaries"] == []
    s.refused("ResourceNotFoundException", s.kinesis.describe_channel,
              ChannelARN="arn:aws:kinesis:eu-west-1:000000000000:channel/none")
    s.refused("ResourceNotFoundException", s.kinesis.delete_channel,
              ChannelARN="arn:aws:kinesis:eu-west-1:000000000000:channel/none")
    s.refused("ValidationException", s.kinesis.describe_channel, ChannelARN="arn:of:nothing")


@check("UpdateStreamRecordDistributionStrategy: AUTO gives the shards of an on-demand stream records alike")
def distribution(s):
    strategy = "RecordDistributionStrategy"
    update = s.kinesis.update_stream_record_distribution_strategy
    with s.stream(None, StreamModeDetails={"StreamMode": "ON_DEMAND"}) as name:
        arn, entry = s.arn(name), {"Data": b"x", "PartitionKey": "k"}

        def used():
            answer = s.kinesis.put_records(StreamName=name, Records=[entry] * 100)
            places = [placed["ShardId"] for placed in answer["Records"]]
            return sorted(places.count(shard) for shard in set(places))

        assert s.active(name)[strategy] == "USER_PARTITION_KEY" and used() == [100]
        update(StreamARN=arn, RecordDistributionStrategy="AUTO")
        assert s.active(name)[strategy] == "AUTO"
        counts = used()
        assert len(counts) == 4 and counts[0] >= 20, counts
        update(StreamARN=arn, RecordDistributionStrategy="USER_PARTITION_KEY")
        assert used() == [100]
        s.refused("ValidationException", update, StreamARN=arn, RecordDistributionStrategy="BY_HAND")
    with s.stream(1) as name:
        assert strategy not in s.active(name)
        s.refused("InvalidArgumentException", update, StreamARN=s.arn(name), RecordDistributionStrategy="AUTO")


@check("UpdateStreamWarmThroughput: refused in an account without the billing commitment")
def warm_throughput(s):
    update = s.kinesis.update_stream_warm_throughput
    with s.stream(None, StreamModeDetails={"StreamMode": "ON_DEMAND"}) as name:
        refused = "ValidationException|InvalidArgumentException"
        s.refused(refused, update, StreamName=name, WarmThroughputMiBps=10)
        s.refused("ValidationException", update, StreamName=name)
    s.refused("ResourceNotFoundException", update, StreamName="no-such-stream", WarmThroughputMiBps=10)


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
        key = dict(EncryptionType="KMS", KeyId="alias/aws/kinesis")
        s.kinesis.start_stream_encryption(**arn, **key)
        s.active(name)
        s.kinesis.stop_stream_encryption(**arn, **key)
        s.active(name)
        s.kinesis.enable_enhanced_monitoring(**arn, ShardLevelMetrics=["ALL"])
        s.kinesis.disable_enhanced_monitoring(**arn, ShardLevelMetrics=["ALL"])
        s.active(name)
        s.kinesis.update_shard_count(**arn, TargetShardCount=2, ScalingType="UNIFORM_SCALING")
        s.active(name)
        s.kinesis.merge_shards(**arn, ShardToMerge="shardId-000000000001", AdjacentShardToMerge="shardId-000000000002")
        s.active(name)
        s.kinesis.split_shard(**arn, ShardToSplit="shardId-000000000003", NewStartingHashKey=str(2**127))
        s.active(name)
        s.kinesis.delete_stream(**arn)
