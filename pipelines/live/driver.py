"""The streaming job's driver: starts the job server, submits the graph and waits for its end.

A process of its own (``python -m pipelines.live.driver CONFIG.json``), so that the supervisor can
end it together with the JVM that it starts. The graph is built by a fork of the fork server, which
has imported what that needs and gives the memory back. With ``--again`` the graph that was built
before is submitted.
"""

import json
import logging
import os
import shlex
import socket
import sys
from pathlib import Path

import grpc
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.flink_runner import FlinkRunner
from apache_beam.runners.portability.job_server import JobServer
from apache_beam.utils.subprocess_server import pick_port

from pipelines.config import Config
from pipelines.live.fork_server import GRAPH, VARIABLE
from pipelines.live.guards.job_token import TOKEN_FILE, show_token
from pipelines.live.job_process import SERVER_LOST
from pipelines.live.state_folder import GRAPH_FILE, NOTES, POISON, RESTORING, TOKEN
from transforms.sources.kafka import expansion_arguments


def flags(config: Config) -> list[str]:
    """Return the runner's flags; docs/reference/live.md says what each is for."""
    live = config.live
    state = live.state.absolute()
    environment = json.dumps({"command": str(_boot_script(state))})
    quiet = json.dumps({"apache_beam.transforms.util": "WARNING"})  # four lines a bundle else
    return [
        "--streaming",
        f"--job_name={config.kafka.group}",  # of this state folder alone
        f"--flink_master={live.flink_master}",
        "--flink_version=1.19",
        f"--flink_job_server_jar={live.jars.absolute() / 'jobserver.jar'}",
        "--job_server_jvm_properties=-Xmx1g",
        "--job_server_jvm_properties=-XX:TieredStopAtLevel=1",
        "--job_server_jvm_properties=-XX:+UseSerialGC",
        "--job_server_jvm_properties=-Xms128m",
        f"--job_server_jvm_properties=-Daffectstream.token_file={state / TOKEN_FILE}",
        "--expansion_port=-1",  # none but our own
        f"--flink_conf_dir={state / 'conf'}",
        f"--parallelism={live.parallelism}",
        "--experiments=use_deprecated_read",
        "--environment_type=PROCESS",
        f"--environment_config={environment}",
        f"--sdk_worker_parallelism={live.workers}",
        f"--sdk_harness_log_level_overrides={quiet}",
        "--finish_bundle_before_checkpointing",
        "--object_reuse",
        "--max_bundle_size=8192",
        "--max_bundle_time_mills=100",
        "--auto_watermark_interval=50",
        f"--checkpointing_interval={round(live.checkpoint_s * 1000)}",
        f"--min_pause_between_checkpoints={round(live.checkpoint_s * 500)}",
        "--checkpointing_mode=EXACTLY_ONCE",
        "--externalized_checkpoints_enabled",
        "--retain_externalized_checkpoints_on_cancellation",
        "--state_backend=filesystem",
        f"--state_backend_storage_path={(state / 'checkpoints').as_uri()}",
    ]


def _boot_script(state: Path) -> Path:
    """Write the command that Flink starts a worker with; it takes this interpreter."""
    path = state / "worker"
    python, log = shlex.quote(sys.executable), shlex.quote(str(state / "worker.log"))
    given = shlex.join([f"{NOTES}={state / POISON}", f"{TOKEN}={state / TOKEN_FILE}"])
    path.write_text(
        f'#!/bin/sh\nexec {python} -m pipelines.live.worker {given} "$@" >>{log} 2>&1\n'
    )
    path.chmod(0o700)
    return path


class _StartedRunner(FlinkRunner):
    """Submits to a job server that was started before there was a graph."""

    def __init__(self, options: PipelineOptions) -> None:
        super().__init__()
        self._job_server = super().default_job_server(options)
        self._job_server.start()

    def default_job_server(self, options: PipelineOptions) -> JobServer:
        return self._job_server


def _start_server(config: Config, arguments: list[str]) -> tuple[FlinkRunner, PipelineOptions, int]:
    """Start the job server, which also puts the source into the graph, while that is built.

    ``arguments`` are those of ``write_graph`` before the runner's flags. Returns a runner that
    submits to this server, with its options, and 0 or the exit status where there is no graph.
    """
    (port,) = pick_port(None)
    jar = config.live.jars.absolute() / "expansion.jar"
    expansion = " ".join([str(port), *expansion_arguments(jar, config.live.java_environment)])
    given = flags(config)
    wanted = [*arguments, *given, f"--expansion_address=127.0.0.1:{port}"]
    given.append(f"--job_server_jvm_properties=-Daffectstream.expansion={expansion}")
    request = _request_graph(wanted)
    options = PipelineOptions(given)
    try:
        runner = _StartedRunner(options)
    except Exception:
        # Where Java or a jar is missing, the checks before the graph say so in one sentence.
        if status := _await_graph(request, wanted):
            return FlinkRunner(), options, status
        raise
    return runner, options, _await_graph(request, wanted)


def _request_graph(arguments: list[str]) -> socket.socket | None:
    """Ask the fork server, which may still import, to write the graph; None where it is gone."""
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(os.environ[VARIABLE])
    except (KeyError, OSError):
        server.close()
        return None
    server.sendall(json.dumps([GRAPH, *arguments]).encode() + b"\n")
    return server


def _await_graph(server: socket.socket | None, arguments: list[str]) -> int:
    """Return 0 once the graph is written, else the exit status; without a fork server write it."""
    if server is None:
        from pipelines.live.graph import write_graph  # noqa: PLC0415  imports torch: seconds

        return write_graph(arguments)
    with server:
        status = server.recv(1)
    return status[0] if status else 1


def main(argv: list[str]) -> int:
    """Run the job to its end.

    Returns 0 where it was cancelled, UNUSABLE where it cannot start, SERVER_LOST where the job
    server has died, 1 where the job failed.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    config = Config.model_validate_json(Path(argv[0]).read_text(encoding="utf-8"))
    show_token(config.live.state.absolute() / TOKEN_FILE)
    built = config.live.state.absolute() / GRAPH_FILE
    runner, options = FlinkRunner(), PipelineOptions(flags(config))
    if "--again" not in argv or not built.exists():
        arguments = [argv[0], RESTORING] if RESTORING in argv else argv[:1]
        runner, options, status = _start_server(config, arguments)
        if status:
            return status
    proto = beam_runner_api_pb2.Pipeline.FromString(built.read_bytes())
    try:
        result = runner.run_portable_pipeline(proto, options)
        return 0 if result.wait_until_finish() in ("DONE", "CANCELLED", "DRAINED") else 1
    except grpc.RpcError as error:
        logging.exception("the job server is lost")
        return SERVER_LOST if error.code() is grpc.StatusCode.UNAVAILABLE else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
