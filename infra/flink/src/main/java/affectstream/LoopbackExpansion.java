package affectstream;

import java.util.Arrays;
import java.util.List;
import org.apache.beam.model.pipeline.v1.Endpoints;
import org.apache.beam.runners.fnexecution.artifact.ArtifactRetrievalService;
import org.apache.beam.sdk.expansion.service.ExpansionService;
import org.apache.beam.sdk.expansion.service.ExpansionServiceOptions;
import org.apache.beam.sdk.fn.server.ServerFactory;
import org.apache.beam.sdk.options.PipelineOptions;
import org.apache.beam.sdk.options.PipelineOptionsFactory;
import org.apache.beam.vendor.grpc.v1p69p0.io.grpc.BindableService;

/**
 * Beam's expansion service on loopback, and in a job server behind its token; its own main class
 * listens on all of a machine's addresses.
 */
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
    Endpoints.ApiServiceDescriptor place =
        Endpoints.ApiServiceDescriptor.newBuilder().setUrl("127.0.0.1:" + port).build();
    List<BindableService> services = List.of(service, new ArtifactRetrievalService());
    ServerFactory.createDefault().create(services, place);
  }
}
