// Puts, reads and subscribes as users of the Java SDK do: the synchronous client (HTTP/1.1) and the asynchronous one
// (HTTP/2, which alone can subscribe), in the clear and over TLS, in CBOR as the SDK has it by default, but for subscriptions, of which
// it has everything in JSON. Ends with status 0 when all holds.
//
//     java -cp 'LIBRARIES/*' Check.java http://HOST:PORT https://HOST:PORT CERTIFICATE.pem CONTAINER.hex

import java.io.InputStream;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import javax.net.ssl.TrustManagerFactory;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.core.SdkRequest;
import software.amazon.awssdk.core.client.config.ClientOverrideConfiguration;
import software.amazon.awssdk.core.interceptor.Context;
import software.amazon.awssdk.core.interceptor.ExecutionAttributes;
import software.amazon.awssdk.core.interceptor.ExecutionInterceptor;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.http.TlsTrustManagersProvider;
import software.amazon.awssdk.http.apache5.Apache5HttpClient;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisClient;
import software.amazon.awssdk.services.kinesis.model.*;

public class Check {
    /** The calls that both clients have, so that one check serves them. */
    interface Kinesis {
        CreateStreamResponse create(CreateStreamRequest request);
        DescribeStreamSummaryResponse describe(DescribeStreamSummaryRequest request);
        PutRecordResponse put(PutRecordRequest request);
        PutRecordsResponse putMany(PutRecordsRequest request);
        GetShardIteratorResponse iterator(GetShardIteratorRequest request);
        GetRecordsResponse read(GetRecordsRequest request);
    }

    static final StaticCredentialsProvider CREDENTIALS =
        StaticCredentialsProvider.create(AwsBasicCredentials.create("local", "local"));

    /** Every request has to be in CBOR, and every answer, unless it is a subscription's. */
    static final ExecutionInterceptor ENCODINGS = new ExecutionInterceptor() {
        @Override
        public void beforeTransmission(Context.BeforeTransmission context, ExecutionAttributes attributes) {
            String expected = context.request() instanceof SubscribeToShardRequest
                ? "application/x-amz-json-1.1" : "application/x-amz-cbor-1.1";
            String type = context.httpRequest().firstMatchingHeader("Content-Type").orElse("");
            hold(type.equals(expected), "a request in " + type);
        }

        @Override
        public void afterTransmission(Context.AfterTransmission context, ExecutionAttributes attributes) {
            boolean isOk = context.httpResponse().isSuccessful();
            String expected = !(context.request() instanceof SubscribeToShardRequest) ? "application/x-amz-cbor-1.1"
                : isOk ? "application/vnd.amazon.eventstream" : "application/x-amz-json-1.1";
            String type = context.httpResponse().firstMatchingHeader("Content-Type").orElse("");
            hold(type.equals(expected), "an answer in " + type);
        }
    };

    public static void main(String[] arguments) throws Exception {
        byte[] container = HexFormat.of().parseHex(Files.readString(Path.of(arguments[3])).replaceAll("\\s", ""));
        TlsTrustManagersProvider trust = trust(Path.of(arguments[2]));
        for (String url : List.of(arguments[0], arguments[1])) {
            try (KinesisClient client = KinesisClient.builder()
                    .endpointOverride(URI.create(url)).region(Region.EU_WEST_1).credentialsProvider(CREDENTIALS)
                    .httpClientBuilder(Apache5HttpClient.builder().tlsTrustManagersProvider(trust))
                    .overrideConfiguration(overrides()).build()) {
                check("java-sync-" + url.split(":")[0], synchronous(client), container);
            }
            System.out.println("HTTP/1.1 at " + url + ": holds");
            try (KinesisAsyncClient client = KinesisAsyncClient.builder()
                    .endpointOverride(URI.create(url)).region(Region.EU_WEST_1).credentialsProvider(CREDENTIALS)
                    .httpClientBuilder(NettyNioAsyncHttpClient.builder().protocol(Protocol.HTTP2)
                        .tlsTrustManagersProvider(trust))
                    .overrideConfiguration(overrides()).build()) {
                check("java-async-" + url.split(":")[0], asynchronous(client), container);
                subscribe("java-fan-out-" + url.split(":")[0], client);
            }
            System.out.println("HTTP/2 at " + url + ": holds");
        }
    }

    static void check(String stream, Kinesis kinesis, byte[] container) {
        Instant begun = Instant.now().minusSeconds(2);
        kinesis.create(CreateStreamRequest.builder().streamName(stream).shardCount(1).build());
        StreamDescriptionSummary summary = kinesis.describe(
            DescribeStreamSummaryRequest.builder().streamName(stream).build()).streamDescriptionSummary();
        hold(summary.streamStatus() == StreamStatus.ACTIVE && summary.openShardCount() == 1, "a stream is described");
        hold(near(begun, summary.streamCreationTimestamp()), "it was made now, not " + summary.streamCreationTimestamp());

        byte[] all = new byte[256];
        IntStream.range(0, 256).forEach(i -> all[i] = (byte) i);
        List<byte[]> sent = List.of(all, new byte[0], new byte[1_000_000], container);
        PutRecordResponse put = kinesis.put(PutRecordRequest.builder().streamName(stream)
            .data(SdkBytes.fromByteArray(sent.get(0))).partitionKey("ключ").build());
        hold(put.shardId().equals("shardId-000000000000"), "a record goes to the shard");
        PutRecordsResponse rest = kinesis.putMany(PutRecordsRequest.builder().streamName(stream).records(
            sent.subList(1, sent.size()).stream().map(data -> PutRecordsRequestEntry.builder()
                .data(SdkBytes.fromByteArray(data)).partitionKey("ключ").explicitHashKey("17").build()).toList()).build());
        hold(rest.failedRecordCount() == 0 && rest.records().size() == 3, "records go to the shard");

        for (ShardIteratorType type : List.of(ShardIteratorType.TRIM_HORIZON, ShardIteratorType.AT_TIMESTAMP)) {
            GetShardIteratorRequest.Builder from = GetShardIteratorRequest.builder().streamName(stream)
                .shardId(put.shardId()).shardIteratorType(type);
            if (type == ShardIteratorType.AT_TIMESTAMP) {
                from.timestamp(begun);
            }
            GetRecordsResponse page = kinesis.read(GetRecordsRequest.builder()
                .shardIterator(kinesis.iterator(from.build()).shardIterator()).build());
            hold(page.records().size() == sent.size() && page.millisBehindLatest() == 0, "all is read from " + type);
            for (int i = 0; i < sent.size(); i++) {
                var record = page.records().get(i);
                hold(Arrays.equals(record.data().asByteArray(), sent.get(i)), "record " + i + " is as it was sent");
                hold(record.partitionKey().equals("ключ"), "so is its key");
                hold(near(begun, record.approximateArrivalTimestamp()), "it arrived now, not " + record.approximateArrivalTimestamp());
            }
            hold(page.records().get(0).sequenceNumber().equals(put.sequenceNumber()), "the number is the one of the put");
        }
        refused(ResourceNotFoundException.class,
            () -> kinesis.describe(DescribeStreamSummaryRequest.builder().streamName("no-such-stream").build()));
        refused(InvalidArgumentException.class,
            () -> kinesis.iterator(GetShardIteratorRequest.builder().streamName(stream).shardId(put.shardId())
                .shardIteratorType(ShardIteratorType.AT_TIMESTAMP).timestamp(Instant.now().plusSeconds(3600)).build()));
        refused(InvalidArgumentException.class,
            () -> kinesis.read(GetRecordsRequest.builder().shardIterator("no such iterator").build()));
    }

    /** From the oldest record to the shard's end, which comes while it is subscribed to. */
    static void subscribe(String stream, KinesisAsyncClient client) throws Exception {
        String shard = "shardId-000000000000";
        client.createStream(r -> r.streamName(stream).shardCount(1)).join();
        String arn = client.describeStreamSummary(r -> r.streamName(stream)).join().streamDescriptionSummary().streamARN();
        String consumer = client.registerStreamConsumer(r -> r.streamARN(arn).consumerName("c")).join().consumer().consumerARN();
        SdkBytes data = SdkBytes.fromByteArray(new byte[] {0, (byte) 0xf3, (byte) 0xff});
        client.putRecord(r -> r.streamName(stream).partitionKey("before").data(data)).join();
        List<String> keys = new CopyOnWriteArrayList<>();
        List<SubscribeToShardEvent> events = new CopyOnWriteArrayList<>();
        var handler = SubscribeToShardResponseHandler.builder().subscriber(item -> {
            SubscribeToShardEvent event = (SubscribeToShardEvent) item;
            events.add(event);
            event.records().forEach(record -> {
                hold(record.data().equals(data), "a record is as it was sent");
                keys.add(record.partitionKey());
            });
            if (keys.equals(List.of("before")) && !event.records().isEmpty()) {
                client.putRecord(r -> r.streamName(stream).partitionKey("while").data(data)).thenCompose(put ->
                    client.splitShard(r -> r.streamName(stream).shardToSplit(shard)
                        .newStartingHashKey("170141183460469231731687303715884105728")));
            }
        }).build();
        client.subscribeToShard(r -> r.consumerARN(consumer).shardId(shard)
            .startingPosition(p -> p.type(ShardIteratorType.TRIM_HORIZON)), handler).get(60, TimeUnit.SECONDS);
        hold(keys.equals(List.of("before", "while")), "what was put is pushed, not " + keys);
        SubscribeToShardEvent last = events.get(events.size() - 1);
        hold(last.continuationSequenceNumber() == null, "the end continues nowhere");
        hold(last.childShards().stream().map(ChildShard::shardId).toList()
            .equals(List.of("shardId-000000000001", "shardId-000000000002")), "and names the children");

        var none = SubscribeToShardResponseHandler.builder().subscriber(item -> { }).build();
        try {
            client.subscribeToShard(r -> r.consumerARN(consumer).shardId(shard)
                .startingPosition(p -> p.type(ShardIteratorType.LATEST)), none).join();
            hold(false, "a second subscription within 5 s is refused");
        } catch (CompletionException error) {
            hold(error.getCause() instanceof ResourceInUseException, "refused as in use, not " + error.getCause());
        }
    }

    static boolean near(Instant begun, Instant at) {
        return Duration.between(begun, at).abs().compareTo(Duration.ofMinutes(1)) < 0;
    }

    static void refused(Class<? extends KinesisException> kind, Runnable call) {
        try {
            call.run();
        } catch (KinesisException error) {
            hold(kind.isInstance(error), "refused as " + kind.getSimpleName() + ", not " + error);
            hold(!error.awsErrorDetails().errorMessage().isEmpty(), "with a message");
            return;
        }
        hold(false, "refused with " + kind.getSimpleName());
    }

    static void hold(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static ClientOverrideConfiguration overrides() {
        return ClientOverrideConfiguration.builder().addExecutionInterceptor(ENCODINGS).apiCallTimeout(Duration.ofSeconds(30)).build();
    }

    static TlsTrustManagersProvider trust(Path certificate) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (InputStream pem = Files.newInputStream(certificate)) {
            store.setCertificateEntry("local", CertificateFactory.getInstance("X.509").generateCertificate(pem));
        }
        TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(store);
        return factory::getTrustManagers;
    }

    static Kinesis synchronous(KinesisClient client) {
        return new Kinesis() {
            public CreateStreamResponse create(CreateStreamRequest request) { return client.createStream(request); }
            public DescribeStreamSummaryResponse describe(DescribeStreamSummaryRequest request) { return client.describeStreamSummary(request); }
            public PutRecordResponse put(PutRecordRequest request) { return client.putRecord(request); }
            public PutRecordsResponse putMany(PutRecordsRequest request) { return client.putRecords(request); }
            public GetShardIteratorResponse iterator(GetShardIteratorRequest request) { return client.getShardIterator(request); }
            public GetRecordsResponse read(GetRecordsRequest request) { return client.getRecords(request); }
        };
    }

    static Kinesis asynchronous(KinesisAsyncClient client) {
        return new Kinesis() {
            <T> T wait(java.util.concurrent.CompletableFuture<T> answer) {
                try {
                    return answer.join();
                } catch (CompletionException error) {
                    if (error.getCause() instanceof KinesisException refusal) {
                        throw refusal;
                    }
                    throw error;
                }
            }

            public CreateStreamResponse create(CreateStreamRequest request) { return wait(client.createStream(request)); }
            public DescribeStreamSummaryResponse describe(DescribeStreamSummaryRequest request) { return wait(client.describeStreamSummary(request)); }
            public PutRecordResponse put(PutRecordRequest request) { return wait(client.putRecord(request)); }
            public PutRecordsResponse putMany(PutRecordsRequest request) { return wait(client.putRecords(request)); }
            public GetShardIteratorResponse iterator(GetShardIteratorRequest request) { return wait(client.getShardIterator(request)); }
            public GetRecordsResponse read(GetRecordsRequest request) { return wait(client.getRecords(request)); }
        };
    }
}
