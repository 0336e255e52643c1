"""What is set on a stream: retention, tags, encryption, metrics, policies, record sizes."""

import json
import time

from server import Bound, check, wait_for_consumer


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


@check("StartStreamEncryption and StopStreamEncryption: descriptions, puts and reads say so")
def encryption(s):
    with s.stream(1) as name:
        named, key = dict(StreamName=name), dict(EncryptionType="KMS", KeyId="alias/aws/kinesis")
        before = s.kinesis.describe_stream(**named)["StreamDescription"]
        assert before.get("EncryptionType", "NONE") == "NONE" and "KeyId" not in before, before
        s.kinesis.put_record(**named, Data=b"1", PartitionKey="k")
        s.kinesis.start_stream_encryption(**named, **key)
        for found in (s.active(name), s.kinesis.describe_stream(**named)["StreamDescription"]):
            assert (found["EncryptionType"], found["KeyId"]) == ("KMS", "alias/aws/kinesis"), found
        time.sleep(0.01)
        put = s.kinesis.put_record(**named, Data=b"2", PartitionKey="k")
        assert put["EncryptionType"] == "KMS", put
        many = s.kinesis.put_records(**named, Records=[{"Data": b"3", "PartitionKey": "k"}])
        assert many["EncryptionType"] == "KMS", many
        records, _ = s.read(s.iterator(name, put["ShardId"]))
        assert [r.get("EncryptionType", "NONE") for r in records] == ["NONE", "KMS", "KMS"], records
        assert [r["Data"] for r in records] == [b"1", b"2", b"3"], records
        s.kinesis.stop_stream_encryption(**named, **key)
        after = s.active(name)
        assert after.get("EncryptionType", "NONE") == "NONE" and "KeyId" not in after, after


@check("StartStreamEncryption: what is wrong is refused")
def encryption_refused(s):
    with s.stream(1) as name:
        named, start = dict(StreamName=name), s.kinesis.start_stream_encryption
        s.refused("ValidationException", start, **named, EncryptionType="ROT13", KeyId="k")
        s.refused("ValidationException", start, **named, EncryptionType="KMS")
        s.refused("ValidationException", start, **named, EncryptionType="KMS", KeyId="k" * 2049)
        s.refused("ValidationException", start, **named, KeyId="k")
        s.refused("InvalidArgumentException|ValidationException", start, **named, EncryptionType="NONE", KeyId="k")
        s.refused("ResourceNotFoundException", start, StreamName="no-such-stream", EncryptionType="KMS", KeyId="k")


@check("EnableEnhancedMonitoring and DisableEnhancedMonitoring: what was and what is; descriptions show it")
def monitoring(s):
    with s.stream(1) as name:
        named = dict(StreamName=name)
        answer = s.kinesis.enable_enhanced_monitoring(**named, ShardLevelMetrics=["IncomingBytes", "OutgoingBytes"])
        assert answer["StreamName"] == name and answer["CurrentShardLevelMetrics"] == [], answer
        assert sorted(answer["DesiredShardLevelMetrics"]) == ["IncomingBytes", "OutgoingBytes"], answer
        s.active(name)
        answer = s.kinesis.enable_enhanced_monitoring(**named, ShardLevelMetrics=["ALL"])
        assert len(answer["CurrentShardLevelMetrics"]) == 2 and len(answer["DesiredShardLevelMetrics"]) == 7, answer
        assert "ALL" not in answer["DesiredShardLevelMetrics"], answer
        assert len(s.active(name)["EnhancedMonitoring"][0]["ShardLevelMetrics"]) == 7
        answer = s.kinesis.disable_enhanced_monitoring(**named, ShardLevelMetrics=["IteratorAgeMilliseconds"])
        assert len(answer["CurrentShardLevelMetrics"]) == 7 and len(answer["DesiredShardLevelMetrics"]) == 6, answer
        found = s.active(name)["EnhancedMonitoring"][0]["ShardLevelMetrics"]
        assert len(found) == 6 and "IteratorAgeMilliseconds" not in found, found
        enable = s.kinesis.enable_enhanced_monitoring
        s.refused("ValidationException", enable, **named, ShardLevelMetrics=["Temperature"])
        s.refused("ValidationException", enable, **named, ShardLevelMetrics=[])
        s.refused("ResourceNotFoundException", enable, StreamName="no-such-stream", ShardLevelMetrics=["ALL"])


@check("PutResourcePolicy, GetResourcePolicy, DeleteResourcePolicy: streams and consumers")
def policies(s):
    with s.stream(1) as name:
        arn = s.arn(name)
        consumer = s.kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c")["Consumer"]["ConsumerARN"]
        wait_for_consumer(s, arn, "c")
        for resource in (arn, consumer):
            action = "kinesis:GetRecords" if resource == arn else "kinesis:SubscribeToShard"
            statement = {"Sid": "s", "Effect": "Allow", "Principal": {"AWS": "000000000000"}, "Action": action,
                         "Resource": resource}
            policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
            s.kinesis.put_resource_policy(ResourceARN=resource, Policy=policy)
            found = s.kinesis.get_resource_policy(ResourceARN=resource)["Policy"]
            assert json.loads(found) == json.loads(policy), found
            s.kinesis.delete_resource_policy(ResourceARN=resource)
        put = s.kinesis.put_resource_policy
        s.refused("InvalidArgumentException", put, ResourceARN=arn, Policy="no document")
        s.refused("ValidationException", put, ResourceARN="arn:of:nothing", Policy=policy)
        s.refused("ResourceNotFoundException", put, ResourceARN=arn + "-not", Policy=policy)


@check("CreateStream and UpdateMaxRecordSize: records of up to 10 MiB where that was set")
def record_size(s):
    large = dict(Data=bytes(2**20 + 17), PartitionKey="k")
    with s.stream(1, MaxRecordSizeInKiB=2048) as name:
        assert s.active(name)["MaxRecordSizeInKiB"] == 2048
        put = s.kinesis.put_record(StreamName=name, **large)
        assert s.data(name, put["ShardId"]) == [large["Data"]]
        s.refused("ValidationException|InvalidArgumentException", s.kinesis.put_record, StreamName=name,
                  Data=bytes(2 * 2**20), PartitionKey="k")
        arn = s.arn(name)
        update = s.kinesis.update_max_record_size
        update(StreamARN=arn, MaxRecordSizeInKiB=10240)
        s.active(name)
        s.kinesis.put_record(StreamName=name, Data=bytes(10 * 2**20 - 1), PartitionKey="k")
        update(StreamARN=arn, MaxRecordSizeInKiB=1024)
        assert s.active(name)["MaxRecordSizeInKiB"] == 1024
        s.refused("ValidationException|InvalidArgumentException", s.kinesis.put_record, StreamName=name, **large)
        s.refused("ValidationException", update, StreamARN=arn, MaxRecordSizeInKiB=1023)
        s.refused("ValidationException", update, StreamARN=arn, MaxRecordSizeInKiB=10241)
        s.refused("ValidationException", update, StreamARN=arn)
        s.refused("ResourceNotFoundException", update, StreamARN=arn + "-not", MaxRecordSizeInKiB=2048)
