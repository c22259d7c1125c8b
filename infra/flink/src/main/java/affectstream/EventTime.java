package affectstream;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.OffsetDateTime;
import java.util.Locale;
import java.util.OptionalLong;
import org.apache.beam.sdk.io.kafka.KafkaRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;

/**
 * The CloudEvents time of a record, in ms since 1970: from its header, or from structured JSON. Only
 * of the years that DecodeEvents takes: others would overflow what is reckoned with them.
 */
final class EventTime {
  private static final JsonFactory JSON = new JsonFactory();
  private static final String EVENTS = "application/cloudevents";
  private static final int LONGEST_NAME = 64;

  private EventTime() {}

  static OptionalLong of(KafkaRecord<byte[], byte[]> record) {
    Headers headers = record.getHeaders() == null ? new RecordHeaders() : record.getHeaders();
    byte[] value = record.getKV().getValue();
    String type = find(headers, "content-type", "contenttype");
    String media = type == null ? "" : type.split(";", 2)[0].strip().toLowerCase(Locale.ROOT);
    if (media.equals(EVENTS) || media.equals(EVENTS + "+json")) {
      return parse(structured(value, false));
    }
    for (String name : new String[] {"ce_id", "ce_source", "ce_type", "ce_specversion"}) {
      if (find(headers, name, name.replace("_", "")) != null) {
        return parse(find(headers, "ce_time", "cetime"));
      }
    }
    String time = structured(value, true);
    return parse(time == null ? find(headers, "ce_time", "cetime") : time);
  }

  /** Returns a header by its name, or by any spelling of it that gateways make. */
  private static String find(Headers headers, String name, String letters) {
    for (Header exact : headers.headers(name)) {
      return text(exact);
    }
    for (Header header : headers) {
      if (header.key().length() <= LONGEST_NAME && letters(header.key()).equals(letters)) {
        return text(header);
      }
    }
    return null;
  }

  private static String letters(String name) {
    StringBuilder found = new StringBuilder();
    name.toLowerCase(Locale.ROOT).codePoints().filter(Character::isLetterOrDigit).forEach(found::appendCodePoint);
    return found.toString().replaceFirst("^cloudevents?", "ce");
  }

  /** Returns a header's value, without the quotes or the schema that converters put around it. */
  private static String text(Header header) {
    if (header.value() == null) {
      return null;
    }
    String text = new String(header.value(), StandardCharsets.UTF_8);
    String plain = text.startsWith("\"") || text.startsWith("{\"schema\":") ? Wrappings.string(header.value()) : null;
    return plain == null ? text : plain;
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

  /**
   * Returns the time of the whole object; of several the last, as JSON's readers in Python do.
   * Where the object must be versioned it is an event only with "specversion".
   */
  private static String structured(byte[] value, boolean versioned) {
    if (value == null) {
      return null;
    }
    try (JsonParser json = JSON.createParser(Wrappings.unwrap(value))) {
      if (json.nextToken() != JsonToken.START_OBJECT) {
        return null;
      }
      String time = null;
      boolean version = false;
      while (json.nextToken() == JsonToken.FIELD_NAME) {
        String name = json.currentName();
        JsonToken token = json.nextToken();
        if (name.equals("time")) {
          time = token == JsonToken.VALUE_STRING ? json.getText() : null;
        }
        if (name.equals("specversion")) {
          version = token != JsonToken.VALUE_NULL;
        }
        json.skipChildren();
      }
      return version || !versioned ? time : null;
    } catch (IOException e) {
      return null;
    }
  }
}
