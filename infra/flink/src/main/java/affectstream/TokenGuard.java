package affectstream;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.List;
import org.apache.beam.vendor.grpc.v1p69p0.io.grpc.Metadata;
import org.apache.beam.vendor.grpc.v1p69p0.io.grpc.ServerCall;
import org.apache.beam.vendor.grpc.v1p69p0.io.grpc.ServerCallHandler;
import org.apache.beam.vendor.grpc.v1p69p0.io.grpc.ServerInterceptor;
import org.apache.beam.vendor.grpc.v1p69p0.io.grpc.Status;

/**
 * Lets in only who shows the token that stands in a file; any user of the machine can reach a
 * server on loopback, and this one runs what it is given.
 */
public final class TokenGuard implements ServerInterceptor {
  private static final String FILE = "affectstream.token_file";
  private static final Metadata.Key<String> HEADER =
      Metadata.Key.of("affectstream-token", Metadata.ASCII_STRING_MARSHALLER);

  private final byte[] token;

  private TokenGuard(byte[] token) {
    this.token = token;
  }

  /** Returns the guard of this JVM; none where no property names a file, as in a cluster's JVMs. */
  public static List<ServerInterceptor> ofThisJvm() throws IOException {
    String file = System.getProperty(FILE);
    if (file == null) {
      return List.of();
    }
    String token = Files.readString(Path.of(file)).strip();
    return List.of(new TokenGuard(token.getBytes(StandardCharsets.UTF_8)));
  }

  @Override
  public <Q, A> ServerCall.Listener<Q> interceptCall(
      ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
    String shown = headers.get(HEADER);
    if (shown != null && MessageDigest.isEqual(shown.getBytes(StandardCharsets.UTF_8), token)) {
      return next.startCall(call, headers);
    }
    call.close(Status.UNAUTHENTICATED.withDescription("show the job's token"), new Metadata());
    return new ServerCall.Listener<Q>() {};
  }
}
