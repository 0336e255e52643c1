// Puts, reads and subscribes as users of the JavaScript SDK do: over HTTP/1.1 and over HTTP/2 (its default for Kinesis), in the clear
// and over TLS. Ends with status 0 when all holds.
//
//     NODE_EXTRA_CA_CERTS=CERTIFICATE.pem node check.mjs MODULES http://HOST:PORT https://HOST:PORT CONTAINER.hex

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [modules, clear, tls, containerFile] = process.argv.slice(2);
const require = createRequire(modules + "/");
const { Kinesis } = require("@aws-sdk/client-kinesis");
const { NodeHttpHandler, NodeHttp2Handler } = require("@smithy/node-http-handler");

const container = Buffer.from(readFileSync(containerFile, "utf8").replace(/\s/g, ""), "hex");

async function check(kinesis, StreamName) {
  const begun = Date.now();
  await kinesis.createStream({ StreamName, ShardCount: 1 });
  const { StreamDescriptionSummary: summary } = await kinesis.describeStreamSummary({ StreamName });
  assert.equal(summary.StreamStatus, "ACTIVE");
  assert.ok(Math.abs(summary.StreamCreationTimestamp.getTime() - begun) < 60_000);

  const sent = [Buffer.from(Array.from({ length: 256 }, (_, i) => i)), Buffer.alloc(0), Buffer.alloc(1_000_000), container];
  const put = await kinesis.putRecord({ StreamName, Data: sent[0], PartitionKey: "ключ" });
  const Records = sent.slice(1).map((Data) => ({ Data, PartitionKey: "ключ", ExplicitHashKey: "17" }));
  const rest = await kinesis.putRecords({ StreamName, Records });
  assert.equal(rest.FailedRecordCount, 0);

  for (const from of [{ ShardIteratorType: "TRIM_HORIZON" }, { ShardIteratorType: "AT_TIMESTAMP", Timestamp: new Date(begun - 2000) }]) {
    const { ShardIterator } = await kinesis.getShardIterator({ StreamName, ShardId: put.ShardId, ...from });
    const page = await kinesis.getRecords({ ShardIterator });
    assert.deepEqual(page.Records.map((r) => Buffer.from(r.Data).toString("hex")), sent.map((d) => d.toString("hex")));
    assert.ok(page.Records.every((r) => r.PartitionKey === "ключ"));
    assert.ok(page.Records.every((r) => Math.abs(r.ApproximateArrivalTimestamp.getTime() - begun) < 60_000));
    assert.equal(page.Records[0].SequenceNumber, put.SequenceNumber);
  }
  await assert.rejects(kinesis.describeStreamSummary({ StreamName: "no-such-stream" }), { name: "ResourceNotFoundException" });
  await assert.rejects(kinesis.getRecords({ ShardIterator: "no such iterator" }), { name: "InvalidArgumentException" });
}

/** From the oldest record to the shard's end, which comes while it is subscribed to, and before the consumer is done with its records. */
async function subscribe(kinesis, StreamName) {
  const ShardId = "shardId-000000000000";
  const Data = Buffer.from([0, 0xf3, 0xff]);
  await kinesis.createStream({ StreamName, ShardCount: 1 });
  const { StreamDescriptionSummary: { StreamARN } } = await kinesis.describeStreamSummary({ StreamName });
  const { Consumer: { ConsumerARN } } = await kinesis.registerStreamConsumer({ StreamARN, ConsumerName: "c" });
  await kinesis.putRecord({ StreamName, Data, PartitionKey: "before" });
  const { EventStream } = await kinesis.subscribeToShard(
    { ConsumerARN, ShardId, StartingPosition: { Type: "TRIM_HORIZON" } });
  const keys = [];
  let last;
  for await (const { SubscribeToShardEvent: event } of EventStream) {
    last = event;
    assert.ok(event.Records.every((record) => Data.equals(record.Data)));
    keys.push(...event.Records.map((record) => record.PartitionKey));
    if (event.Records.length && keys.length === 1) {
      await kinesis.putRecord({ StreamName, Data, PartitionKey: "while" });
      await kinesis.splitShard({ StreamName, ShardToSplit: ShardId, NewStartingHashKey: (2n ** 127n).toString() });
      await new Promise((done) => setTimeout(done, 500));
    }
  }
  assert.deepEqual(keys, ["before", "while"]);
  assert.equal(last.ContinuationSequenceNumber, undefined);
  assert.deepEqual(last.ChildShards.map((child) => child.ShardId), ["shardId-000000000001", "shardId-000000000002"]);
  await assert.rejects(
    kinesis.subscribeToShard({ ConsumerARN, ShardId, StartingPosition: { Type: "LATEST" } }),
    { name: "ResourceInUseException" });
}

for (const endpoint of [clear, tls]) {
  for (const [version, requestHandler] of [["HTTP/1.1", new NodeHttpHandler()], ["HTTP/2", new NodeHttp2Handler()]]) {
    const credentials = { accessKeyId: "local", secretAccessKey: "local" };
    const kinesis = new Kinesis({ endpoint, region: "eu-west-1", credentials, requestHandler });
    const name = `${version.replace("/", "-")}-${endpoint.split(":")[0]}`;
    await check(kinesis, `javascript-${name}`);
    await subscribe(kinesis, `fan-out-${name}`);
    kinesis.destroy();
    console.log(`${version} at ${endpoint}: holds`);
  }
}
