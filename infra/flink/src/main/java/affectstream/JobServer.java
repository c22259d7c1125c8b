package affectstream;

import org.apache.beam.runners.flink.FlinkJobServerDriver;

/**
 * Beam's job server for Flink, and in the same JVM an expansion service where the property {@code
 * affectstream.expansion} has its arguments: one JVM starts instead of two, one after the other.
 */
public final class JobServer {
  private JobServer() {}

  public static void main(String[] args) throws Exception {
    String expansion = System.getProperty("affectstream.expansion");
    if (expansion != null) {
      LoopbackExpansion.start(expansion.split(" "));
    }
    FlinkJobServerDriver.main(args);
  }
}
