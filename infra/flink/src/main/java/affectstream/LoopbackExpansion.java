package affectstream;

import java.util.Arrays;
import org.apache.beam.sdk.expansion.service.ExpansionServer;
import org.apache.beam.sdk.expansion.service.ExpansionService;
import org.apache.beam.sdk.expansion.service.ExpansionServiceOptions;
import org.apache.beam.sdk.options.PipelineOptions;
import org.apache.beam.sdk.options.PipelineOptionsFactory;

/** Beam's expansion service on loopback; its own main class listens on all of a machine's addresses. */
public final class LoopbackExpansion {
  private LoopbackExpansion() {}

  public static void main(String[] args) throws Exception {
    start(args);
    Thread.currentThread().join();
  }

  /** Starts it on the port that comes first; the other arguments are its options. */
  static void start(String[] args) throws Exception {
    int port = Integer.parseInt(args[0]);
    PipelineOptionsFactory.register(ExpansionServiceOptions.class);
    PipelineOptions options =
        PipelineOptionsFactory.fromArgs(Arrays.copyOfRange(args, 1, args.length)).create();
    ExpansionService service = new ExpansionService(options, "localhost:" + port);
    ExpansionServer.create(service, "127.0.0.1", port);
  }
}
