package org.apache.beam.sdk.io.kafka;

import org.apache.beam.sdk.io.UnboundedSource;

/** Hands out the source behind KafkaIO, which Beam keeps to its own package. */
public final class KafkaSources {
  private KafkaSources() {}

  public static <K, V> UnboundedSource<KafkaRecord<K, V>, KafkaCheckpointMark> of(KafkaIO.Read<K, V> read) {
    return read.makeSource();
  }
}
