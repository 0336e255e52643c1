// The AWS SDK for JavaScript against an endpoint: puts, reads and subscribes. `node check.mjs URL`

import assert from "node:assert/strict";
import {
  CreateStreamCommand, DeleteStreamCommand, DescribeStreamSummaryCommand, GetRecordsCommand, GetShardIteratorCommand,
  KinesisClient, PutRecordsCommand, RegisterStreamConsumerCommand, SplitShardCommand, SubscribeToShardCommand,
} from "@aws-sdk/client-kinesis";

const client = new KinesisClient({
  endpoint: process.argv[2], region: "us-east-1", maxAttempts: 1,
  credentials: { accessKeyId: "local", secretAccessKey: "local" },
});
const StreamName = `javascript-${process.pid}`;
const ShardId = "shardId-000000000000";

/** Every byte there is, so that an encoding that is not byte-exact shows. */
const bytes = Uint8Array.from({ length: 256 }, (_, at) => at);
const records = (names) => names.map((name) => ({ PartitionKey: name, Data: bytes }));

await client.send(new CreateStreamCommand({ StreamName, ShardCount: 1 }));
const summary = await client.send(new DescribeStreamSummaryCommand({ StreamName }));
const { StreamARN } = summary.StreamDescriptionSummary;
const put = await client.send(new PutRecordsCommand({ StreamName, Records: records(["a", "b"]) }));
assert.equal(put.FailedRecordCount, 0);

const { ShardIterator } = await client.send(
  new GetShardIteratorCommand({ StreamName, ShardId, ShardIteratorType: "TRIM_HORIZON" }));
const page = await client.send(new GetRecordsCommand({ ShardIterator }));
assert.deepEqual(page.Records.map((r) => r.PartitionKey), ["a", "b"]);
assert.deepEqual(new Uint8Array(page.Records[0].Data), bytes);

const { Consumer } = await client.send(new RegisterStreamConsumerCommand({ StreamARN, ConsumerName: "c" }));
const subscription = await client.send(new SubscribeToShardCommand({
  ConsumerARN: Consumer.ConsumerARN, ShardId, StartingPosition: { Type: "TRIM_HORIZON" },
}));
const seen = [];
let last;
for await (const { SubscribeToShardEvent: event } of subscription.EventStream) {
  for (const record of event.Records) {
    seen.push(record.PartitionKey);
    assert.deepEqual(new Uint8Array(record.Data), bytes);
  }
  if (seen.length === 2) {
    await client.send(new PutRecordsCommand({ StreamName, Records: records(["c"]) }));
    await client.send(new SplitShardCommand(
      { StreamName, ShardToSplit: ShardId, NewStartingHashKey: (2n ** 127n).toString() }));
    seen.push("and then");
  }
  last = event;
}
assert.deepEqual(seen, ["a", "b", "and then", "c"]);
assert.deepEqual(last.ChildShards.map((c) => c.ShardId), ["shardId-000000000001", "shardId-000000000002"]);

await assert.rejects(
  client.send(new SubscribeToShardCommand(
    { ConsumerARN: Consumer.ConsumerARN, ShardId, StartingPosition: { Type: "LATEST" } })),
  { name: "ResourceInUseException" });
await client.send(new DeleteStreamCommand({ StreamName, EnforceConsumerDeletion: true }));
client.destroy();
console.log("JavaScript: put, read, subscribed, to the shard's end");
