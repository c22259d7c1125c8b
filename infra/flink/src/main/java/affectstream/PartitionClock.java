package affectstream;

import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import org.apache.beam.sdk.io.kafka.KafkaRecord;
import org.apache.beam.sdk.io.kafka.TimestampPolicy;
import org.apache.beam.sdk.transforms.windowing.BoundedWindow;
import org.joda.time.Instant;

/**
 * The watermark of one partition: the latest event time less a bounded delay. Where the broker says
 * that the partition was read to its end, the time of that answer less the delay: what comes later
 * is no older. Such an answer comes once a second; a partition that brought nothing for an idle time
 * does not wait for it and follows the clock.
 *
 * <p>An empty poll is not enough for that: after a restore it would drop the backlog as late. A
 * record's timestamp is the watermark that stood before it: what lies further behind than the
 * allowed lateness was late in its own partition, on any machine and at any load. The watermark of
 * the whole source is the minimum over partitions, so it is never ahead of that timestamp.
 */
final class PartitionClock extends TimestampPolicy<byte[], byte[]> {
  /** How a topic takes part in the watermark; context does only where records may wait in it. */
  enum Role {
    SESSION,
    CONTEXT,
    GOVERNANCE;

    static Role of(String topic, Set<String> sessions, Set<String> contexts) {
      return sessions.contains(topic) ? SESSION : contexts.contains(topic) ? CONTEXT : GOVERNANCE;
    }
  }

  private static final long FRESH_MS = 2_000; // without a broker's answer for longer, nothing is known

  private final Clock clock;
  private final long delayMs;
  private final long idleMs;
  private final RecordTime recordTime;
  private final Role role;
  private long lastReadMs;
  private long watermarkMs; // never falls; the reader's checkpoint keeps it and gives it back

  PartitionClock(
      Clock clock, long delayMs, long idleMs, RecordTime recordTime, Role role, Optional<Instant> previous) {
    this.clock = clock;
    this.delayMs = delayMs;
    this.idleMs = idleMs;
    this.recordTime = recordTime;
    this.role = role;
    this.lastReadMs = clock.nowMs();
    this.watermarkMs = previous.orElse(BoundedWindow.TIMESTAMP_MIN_VALUE).getMillis();
  }

  @Override
  public Instant getTimestampForRecord(PartitionContext context, KafkaRecord<byte[], byte[]> record) {
    if (role == Role.GOVERNANCE) {
      return new Instant(clock.nowMs());
    }
    long before = watermarkMs;
    OptionalLong time = EventTime.of(record);
    long now = clock.nowMs();
    lastReadMs = now;
    if (time.isPresent() && recordTime.allows(time.getAsLong(), record.getTimestamp(), now)) {
      watermarkMs = Math.max(watermarkMs, Math.min(time.getAsLong(), now) - delayMs);
    }
    return new Instant(before);
  }

  @Override
  public Instant getWatermark(PartitionContext context) {
    long now = clock.nowMs();
    if (role == Role.GOVERNANCE) {
      return new Instant(now);
    }
    if (context.getMessageBacklog() == 0) {
      long checked = clock.atMs(context.getBacklogCheckTime().getMillis());
      boolean fresh = now - checked <= FRESH_MS; // else what the broker holds by now is not known
      boolean idle = role == Role.CONTEXT || now - lastReadMs >= idleMs;
      long reached = (fresh && idle ? now : checked) - (role == Role.CONTEXT ? 0 : delayMs);
      watermarkMs = Math.max(watermarkMs, reached);
    }
    return new Instant(watermarkMs);
  }
}
