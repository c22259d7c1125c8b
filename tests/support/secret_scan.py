"""Where a secret stands: all that a live job shows, keeps and logs, unpacked as far as it goes."""

import base64
import binascii
import bz2
import re
import ssl
import zlib
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import grpc
import psutil
import pyarrow.parquet as pq
import snappy
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

from pipelines.live.guards.job_token import TOKEN_FILE, with_token
from pipelines.live.guards.rest_tls import client_context
from pipelines.live.job_process import TLS, JobProcess
from tests.support.live_runs import Running

_BASE64 = re.compile(rb"[A-Za-z0-9+/]{24,}={0,2}")
_XERIAL = b"\x82SNAPPY\x00"
_DEPTH = 4
_OF_A_JOB = ("", "/config", "/plan", "/exceptions", "/checkpoints", "/checkpoints/config")
_OF_ALL = ("/config", "/jobmanager/config", "/jobmanager/environment", "/jobs/overview")


def holders(secret: str | bytes, shown: dict[str, bytes]) -> list[str]:
    """Return the names of what holds the secret in any form."""
    forms = _forms(secret)
    return [
        name
        for name, data in shown.items()
        if any(form in part for part in _unpacked(data) for form in forms)
    ]


def _forms(secret: str | bytes) -> list[bytes]:
    """Return the secret as it is, in hex and in base64; a text quoted once and twice, in UTF-16."""
    raw = [secret] if isinstance(secret, bytes) else _spellings(secret)
    forms = list(raw)
    for data in raw:
        forms += [binascii.hexlify(data), *(_in_base64(data, before) for before in range(3))]
    return forms


def _spellings(secret: str) -> list[bytes]:
    quoted = secret.replace("\\", "\\\\").replace('"', '\\"')
    twice = quoted.replace("\\", "\\\\").replace('"', '\\"')
    texts = {secret, quoted, twice}
    return [text.encode(code) for text in texts for code in ("utf-8", "utf-16-le", "utf-16-be")]


def _in_base64(data: bytes, before: int) -> bytes:
    """Return what is sure of the base64 of this with so many other bytes before it."""
    coded = base64.b64encode(b"\x00" * before + data)
    start = -(-before * 8 // 6)
    return coded[start : (before + len(data)) * 8 // 6]


def _unpacked(data: bytes, depth: int = _DEPTH) -> Iterator[bytes]:
    yield data
    if not depth:
        return
    for inner in (*_from_base64(data), *_from_snappy(data), *_from_deflate(data)):
        yield from _unpacked(inner, depth - 1)


def _from_base64(data: bytes) -> Iterator[bytes]:
    for found in _BASE64.finditer(data):
        text = found[0].rstrip(b"=")
        with suppress(binascii.Error):
            yield base64.b64decode(text[: len(text) // 4 * 4])


def _from_snappy(data: bytes) -> Iterator[bytes]:
    """Yield what Java's serialised objects of Beam hold: the source in graph and checkpoint."""
    at = data.find(_XERIAL)
    while at >= 0:
        place, whole = at + 16, b""
        with suppress(Exception):  # what follows the last block is no block
            while place + 4 <= len(data):
                size = int.from_bytes(data[place : place + 4], "big")
                whole += snappy.decompress(data[place + 4 : place + 4 + size])
                place += 4 + size
        if whole:
            yield whole
        at = data.find(_XERIAL, at + 1)


def _from_deflate(data: bytes) -> Iterator[bytes]:
    for magic, tool in ((b"x\x9c", zlib.decompressobj), (b"BZh", bz2.BZ2Decompressor)):
        at = data.find(magic)
        while at >= 0:
            with suppress(zlib.error, OSError, EOFError):
                yield tool().decompress(data[at:])
            at = data.find(magic, at + 1)


def shown_by(running: Running, state: Path | None = None) -> dict[str, bytes]:
    """Return what any process of the machine has of a job; with ``state``, what its owner has."""
    job = running.supervisor.job
    assert job is not None
    shown = {}
    for port in ports_of(job):
        shown |= _graphs(port, state) | _rest(port, state)
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error, OSError):
            shown[f"command of {child.name()} {child.pid}"] = "\0".join(child.cmdline()).encode()
            environment = Path(f"/proc/{child.pid}/environ").read_bytes()
            shown[f"environment of {child.name()} {child.pid}"] = environment
    return shown


def ports_of(job: JobProcess) -> list[int]:
    """Return the ports that the job server's JVM listens on."""
    server = job.server_pid()
    assert server is not None
    connections = psutil.Process(server).net_connections("tcp")
    return sorted({c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN})


def _graphs(port: int, state: Path | None) -> dict[str, bytes]:
    """Return the graphs that a job server at this port hands out, none where it is another one."""
    graphs = {}
    with suppress(grpc.RpcError), grpc.insecure_channel(f"127.0.0.1:{port}") as plain:
        channel = with_token(plain, (state / TOKEN_FILE).read_text()) if state else plain
        stub = beam_job_api_pb2_grpc.JobServiceStub(channel)
        jobs = stub.GetJobs(beam_job_api_pb2.GetJobsRequest(), timeout=3).job_info
        for job in jobs:
            asked = beam_job_api_pb2.GetJobPipelineRequest(job_id=job.job_id)
            graphs[f"graph of {job.job_id}"] = stub.GetPipeline(
                asked, timeout=5
            ).SerializeToString()
            graphs[f"options of {job.job_id}"] = job.SerializeToString()
    return graphs


def _rest(port: int, state: Path | None) -> dict[str, bytes]:
    """Return what Flink tells at this port, by either protocol; nothing where it is not Flink's."""
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    context = client_context(state / TLS) if state else anybody

    def ask(path: str) -> bytes | None:
        for scheme in ("https", "http"):
            try:
                place = f"{scheme}://127.0.0.1:{port}{path}"
                with urlopen(
                    place, timeout=5, context=context if scheme == "https" else None
                ) as answer:
                    return bytes(answer.read())
            except HTTPError as error:
                return error.read()
            except (OSError, HTTPException):
                continue
        return None

    jobs = re.findall(rb'"jid":"(\w+)"', ask("/jobs/overview") or b"")
    paths = [*_OF_ALL, *(f"/jobs/{job.decode()}{path}" for job in jobs for path in _OF_A_JOB)]
    found = {f"REST {path}": ask(path) for path in paths} if jobs else {}
    return {name: data for name, data in found.items() if data}


def kept_in(folder: Path) -> dict[str, bytes]:
    """Return all files under a folder; checkpoints may vanish meanwhile."""
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file():
                found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def that_hold(folder: Path, tokens: set[str]) -> set[str]:
    """By another way than the product's: the files that contain a token, at any place."""
    either = re.compile("|".join(map(re.escape, sorted(tokens))))
    return {path for path, text in _texts(folder) if either.search(text)}


def _texts(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        try:
            data = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:  # a job's checkpoints come and go
            continue
        yield str(path), data.decode("latin-1")
        if path.suffix == ".parquet":
            for row in pq.ParquetFile(path).read().to_pylist():
                yield str(path), repr(row)
