package affectstream;

import java.io.Serializable;
import java.util.OptionalLong;
import java.util.Set;
import org.apache.beam.sdk.io.kafka.KafkaRecord;
import org.joda.time.Instant;

/** Tells which records' windows were closed for longer than allowed, in their own partition. */
final class Lateness implements Serializable {
  private final Set<String> windowed;
  private final long windowMs;
  private final long allowedMs;

  /** Only records of these topics stand in windows. */
  Lateness(Set<String> windowed, long windowMs, long allowedMs) {
    this.windowed = windowed;
    this.windowMs = windowMs;
    this.allowedMs = allowedMs;
  }

  boolean windows(KafkaRecord<byte[], byte[]> record) {
    return windowed.contains(record.getTopic());
  }

  boolean of(KafkaRecord<byte[], byte[]> record, Instant watermark) {
    if (!windows(record)) {
      return false;
    }
    OptionalLong time = EventTime.of(record);
    if (time.isEmpty()) {
      return false;
    }
    long end = (Math.floorDiv(time.getAsLong(), windowMs) + 1) * windowMs;
    return end + allowedMs <= watermark.getMillis();
  }
}
