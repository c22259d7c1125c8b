"""Beam's PROCESS environment without docker: becomes an SDK harness of this environment.

The runner calls it with ``--id`` and ``--provision_endpoint``; it asks the runner for the rest.
"""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

import grpc
from apache_beam.portability.api import (
    beam_provision_api_pb2,
    beam_provision_api_pb2_grpc,
    endpoints_pb2,
)
from apache_beam.runners.worker import sdk_worker_main
from google.protobuf import json_format, text_format

from pipelines.live.guards.job_token import show_token
from pipelines.live.state_folder import NOTES, TOKEN
from transforms.isolation.notes import PROCESS, keep_watch

_ENDPOINTS = ("logging_endpoint", "control_endpoint", "artifact_endpoint", "provision_endpoint")


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parse what the runner gave, and what our boot script put before it."""
    parser = argparse.ArgumentParser()
    for name in ("id", *_ENDPOINTS):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument(NOTES, type=Path, dest="notes")
    parser.add_argument(TOKEN, type=Path, dest="token")
    return parser.parse_known_args(argv)[0]


def environment(given: argparse.Namespace) -> dict[str, str]:
    """Ask the runner where its services are; return the harness's environment variables."""
    with grpc.insecure_channel(given.provision_endpoint) as channel:
        stub = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        request = beam_provision_api_pb2.GetProvisionInfoRequest()
        info = stub.GetProvisionInfo(request, metadata=[("worker_id", given.id)]).info
    variables = {
        "WORKER_ID": given.id,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "LOGGING_API_SERVICE_DESCRIPTOR": _descriptor(
            info.logging_endpoint.url or given.logging_endpoint
        ),
        "CONTROL_API_SERVICE_DESCRIPTOR": _descriptor(
            info.control_endpoint.url or given.control_endpoint
        ),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
    }
    if info.HasField("status_endpoint"):
        variables["STATUS_API_SERVICE_DESCRIPTOR"] = _descriptor(info.status_endpoint.url)
    return variables


def _descriptor(url: str) -> str:
    return text_format.MessageToString(endpoints_pb2.ApiServiceDescriptor(url=url))


def run_harness(argv: list[str]) -> None:
    """Work for the runner that gave these arguments until it ends the connection.

    A worker that is asked to end, or that loses its runner, removes its notes: the records that it
    is working on are not to blame.
    """
    given = arguments(argv)
    if given.token:
        show_token(given.token)
    watch = keep_watch(given.notes) if given.notes else None
    signal.signal(signal.SIGTERM, lambda *_: end_worker())
    try:
        os.environ.update(environment(given))
        sdk_worker_main.main([])
    finally:
        if watch:
            watch.leave()


def end_worker() -> NoReturn:
    """End this process at once, as one that was asked to end."""
    if PROCESS.watch:
        PROCESS.watch.leave()
    os._exit(1)


if __name__ == "__main__":
    run_harness(sys.argv[1:])
