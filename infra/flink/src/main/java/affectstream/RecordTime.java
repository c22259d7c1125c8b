package affectstream;

import java.io.Serializable;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.OptionalLong;
import org.apache.beam.sdk.io.kafka.KafkaRecord;

/**
 * What Kafka's own time of a record says of its event's: any 64 bits that a producer wrote, as
 * DecodeEvents reads them.
 *
 * <p>-1 is none, and so is what follows until 2000: a clock that was never set, or seconds. What is not of the years 1000 to 8999 is no time at all: such a record is
 * handed on as it is, becomes a dead letter where it is decoded, and nothing is reckoned with it.
 */
final class RecordTime implements Serializable {
  static final int FIRST_YEAR = 1000;
  static final int LAST_YEAR = 8999;
  private static final long FIRST_MS = startOf(FIRST_YEAR);
  private static final long SET_MS = startOf(2000);
  private static final long END_MS = startOf(LAST_YEAR + 1);

  private final Clock clock;
  private final long aheadMs;

  RecordTime(Clock clock, long aheadMs) {
    this.clock = clock;
    this.aheadMs = aheadMs;
  }

  private static long startOf(int year) {
    return OffsetDateTime.of(year, 1, 1, 0, 0, 0, 0, ZoneOffset.UTC).toInstant().toEpochMilli();
  }

  /** Tells whether an event may have happened when it says, by its record and the time of reading. */
  boolean allows(long eventMs, long recordMs, long nowMs) {
    return !noTime(recordMs) && eventMs <= recorded(recordMs, nowMs) + aheadMs;
  }

  /**
   * Returns the time to hand on with a record: its own, but no later than its reading, since it was
   * stamped by a wrong clock then. A session's record that has none gets that of its reading where
   * its event claims to be well ahead of that: its window would be held until then. A governance
   * record keeps its own, by which its words are put in order, whenever it is read.
   */
  long toHandOn(KafkaRecord<byte[], byte[]> record, boolean windowed) {
    long recordMs = record.getTimestamp();
    long nowMs = clock.nowMs();
    if (noTime(recordMs)) {
      return recordMs;
    }
    if (!none(recordMs)) {
      return windowed ? Math.min(recordMs, nowMs) : recordMs;
    }
    OptionalLong event = windowed ? EventTime.of(record) : OptionalLong.empty();
    return event.isEmpty() || allows(event.getAsLong(), recordMs, nowMs) ? recordMs : nowMs;
  }

  private static long recorded(long recordMs, long nowMs) {
    return none(recordMs) ? nowMs : Math.min(recordMs, nowMs);
  }

  private static boolean none(long recordMs) {
    return recordMs >= -1 && recordMs < SET_MS;
  }

  private static boolean noTime(long recordMs) {
    return !none(recordMs) && (recordMs < FIRST_MS || recordMs >= END_MS);
  }
}
