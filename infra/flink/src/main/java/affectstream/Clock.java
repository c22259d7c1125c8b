package affectstream;

import java.io.Serializable;

/** The clock of event time: the wall clock, shifted where an old log is played. */
final class Clock implements Serializable {
  private final long offsetMs;

  Clock(long offsetMs) {
    this.offsetMs = offsetMs;
  }

  long nowMs() {
    return System.currentTimeMillis() + offsetMs;
  }

  long atMs(long wallMs) {
    return wallMs + offsetMs;
  }
}
