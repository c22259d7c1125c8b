package affectstream;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Base64;
import java.util.zip.DataFormatException;
import java.util.zip.GZIPInputStream;
import java.util.zip.Inflater;

/**
 * What serialisers and gateways put around JSON, as transforms/decoding/messages/wrappings.py takes
 * it off: an event whose time was read there and not here would never be late.
 */
final class Wrappings {
  private static final JsonFactory JSON = new JsonFactory();
  private static final int LAYERS = 4;
  private static final int MOST_MEMBERS = 64; // of a gzip or zlib, one behind the other
  private static final int LARGEST = 64 << 10; // bytes that a value may inflate to

  private Wrappings() {}

  /** Returns the JSON object in a value; what is none comes back as it is. */
  static byte[] unwrap(byte[] value) {
    byte[] bare = value;
    for (int layer = 0; layer < LAYERS; layer++) {
      byte[] inner = take(bare);
      if (inner == null) {
        return bare;
      }
      bare = inner;
    }
    return bare;
  }

  private static byte[] take(byte[] value) {
    if (isOfConnect(value)) {
      return payload(value);
    }
    int first = at(value, 0);
    if (first == 0x1f && at(value, 1) == 0x8b || first == 'x' && (first << 8 | at(value, 1)) % 31 == 0) {
      return inflate(value);
    }
    if (first == 0 || first == 1 || first == 3) {
      return afterSchemaId(value);
    }
    if (first == '"') {
      String text = string(value);
      byte[] inner = text == null ? null : text.getBytes(StandardCharsets.UTF_8);
      return inner == null || at(inner, skipSpace(inner, 0)) == '{' ? inner : base64(inner);
    }
    if (first == 'e' || starts(value, "H4sI")) {
      return base64(value);
    }
    int start = skipSpace(value, 0);
    return start > 0 && at(value, start) != '{' ? from(value, start) : null;
  }

  /** Returns the text of a JSON string, or of one beside its schema; null for anything else. */
  static String string(byte[] value) {
    try (JsonParser json = JSON.createParser(value)) {
      JsonToken token = json.nextToken();
      if (token == JsonToken.START_OBJECT) {
        byte[] payload = payload(value);
        return payload == null || at(payload, 0) != '"' ? null : string(payload);
      }
      String text = token == JsonToken.VALUE_STRING ? json.getText() : null;
      return json.nextToken() == null ? text : null;
    } catch (IOException e) {
      return null;
    }
  }

  /** Returns the member "payload" of an object that has "schema" beside it and no other. */
  private static byte[] payload(byte[] value) {
    byte[] found = null;
    try (JsonParser json = JSON.createParser(value)) {
      json.nextToken();
      while (json.nextToken() == JsonToken.FIELD_NAME) {
        String name = json.currentName();
        if (!name.equals("schema") && !name.equals("payload")) {
          return null;
        }
        json.nextToken();
        int start = (int) json.currentTokenLocation().getByteOffset();
        json.skipChildren();
        json.finishToken();
        int end = (int) json.currentLocation().getByteOffset();
        found = name.equals("payload") ? Arrays.copyOfRange(value, start, end) : found;
      }
      return found;
    } catch (IOException e) {
      return null;
    }
  }

  private static byte[] inflate(byte[] value) {
    if (at(value, 0) == 'x') {
      return inflateZlib(value);
    }
    try (InputStream in = new GZIPInputStream(new ByteArrayInputStream(value))) {
      byte[] found = in.readNBytes(LARGEST + 1);
      return found.length <= LARGEST ? found : null;
    } catch (IOException e) {
      return null;
    }
  }

  /** Returns what all members of zlib hold, as gzip's own reader does: zero bytes may follow. */
  private static byte[] inflateZlib(byte[] value) {
    byte[] found = new byte[LARGEST + 1];
    Inflater inflater = new Inflater();
    try {
      int size = 0;
      int start = 0;
      for (int member = 0; member < MOST_MEMBERS; member++) {
        inflater.reset();
        inflater.setInput(value, start, value.length - start);
        int more;
        while ((more = inflater.inflate(found, size, found.length - size)) > 0) {
          size += more;
        }
        if (!inflater.finished() || size > LARGEST) {
          return null;
        }
        start = value.length - inflater.getRemaining();
        while (start < value.length && value[start] == 0) {
          start++;
        }
        if (start == value.length) {
          return Arrays.copyOf(found, size);
        }
      }
      return null;
    } catch (DataFormatException e) {
      return null;
    } finally {
      inflater.end();
    }
  }

  /** Returns the JSON after a schema's id: of 4 bytes, of 8 (Apicurio), or a UUID (Confluent, AWS Glue). */
  private static byte[] afterSchemaId(byte[] value) {
    if (at(value, 0) == 3) {
      byte[] inner = from(value, 18);
      byte[] inflated = at(value, 1) == 5 ? inflate(inner) : null;
      byte[] bare = inflated == null ? inner : inflated;
      return isJson(bare) ? bare : null;
    }
    if (at(value, 0) == 1) {
      return isJson(from(value, 17)) ? from(value, 17) : null;
    }
    if (at(value, 1) == '{' || at(value, 1) == 0 && at(value, 2) == 0 && at(value, 3) == '{') {
      return null; // UTF-16 or 32, which JSON's reader knows
    }
    byte[] inner = from(value, 5);
    return isJson(inner) ? inner : isJson(from(value, 9)) ? from(value, 9) : null;
  }

  /** Returns the JSON or gzip in base64 of either alphabet, with or without padding and line ends. */
  private static byte[] base64(byte[] text) {
    String digits = new String(text, StandardCharsets.ISO_8859_1).replaceAll("[ \\t\\r\\n\\x0b\\f]", "");
    try {
      String plain = digits.replaceAll("=+$", "").replace('-', '+').replace('_', '/');
      byte[] found = Base64.getDecoder().decode(plain);
      return at(found, 0) == '{' || at(found, 0) == 'x' || at(found, 0) == 0x1f ? found : null;
    } catch (IllegalArgumentException e) {
      return null;
    }
  }

  /** Tells whether a value begins as Connect's object of a schema and a payload, in any layout. */
  private static boolean isOfConnect(byte[] value) {
    int brace = skipSpace(value, 0);
    if (at(value, brace) != '{') {
      return false;
    }
    byte[] members = from(value, skipSpace(value, brace + 1));
    return starts(members, "\"schema\"") || starts(members, "\"payload\"");
  }

  private static boolean isJson(byte[] value) {
    int first = at(value, skipSpace(value, 0));
    return first == '{' || first == '"';
  }

  private static int skipSpace(byte[] value, int start) {
    int place = start;
    while (place < value.length && " \t\r\n".indexOf(value[place]) >= 0) {
      place++;
    }
    return place;
  }

  private static byte[] from(byte[] value, int start) {
    return Arrays.copyOfRange(value, Math.min(start, value.length), value.length);
  }

  private static boolean starts(byte[] value, String text) {
    byte[] wanted = text.getBytes(StandardCharsets.ISO_8859_1);
    return value.length >= wanted.length && Arrays.equals(value, 0, wanted.length, wanted, 0, wanted.length);
  }

  /** Returns the byte at a place as 0 to 255, -1 where there is none. */
  private static int at(byte[] value, int place) {
    return place < value.length ? value[place] & 0xff : -1;
  }
}
