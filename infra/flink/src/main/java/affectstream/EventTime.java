package affectstream;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.OffsetDateTime;
import java.util.OptionalLong;
import org.apache.beam.sdk.io.kafka.KafkaRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;

/**
 * The CloudEvents time of a record, in ms since 1970: from its header, or from structured JSON. Only
 * of the years that DecodeEvents takes: others would overflow what is reckoned with them.
 */
final class EventTime {
  private static final JsonFactory JSON = new JsonFactory();

  private EventTime() {}

  static OptionalLong of(KafkaRecord<byte[], byte[]> record) {
    Headers headers = record.getHeaders();
    String type = headers == null ? null : first(headers, "content-type");
    if (type != null && type.startsWith("application/cloudevents")) {
      return parse(structured(record.getKV().getValue()));
    }
    return parse(headers == null ? null : first(headers, "ce_time"));
  }

  private static String first(Headers headers, String name) {
    for (Header header : headers.headers(name)) {
      return header.value() == null ? null : new String(header.value(), StandardCharsets.UTF_8);
    }
    return null;
  }

  private static OptionalLong parse(String time) {
    if (time == null) {
      return OptionalLong.empty();
    }
    try {
      OffsetDateTime parsed = OffsetDateTime.parse(time.replace(' ', 'T'));
      boolean taken = parsed.getYear() >= RecordTime.FIRST_YEAR && parsed.getYear() <= RecordTime.LAST_YEAR;
      return taken ? OptionalLong.of(parsed.toInstant().toEpochMilli()) : OptionalLong.empty();
    } catch (DateTimeException e) {
      return OptionalLong.empty();
    }
  }

  /** Returns the time of the whole object; of several the last, as JSON's readers in Python do. */
  private static String structured(byte[] value) {
    if (value == null) {
      return null;
    }
    try (JsonParser json = JSON.createParser(value)) {
      if (json.nextToken() != JsonToken.START_OBJECT) {
        return null;
      }
      String time = null;
      while (json.nextToken() == JsonToken.FIELD_NAME) {
        String name = json.currentName();
        JsonToken token = json.nextToken();
        if (name.equals("time")) {
          time = token == JsonToken.VALUE_STRING ? json.getText() : null;
        }
        json.skipChildren();
      }
      return time;
    } catch (IOException e) {
      return null;
    }
  }
}
