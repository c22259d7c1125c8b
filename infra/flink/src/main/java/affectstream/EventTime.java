package affectstream;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.OffsetDateTime;
import java.util.HashSet;
import java.util.Locale;
import java.util.OptionalLong;
import java.util.Set;
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
  private static final String[] NAMES = {"id", "source", "type", "specversion"};
  private static final int LONGEST_NAME = 64;

  private EventTime() {}

  static OptionalLong of(KafkaRecord<byte[], byte[]> record) {
    Headers headers = record.getHeaders() == null ? new RecordHeaders() : record.getHeaders();
    byte[] value = record.getKV().getValue();
    String type = find(headers, "content-type", "contenttype");
    String media = type == null ? "" : type.split(";", 2)[0].strip().toLowerCase(Locale.ROOT);
    boolean typed = media.equals(EVENTS) || media.equals(EVENTS + "+json");
    Set<String> beside = new HashSet<>();
    for (String name : NAMES) {
      if (find(headers, "ce_" + name, "ce" + name) != null) {
        beside.add(name);
      }
    }
    boolean bare = beside.isEmpty();
    Envelope event = Envelope.read(value, typed || bare);
    boolean whole = beside.containsAll(Set.of("id", "source", "type"));
    boolean structured = typed
        ? !(whole && event.members.isEmpty())
        : bare ? event.members.contains("specversion") : event.members.size() == NAMES.length;
    return parse(structured ? event.time : find(headers, "ce_time", "cetime"));
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
    String plain = text.startsWith("\"") || text.startsWith("{") ? Wrappings.string(header.value()) : null;
    String given = plain == null ? text : plain;
    return header.key().toLowerCase(Locale.ROOT).startsWith("ce-") ? withoutPercents(given) : given;
  }

  /** Returns a value of HTTP's binding as its producer gave it: percent-decoded where it can be. */
  private static String withoutPercents(String text) {
    try {
      return text.contains("%") ? URLDecoder.decode(text.replace("+", "%2B"), StandardCharsets.UTF_8) : text;
    } catch (IllegalArgumentException e) {
      return text;
    }
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

  /** The time and the named members of a JSON object; of several times the last, as in Python. */
  private static final class Envelope {
    static final Envelope NONE = new Envelope();

    private final Set<String> members = new HashSet<>();
    private String time;

    /** Reads what a value holds; where it need not be an event, only what may be one. */
    static Envelope read(byte[] value, boolean expected) {
      byte[] bare = value == null ? new byte[0] : Wrappings.unwrap(value);
      if (!expected && !new String(bare, StandardCharsets.ISO_8859_1).contains("specversion")) {
        return NONE;
      }
      Envelope found = new Envelope();
      try (JsonParser json = JSON.createParser(bare)) {
        if (json.nextToken() != JsonToken.START_OBJECT) {
          return NONE;
        }
        while (json.nextToken() == JsonToken.FIELD_NAME) {
          found.take(json.currentName(), json.nextToken(), json);
          json.skipChildren();
        }
        return found;
      } catch (IOException e) {
        return NONE;
      }
    }

    private void take(String name, JsonToken token, JsonParser json) throws IOException {
      if (name.equals("time")) {
        time = token == JsonToken.VALUE_STRING ? json.getText() : null;
      }
      if (Set.of(NAMES).contains(name)) {
        if (token == JsonToken.VALUE_NULL) {
          members.remove(name);
        } else {
          members.add(name);
        }
      }
    }
  }
}
