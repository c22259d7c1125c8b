package affectstream;

import java.util.OptionalLong;
import java.util.Set;
import org.apache.beam.sdk.io.kafka.KafkaRecord;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.windowing.BoundedWindow;
import org.apache.beam.sdk.transforms.windowing.GlobalWindow;
import org.joda.time.Duration;
import org.joda.time.Instant;

/**
 * Records of a bundle → columns, as Columns lays them out; never across bundles.
 *
 * <p>One element of a whole pack instead of one a record: the way into Python costs 30 µs an element.
 * What came later than allowed is packed apart and stands at the end of time.
 */
final class PackRecords extends DoFn<KafkaRecord<byte[], byte[]>, byte[]> {
  private static final int MAX_ROWS = 8192;
  private static final int MAX_BYTES = 4 << 20;
  private static final Instant LATE = GlobalWindow.INSTANCE.maxTimestamp();

  private final Clock clock;
  private final Set<String> windowed;
  private final long windowMs;
  private final long latenessMs;
  private transient Columns inTime;
  private transient Columns late;
  private transient Instant earliest;

  PackRecords(Clock clock, Set<String> windowed, long windowMs, long latenessMs) {
    this.clock = clock;
    this.windowed = windowed;
    this.windowMs = windowMs;
    this.latenessMs = latenessMs;
  }

  @StartBundle
  public void start() {
    late = new Columns();
    startPack();
  }

  private void startPack() {
    inTime = new Columns();
    earliest = BoundedWindow.TIMESTAMP_MAX_VALUE;
  }

  @ProcessElement
  public void process(
      @Element KafkaRecord<byte[], byte[]> record, @Timestamp Instant watermark, OutputReceiver<byte[]> out) {
    // A record from the future was stamped by a wrong clock: it cannot be younger than its reading.
    long stamp = Math.min(record.getTimestamp(), clock.nowMs());
    if (isLate(record, watermark)) {
      late.add(record, stamp);
      if (full(late)) {
        out.outputWithTimestamp(late.toByteArray(), LATE);
        late = new Columns();
      }
      return;
    }
    inTime.add(record, stamp);
    earliest = watermark.isBefore(earliest) ? watermark : earliest;
    if (full(inTime)) {
      out.outputWithTimestamp(inTime.toByteArray(), earliest);
      startPack();
    }
  }

  /** Tells whether the record's window was closed for longer than allowed, in its own partition. */
  private boolean isLate(KafkaRecord<byte[], byte[]> record, Instant watermark) {
    if (!windowed.contains(record.getTopic())) {
      return false;
    }
    OptionalLong time = EventTime.of(record);
    if (time.isEmpty()) {
      return false;
    }
    long end = (Math.floorDiv(time.getAsLong(), windowMs) + 1) * windowMs;
    return end + latenessMs <= watermark.getMillis();
  }

  private static boolean full(Columns columns) {
    return columns.rows() >= MAX_ROWS || columns.bytes() >= MAX_BYTES;
  }

  @FinishBundle
  public void finish(FinishBundleContext context) {
    if (inTime.rows() > 0) {
      context.output(inTime.toByteArray(), earliest, GlobalWindow.INSTANCE);
    }
    if (late.rows() > 0) {
      context.output(late.toByteArray(), LATE, GlobalWindow.INSTANCE);
    }
  }

  @Override
  @SuppressWarnings("deprecation")
  public Duration getAllowedTimestampSkew() {
    return Duration.millis(Long.MAX_VALUE); // a pack is as old as its oldest record
  }
}
