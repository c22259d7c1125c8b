package affectstream;

import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.beam.sdk.coders.ByteArrayCoder;
import org.apache.beam.sdk.coders.NullableCoder;
import org.apache.beam.sdk.expansion.ExternalTransformRegistrar;
import org.apache.beam.sdk.io.Read;
import org.apache.beam.sdk.io.kafka.KafkaIO;
import org.apache.beam.sdk.io.kafka.KafkaSources;
import org.apache.beam.sdk.transforms.ExternalTransformBuilder;
import org.apache.beam.sdk.transforms.PTransform;
import org.apache.beam.sdk.values.PBegin;
import org.apache.beam.sdk.values.PCollection;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** URN affectstream:kafka:read:v1: topics of CloudEvents, as columns of Kafka records (see PackedSource). */
public class KafkaRead implements ExternalTransformRegistrar {
  @Override
  public Map<String, ExternalTransformBuilder<?, ?, ?>> knownBuilderInstances() {
    return Map.of("affectstream:kafka:read:v1", new Builder());
  }

  /** What the Python side gives; all durations in milliseconds. */
  public static class Config {
    private Map<String, String> consumer;
    private List<String> topics;
    private List<String> sessions;
    private List<String> contexts;
    private long delayMs;
    private long idleMs;
    private long aheadMs;
    private long clockOffsetMs;
    private long windowMs;
    private long latenessMs;

    public void setConsumer(Map<String, String> consumer) {
      this.consumer = consumer;
    }

    public void setTopics(List<String> topics) {
      this.topics = topics;
    }

    /** Topics that the watermark waits for. */
    public void setSessions(List<String> sessions) {
      this.sessions = sessions;
    }

    /** Topics that it waits for only while records wait; for all others it never does. */
    public void setContexts(List<String> contexts) {
      this.contexts = contexts;
    }

    /** Bounded out-of-orderness. */
    public void setDelayMs(Long delayMs) {
      this.delayMs = delayMs;
    }

    /** After how long without a record a partition that was read to its end follows the clock. */
    public void setIdleMs(Long idleMs) {
      this.idleMs = idleMs;
    }

    /** An event that is further ahead of its record's time does not move the watermark. */
    public void setAheadMs(Long aheadMs) {
      this.aheadMs = aheadMs;
    }

    /** Event clock minus wall clock: not 0 where an old log is played. */
    public void setClockOffsetMs(Long clockOffsetMs) {
      this.clockOffsetMs = clockOffsetMs;
    }

    /** Length of the fixed windows. */
    public void setWindowMs(Long windowMs) {
      this.windowMs = windowMs;
    }

    /** How long after its end a window takes events. */
    public void setLatenessMs(Long latenessMs) {
      this.latenessMs = latenessMs;
    }
  }

  public static class Builder implements ExternalTransformBuilder<Config, PBegin, PCollection<byte[]>> {
    @Override
    public PTransform<PBegin, PCollection<byte[]>> buildExternal(Config config) {
      return new Packs(config);
    }
  }

  private static class Packs extends PTransform<PBegin, PCollection<byte[]>> {
    private final transient Config config;

    Packs(Config config) {
      this.config = config;
    }

    @Override
    public PCollection<byte[]> expand(PBegin begin) {
      Clock clock = new Clock(config.clockOffsetMs);
      Set<String> sessions = Set.copyOf(config.sessions);
      Set<String> contexts = Set.copyOf(config.contexts);
      Set<String> windowed = new HashSet<>(sessions);
      windowed.addAll(contexts);
      long delayMs = config.delayMs;
      long idleMs = config.idleMs;
      RecordTime recordTime = new RecordTime(clock, config.aheadMs);
      KafkaIO.Read<byte[], byte[]> read =
          KafkaIO.<byte[], byte[]>read()
              .withBootstrapServers(config.consumer.get("bootstrap.servers"))
              .withTopics(config.topics)
              .withKeyDeserializerAndCoder(
                  ByteArrayDeserializer.class, NullableCoder.of(ByteArrayCoder.of()))
              .withValueDeserializerAndCoder(
                  ByteArrayDeserializer.class, NullableCoder.of(ByteArrayCoder.of()))
              .withConsumerConfigUpdates(new HashMap<>(config.consumer))
              .commitOffsetsInFinalize() // for the display of lag only
              .withTimestampPolicyFactory(
                  (partition, previous) ->
                      new PartitionClock(
                          clock,
                          delayMs,
                          idleMs,
                          recordTime,
                          PartitionClock.Role.of(partition.topic(), sessions, contexts),
                          previous));
      Lateness lateness = new Lateness(windowed, config.windowMs, config.latenessMs);
      return begin.apply(Read.from(new PackedSource(KafkaSources.of(read), recordTime, lateness)));
    }
  }
}
