// Consumes a stream as users of the Kinesis Client Library for Java do: leases in DynamoDB, by polling and by enhanced fan-out, through
// a split, with a KPL container among the records. Ends with status 0 when all holds.
//
//     java -cp 'LIBRARIES/*' Kcl.java http://HOST:PORT CONTAINER.hex

import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.model.PutRecordsRequestEntry;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.common.KinesisClientUtil;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.exceptions.InvalidStateException;
import software.amazon.kinesis.exceptions.ShutdownException;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.RecordProcessorCheckpointer;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.processor.SingleStreamTracker;
import software.amazon.kinesis.retrieval.KinesisClientRecord;
import software.amazon.kinesis.retrieval.RetrievalSpecificConfig;
import software.amazon.kinesis.retrieval.fanout.FanOutConfig;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

public class Kcl {
    static final String FIRST = "shardId-000000000000";
    /** A scheduler alone waits up to half a minute before it looks at a new table for the first time. */
    static final long PATIENCE_S = 240;

    static String url;
    static byte[] container;
    static KinesisAsyncClient kinesis;
    static DynamoDbAsyncClient dynamo;
    static CloudWatchAsyncClient cloudWatch;

    /** What was processed: by the record's text, or a user record's number in the container. */
    static class Seen implements ShardRecordProcessor {
        static final Map<String, Integer> COUNTS = new ConcurrentHashMap<>();
        static final Set<String> ENDED = ConcurrentHashMap.newKeySet();
        String shard;

        @Override
        public void initialize(InitializationInput input) {
            shard = input.shardId();
        }

        @Override
        public void processRecords(ProcessRecordsInput input) {
            for (KinesisClientRecord record : input.records()) {
                ByteBuffer data = record.data();
                byte[] bytes = new byte[data.remaining()];
                data.get(bytes);
                String name = record.aggregated() ? "in the container " + record.subSequenceNumber()
                    : new String(bytes, StandardCharsets.UTF_8);
                COUNTS.merge(name, 1, Integer::sum);
            }
            checkpoint(input.checkpointer());
        }

        @Override
        public void leaseLost(LeaseLostInput input) { }

        @Override
        public void shardEnded(ShardEndedInput input) {
            checkpoint(input.checkpointer());
            ENDED.add(shard);
        }

        @Override
        public void shutdownRequested(ShutdownRequestedInput input) {
            checkpoint(input.checkpointer());
        }

        static void checkpoint(RecordProcessorCheckpointer checkpointer) {
            try {
                checkpointer.checkpoint();
            } catch (InvalidStateException | ShutdownException error) {
                throw new IllegalStateException(error);
            }
        }
    }

    public static void main(String[] args) throws Exception {
        // Clients have threads of their own, which would outlive a failure.
        Thread.setDefaultUncaughtExceptionHandler((thread, error) -> {
            error.printStackTrace();
            System.exit(1);
        });
        url = args[0];
        container = HexFormat.of().parseHex(Files.readString(Path.of(args[1])).replaceAll("\\s", ""));
        var credentials = StaticCredentialsProvider.create(AwsBasicCredentials.create("local", "local"));
        URI endpoint = URI.create(url);
        kinesis = KinesisClientUtil.createKinesisAsyncClient(KinesisAsyncClient.builder().endpointOverride(endpoint)
            .region(Region.EU_WEST_1).credentialsProvider(credentials));
        dynamo = DynamoDbAsyncClient.builder().endpointOverride(endpoint).region(Region.EU_WEST_1)
            .credentialsProvider(credentials).build();
        cloudWatch = CloudWatchAsyncClient.builder().endpointOverride(endpoint).region(Region.EU_WEST_1)
            .credentialsProvider(credentials).build();
        consume("polled", stream -> new PollingConfig(stream, kinesis).idleTimeBetweenReadsInMillis(200));
        consume("pushed", stream -> new FanOutConfig(kinesis).streamName(stream).applicationName("kcl-" + stream));
        System.exit(0);
    }

    interface Retrieval {
        RetrievalSpecificConfig of(String stream);
    }

    /** What is there before it starts, what comes while it runs, and what comes after a split. */
    static void consume(String stream, Retrieval retrieval) throws Exception {
        Seen.COUNTS.clear();
        Seen.ENDED.clear();
        kinesis.createStream(r -> r.streamName(stream).shardCount(1)).join();
        put(stream, "before", 100);
        kinesis.putRecord(r -> r.streamName(stream).partitionKey("k").data(SdkBytes.fromByteArray(container))).join();
        String application = "kcl-" + stream;
        ConfigsBuilder configs = new ConfigsBuilder(
            new SingleStreamTracker(stream, InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON)),
            application, kinesis, dynamo, cloudWatch, "worker", Seen::new);
        var leases = configs.leaseManagementConfig().failoverTimeMillis(2000).shardSyncIntervalMillis(1000)
            .leasesRecoveryAuditorExecutionFrequencyMillis(1000);
        Scheduler scheduler = new Scheduler(
            configs.checkpointConfig(),
            configs.coordinatorConfig().parentShardPollIntervalMillis(200).shardConsumerDispatchPollIntervalMillis(100),
            leases,
            configs.lifecycleConfig(),
            configs.metricsConfig().metricsFactory(new NullMetricsFactory()),
            configs.processorConfig(),
            configs.retrievalConfig().retrievalSpecificConfig(retrieval.of(stream)));
        Thread thread = new Thread(scheduler, "scheduler");
        thread.setDaemon(true);
        thread.start();
        until("what was there is processed", () -> processed("before", 100) && contained());
        put(stream, "while", 100);
        until("what came meanwhile is processed", () -> processed("while", 100));
        kinesis.splitShard(r -> r.streamName(stream).shardToSplit(FIRST)
            .newStartingHashKey("170141183460469231731687303715884105728")).join();
        put(stream, "after", 100);
        until("the split shard ends", () -> Seen.ENDED.contains(FIRST));
        until("its children are processed", () -> processed("after", 100));
        hold(scheduler.startGracefulShutdown().get(60, TimeUnit.SECONDS), "it shuts down in order");
        hold(Seen.COUNTS.values().stream().allMatch(count -> count == 1), "everything once, not " + Seen.COUNTS);
        leases(application);
        System.out.println(stream + ": holds");
    }

    static void put(String stream, String kind, int count) {
        var records = IntStream.range(0, count).mapToObj(i -> PutRecordsRequestEntry.builder().partitionKey(kind + i)
            .data(SdkBytes.fromUtf8String(kind + " " + i)).build()).toList();
        hold(kinesis.putRecords(r -> r.streamName(stream).records(records)).join().failedRecordCount() == 0, "records are put");
    }

    static boolean processed(String kind, int count) {
        return Seen.COUNTS.keySet().stream().filter(name -> name.startsWith(kind + " ")).count() == count;
    }

    /** The library drops a container of which any user record belongs to another shard; this shard owns all keys. */
    static boolean contained() {
        return Seen.COUNTS.keySet().stream().anyMatch(name -> name.startsWith("in the container"));
    }

    /** The rows that are left: two shards that are being read, and the parent at its end. */
    static void leases(String table) {
        Map<String, String> checkpoints = new TreeMap<>();
        dynamo.scan(r -> r.tableName(table)).join().items().stream().filter(row -> row.containsKey("checkpoint")).forEach(row ->
            checkpoints.put(row.get("leaseKey").s(), row.get("checkpoint").s()));
        hold(checkpoints.keySet().containsAll(Set.of(FIRST, "shardId-000000000001", "shardId-000000000002")),
            "every shard has a lease: " + checkpoints);
        hold(checkpoints.get(FIRST).equals("SHARD_END"), "the parent is at its end: " + checkpoints);
        hold(checkpoints.get("shardId-000000000002").matches("\\d{56}"), "a child is at a number: " + checkpoints);
    }

    static void until(String what, BooleanSupplier holds) throws InterruptedException {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_S);
        while (!holds.getAsBoolean()) {
            hold(System.nanoTime() < end, what + "; so far " + new TreeSet<>(Seen.COUNTS.keySet()) + ", ended " + Seen.ENDED);
            Thread.sleep(20);
        }
        System.out.println(what);
    }

    static void hold(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}
