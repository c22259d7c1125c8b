package affectstream;

import org.apache.beam.sdk.io.kafka.KafkaRecord;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.windowing.BoundedWindow;
import org.apache.beam.sdk.transforms.windowing.GlobalWindow;
import org.joda.time.Instant;

/**
 * Records of a bundle → columns, as Columns lays them out; never across bundles.
 *
 * <p>One element of a whole pack instead of one a record: the way into Python costs 30 µs an element.
 * Its timestamp is the earliest of its records.
 */
final class PackRecords extends DoFn<KafkaRecord<byte[], byte[]>, byte[]> {
  private static final int MAX_ROWS = 8192;
  private static final int MAX_BYTES = 4 << 20;

  private final Clock clock;
  private transient Columns columns;
  private transient Instant earliest;

  PackRecords(Clock clock) {
    this.clock = clock;
  }

  @StartBundle
  public void start() {
    columns = new Columns();
    earliest = BoundedWindow.TIMESTAMP_MAX_VALUE;
  }

  @ProcessElement
  public void process(
      @Element KafkaRecord<byte[], byte[]> record, @Timestamp Instant timestamp, OutputReceiver<byte[]> out) {
    // A record from the future was stamped by a wrong clock: it cannot be younger than its reading.
    columns.add(record, Math.min(record.getTimestamp(), clock.nowMs()));
    earliest = timestamp.isBefore(earliest) ? timestamp : earliest;
    if (columns.rows() >= MAX_ROWS || columns.bytes() >= MAX_BYTES) {
      out.outputWithTimestamp(columns.toByteArray(), earliest);
      start();
    }
  }

  @FinishBundle
  public void finish(FinishBundleContext context) {
    if (columns.rows() > 0) {
      context.output(columns.toByteArray(), earliest, GlobalWindow.INSTANCE);
    }
  }

  @Override
  @SuppressWarnings("deprecation")
  public org.joda.time.Duration getAllowedTimestampSkew() {
    return org.joda.time.Duration.millis(Long.MAX_VALUE); // a pack is as old as its oldest record
  }
}
