package affectstream;

import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import org.apache.beam.sdk.io.kafka.KafkaRecord;
import org.apache.kafka.common.header.Header;

/**
 * Kafka records as columns that Arrow can take over, big-endian.
 *
 * <p>Layout: rows i32, headers i32; then partition i32, offset i64, timestamp i64 and number of
 * headers i32, each a row; then topic, key, value (a row each), header key and header value (a header
 * each) as lengths i32 (-1 is null) followed by all bytes.
 */
final class Columns {
  private final Fixed partition = new Fixed();
  private final Fixed offset = new Fixed();
  private final Fixed timestamp = new Fixed();
  private final Fixed headers = new Fixed();
  private final Text topic = new Text();
  private final Text key = new Text();
  private final Text value = new Text();
  private final Text headerKey = new Text();
  private final Text headerValue = new Text();
  private int rows;
  private int pairs;

  void add(KafkaRecord<byte[], byte[]> record, long timestampMs) {
    try {
      partition.out.writeInt(record.getPartition());
      offset.out.writeLong(record.getOffset());
      timestamp.out.writeLong(timestampMs);
      topic.add(record.getTopic().getBytes(StandardCharsets.UTF_8));
      key.add(record.getKV().getKey());
      value.add(record.getKV().getValue());
      int before = pairs;
      if (record.getHeaders() != null) {
        for (Header header : record.getHeaders()) {
          headerKey.add(header.key().getBytes(StandardCharsets.UTF_8));
          headerValue.add(header.value());
          pairs++;
        }
      }
      headers.out.writeInt(pairs - before);
      rows++;
    } catch (IOException e) {
      throw new UncheckedIOException(e); // memory does not fail so
    }
  }

  int rows() {
    return rows;
  }

  int bytes() {
    return value.bytes.size();
  }

  /** Lays out one after the other. */
  static byte[] together(Columns first, Columns second) {
    try {
      Fixed all = new Fixed();
      first.writeTo(all.out);
      second.writeTo(all.out);
      return all.bytes.toByteArray();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private void writeTo(DataOutputStream out) throws IOException {
    out.writeInt(rows);
    out.writeInt(pairs);
    for (Fixed column : new Fixed[] {partition, offset, timestamp, headers}) {
      column.bytes.writeTo(out);
    }
    for (Text column : new Text[] {topic, key, value, headerKey, headerValue}) {
      column.lengths.bytes.writeTo(out);
      column.bytes.writeTo(out);
    }
  }

  private static final class Fixed {
    final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    final DataOutputStream out = new DataOutputStream(bytes);
  }

  private static final class Text {
    final Fixed lengths = new Fixed();
    final ByteArrayOutputStream bytes = new ByteArrayOutputStream();

    void add(byte[] value) throws IOException {
      lengths.out.writeInt(value == null ? -1 : value.length);
      if (value != null) {
        bytes.write(value);
      }
    }
  }
}
