// The AWS SDK for Java against an endpoint: puts, reads and subscribes, in CBOR as it does by itself, or in JSON with
// -Daws.cborEnabled=false. `java -cp ... Check.java URL`

import java.net.URI;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.http.SdkHttpConfigurationOption;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.model.*;
import software.amazon.awssdk.utils.AttributeMap;

class Check {
    static final String SHARD = "shardId-000000000000";

    public static void main(String[] args) throws Exception {
        String stream = "java-" + ProcessHandle.current().pid();
        // By itself the client speaks HTTP/2, in the clear too; KINESIS_HTTP1 asks for HTTP/1.1.
        var http = NettyNioAsyncHttpClient.builder().connectionAcquisitionTimeout(Duration.ofMinutes(1))
            .protocol(System.getenv("KINESIS_HTTP1") == null ? Protocol.HTTP2 : Protocol.HTTP1_1)
            .buildWithDefaults(AttributeMap.builder()
                .put(SdkHttpConfigurationOption.TRUST_ALL_CERTIFICATES, true).build());
        try (var client = KinesisAsyncClient.builder().endpointOverride(URI.create(args[0])).region(Region.US_EAST_1)
                .credentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("local", "local")))
                .overrideConfiguration(c -> c.retryStrategy(s -> s.maxAttempts(1)))
                .httpClient(http).build()) {
            check(client, stream);
        }
        System.out.println("Java: put, read, subscribed, to the shard's end");
        System.exit(0);
    }

    static SdkBytes everyByte() {
        byte[] bytes = new byte[256];
        for (int at = 0; at < bytes.length; at++) {
            bytes[at] = (byte) at;
        }
        return SdkBytes.fromByteArray(bytes);
    }

    static void put(KinesisAsyncClient client, String stream, String... keys) {
        List<PutRecordsRequestEntry> entries = new ArrayList<>();
        for (String key : keys) {
            entries.add(PutRecordsRequestEntry.builder().partitionKey(key).data(everyByte()).build());
        }
        int failed = client.putRecords(r -> r.streamName(stream).records(entries)).join().failedRecordCount();
        equal(failed, 0);
    }

    static void check(KinesisAsyncClient client, String stream) throws Exception {
        client.createStream(r -> r.streamName(stream).shardCount(1)).join();
        String arn = client.describeStreamSummary(r -> r.streamName(stream)).join()
            .streamDescriptionSummary().streamARN();
        put(client, stream, "a", "b");

        String iterator = client.getShardIterator(r -> r.streamName(stream).shardId(SHARD)
            .shardIteratorType(ShardIteratorType.TRIM_HORIZON)).join().shardIterator();
        List<software.amazon.awssdk.services.kinesis.model.Record> page =
            client.getRecords(r -> r.shardIterator(iterator)).join().records();
        equal(page.size(), 2);
        equal(page.get(0).data(), everyByte());
        equal(Math.abs(System.currentTimeMillis() - page.get(0).approximateArrivalTimestamp().toEpochMilli()) < 60_000, true);

        String consumer = client.registerStreamConsumer(r -> r.streamARN(arn).consumerName("c")).join()
            .consumer().consumerARN();
        List<String> seen = new CopyOnWriteArrayList<>();
        List<SubscribeToShardEvent> events = new CopyOnWriteArrayList<>();
        var handler = SubscribeToShardResponseHandler.builder().subscriber(item -> {
            SubscribeToShardEvent event = (SubscribeToShardEvent) item;
            events.add(event);
            for (var record : event.records()) {
                equal(record.data(), everyByte());
                seen.add(record.partitionKey());
                if (seen.size() == 2) {
                    new Thread(() -> {
                        put(client, stream, "c");
                        client.splitShard(r -> r.streamName(stream).shardToSplit(SHARD)
                            .newStartingHashKey("170141183460469231731687303715884105728")).join();
                    }).start();
                }
            }
        }).build();
        client.subscribeToShard(r -> r.consumerARN(consumer).shardId(SHARD)
            .startingPosition(p -> p.type(ShardIteratorType.TRIM_HORIZON)), handler).get(60, TimeUnit.SECONDS);
        equal(seen, List.of("a", "b", "c"));
        SubscribeToShardEvent last = events.get(events.size() - 1);
        equal(last.continuationSequenceNumber(), null);
        equal(last.childShards().stream().map(ChildShard::shardId).toList(),
            List.of("shardId-000000000001", "shardId-000000000002"));

        var none = SubscribeToShardResponseHandler.builder().subscriber(item -> { }).build();
        try {
            client.subscribeToShard(r -> r.consumerARN(consumer).shardId(SHARD)
                .startingPosition(p -> p.type(ShardIteratorType.LATEST)), none).join();
            throw new AssertionError("a second subscription within 5 s has to be refused");
        } catch (CompletionException error) {
            equal(error.getCause().getClass(), ResourceInUseException.class);
        }
        client.deleteStream(r -> r.streamName(stream).enforceConsumerDeletion(true)).join();
    }

    static void equal(Object found, Object expected) {
        if (found == null ? expected != null : !found.equals(expected)) {
            throw new AssertionError("expected " + expected + ", found " + found);
        }
    }
}
