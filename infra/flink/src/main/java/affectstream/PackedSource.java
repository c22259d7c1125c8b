package affectstream;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.apache.beam.sdk.coders.ByteArrayCoder;
import org.apache.beam.sdk.coders.Coder;
import org.apache.beam.sdk.io.UnboundedSource;
import org.apache.beam.sdk.io.kafka.KafkaCheckpointMark;
import org.apache.beam.sdk.io.kafka.KafkaRecord;
import org.apache.beam.sdk.options.PipelineOptions;
import org.apache.beam.sdk.transforms.windowing.GlobalWindow;
import org.joda.time.Instant;

/**
 * KafkaIO's source with packs of records for elements, as Columns lays them out: first those in time,
 * then those that came later than allowed.
 *
 * <p>One element a pack, not one a record: the way into Python costs 30 µs an element, and that into
 * a Java stage behind the source cost more than all else that the JVM does. A pack is as old as the
 * oldest of its records in time; where there is none it stands at the end of time. What a pack has
 * taken from the records' reader is emitted before a checkpoint can ask how far that has come.
 */
final class PackedSource extends UnboundedSource<byte[], KafkaCheckpointMark> {
  private static final int MAX_ROWS = 2048;
  private static final int MAX_BYTES = 4 << 20;
  private static final long FILL_NS = 60_000_000;
  private static final Instant END = GlobalWindow.INSTANCE.maxTimestamp();

  private final UnboundedSource<KafkaRecord<byte[], byte[]>, KafkaCheckpointMark> records;
  private final RecordTime recordTime;
  private final Lateness lateness;

  PackedSource(
      UnboundedSource<KafkaRecord<byte[], byte[]>, KafkaCheckpointMark> records,
      RecordTime recordTime,
      Lateness lateness) {
    this.records = records;
    this.recordTime = recordTime;
    this.lateness = lateness;
  }

  @Override
  public List<PackedSource> split(int desired, PipelineOptions options) throws Exception {
    List<PackedSource> parts = new ArrayList<>();
    for (UnboundedSource<KafkaRecord<byte[], byte[]>, KafkaCheckpointMark> part : records.split(desired, options)) {
      parts.add(new PackedSource(part, recordTime, lateness));
    }
    return parts;
  }

  @Override
  public UnboundedReader<byte[]> createReader(PipelineOptions options, KafkaCheckpointMark mark)
      throws IOException {
    return new Reader(this, records.createReader(options, mark));
  }

  @Override
  public Coder<KafkaCheckpointMark> getCheckpointMarkCoder() {
    return records.getCheckpointMarkCoder();
  }

  @Override
  public Coder<byte[]> getOutputCoder() {
    return ByteArrayCoder.of();
  }

  private static final class Reader extends UnboundedReader<byte[]> {
    private final PackedSource source;
    private final UnboundedReader<KafkaRecord<byte[], byte[]>> records;
    private byte[] pack;
    private Instant earliest;

    Reader(PackedSource source, UnboundedReader<KafkaRecord<byte[], byte[]>> records) {
      this.source = source;
      this.records = records;
    }

    @Override
    public boolean start() throws IOException {
      return fill(records.start());
    }

    /**
     * Says after each pack that there is nothing: Flink then sleeps for 50 ms and lets go of the lock
     * that checkpoints and the ends of bundles wait for. So a bundle has few packs, and 41,000 records
     * a second are read at most, six times what a worker can do.
     */
    @Override
    public boolean advance() throws IOException {
      if (pack != null) {
        pack = null;
        return false;
      }
      return fill(records.advance());
    }

    private boolean fill(boolean there) throws IOException {
      if (!there) {
        return false;
      }
      Columns inTime = new Columns();
      Columns late = new Columns();
      earliest = END;
      long until = System.nanoTime() + FILL_NS;
      boolean more = true;
      while (more) {
        KafkaRecord<byte[], byte[]> record = records.getCurrent();
        Instant watermark = records.getCurrentTimestamp();
        long stamp = source.recordTime.toHandOn(record, source.lateness.windows(record));
        if (source.lateness.of(record, watermark)) {
          late.add(record, stamp);
        } else {
          inTime.add(record, stamp);
          earliest = watermark.isBefore(earliest) ? watermark : earliest;
        }
        more = false;
        while (!more && !full(inTime, late) && System.nanoTime() < until) {
          more = records.advance();
        }
      }
      pack = Columns.together(inTime, late);
      return true;
    }

    private static boolean full(Columns inTime, Columns late) {
      return inTime.rows() + late.rows() >= MAX_ROWS || inTime.bytes() + late.bytes() >= MAX_BYTES;
    }

    @Override
    public byte[] getCurrent() {
      return pack;
    }

    @Override
    public Instant getCurrentTimestamp() {
      return earliest;
    }

    @Override
    public Instant getWatermark() {
      return records.getWatermark();
    }

    @Override
    public CheckpointMark getCheckpointMark() {
      return records.getCheckpointMark();
    }

    @Override
    public long getSplitBacklogBytes() {
      return records.getSplitBacklogBytes();
    }

    @Override
    public PackedSource getCurrentSource() {
      return source;
    }

    @Override
    public void close() throws IOException {
      records.close();
    }
  }
}
