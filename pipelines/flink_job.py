"""The streaming job itself: builds the graph, submits it to Flink and waits for its end.

A process of its own (``python -m pipelines.flink_job CONFIG.json``), so that the supervisor can end
it together with the JVM that it starts.
"""

import json
import logging
import shlex
import sys
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.flink_runner import FlinkRunner

from pipelines.affect import build_pipeline
from pipelines.config import Config


def flags(config: Config) -> list[str]:
    """Return the runner's flags; docs/live.md says what each is for."""
    live = config.live
    state = live.state.absolute()
    environment = json.dumps({"command": str(_boot_script(state))})
    return [
        "--streaming",
        "--job_name=affectstream",
        f"--flink_master={live.flink_master}",
        "--flink_version=1.19",
        f"--flink_job_server_jar={live.jars.absolute() / 'jobserver.jar'}",
        "--job_server_jvm_properties=-Xmx1g",
        f"--flink_conf_dir={state / 'conf'}",
        f"--parallelism={live.parallelism}",
        "--experiments=use_deprecated_read",
        "--environment_type=PROCESS",
        f"--environment_config={environment}",
        f"--sdk_worker_parallelism={live.workers}",
        "--finish_bundle_before_checkpointing",
        "--max_bundle_size=8192",
        "--max_bundle_time_mills=50",
        "--auto_watermark_interval=50",
        f"--checkpointing_interval={round(live.checkpoint_s * 1000)}",
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
    path.write_text(f'#!/bin/sh\nexec {python} -m pipelines.worker "$@" >>{log} 2>&1\n')
    path.chmod(0o755)
    return path


def main() -> int:
    """Run the job to its end; return 0 where it was drained or cancelled."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    config = Config.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    pipeline = beam.Pipeline(runner=FlinkRunner(), options=PipelineOptions(flags(config)))
    build_pipeline(pipeline, config)
    state = pipeline.run().wait_until_finish()
    return 0 if state in ("DONE", "CANCELLED", "DRAINED") else 1


if __name__ == "__main__":
    sys.exit(main())
