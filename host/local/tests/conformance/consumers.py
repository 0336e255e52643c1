"""The registry of consumers."""

import time

from server import Bound, check, wait_for_consumer


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
