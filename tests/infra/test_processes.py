"""What the server scripts say where something is missing; a broker run by its script."""

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.kafka import kafka_server
from infra.processes import (
    HOST,
    ROOT,
    Process,
    ServerError,
    check_jars,
    free_ports,
    listens,
    maven,
)

ALL = "java, javac, mvn, go, redis-server, chromium, npm"
_KAFKA = "infra.kafka.kafka_server"


def script(module: str, *arguments: str, programs: Path | None = None) -> tuple[int, str]:
    """Run a module, with these programs alone where they are given; return status and output."""
    environment = os.environ | ({"PATH": str(programs)} if programs else {})
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def programs(folder: Path, **said: str) -> Path:
    """Make programs that say this of their version and do nothing else."""
    folder.mkdir()
    for name, text in said.items():
        (folder / name).write_text(f"#!/bin/sh\necho '{text}' >&2\n")
        (folder / name).chmod(0o755)
    return folder


def test_what_is_missing_is_said_with_the_command_that_installs_it(tmp_path: Path) -> None:
    picked_up = "Picked up JAVA_TOOL_OPTIONS: -Xmx8g"
    modern = f'{picked_up}\nopenjdk version "17.0.15" 2025-04-15'
    rest = dict.fromkeys(("javac", "mvn", "redis-server", "chromium", "npm"), "")
    for given, wanted in (
        ({}, f"{ALL} not found; install with: apt-get install -y openjdk-17-jdk-headless maven "
             "redis-server chromium fonts-noto-cjk npm && curl -L https://go.dev/dl/go1.25"),
        ({"java": 'openjdk version "11.0.2"', "go": "go version go1.26.8", **rest},
         'java is older than 17 (openjdk version "11.0.2"); install with: apt-get install -y open'),
        ({"java": modern, "go": "go version go1.19.8 linux/amd64", **rest},
         "go is older than 1.21 (go version go1.19.8 linux/amd64); install with: curl"),
    ):  # fmt: skip
        folder = programs(tmp_path / str(len(wanted)), **given)
        status, said = script("infra.processes", programs=folder)
        assert status == 1
        assert wanted in said
    good = programs(tmp_path / "good", java=modern, go="go version go1.25.0", **rest)
    assert script("infra.processes", programs=good) == (0, "")


def test_make_test_says_so_before_it_makes_the_environment(tmp_path: Path) -> None:
    (tmp_path / "infra").mkdir()
    for name in ("Makefile", "infra/processes.py", "requirements.lock", "setup.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tools := tmp_path / "tools").mkdir()
    (tools / "sh").symlink_to("/bin/sh")
    done = subprocess.run(
        [shutil.which("make") or "make", "test", f"PYTHON={sys.executable}"],
        cwd=tmp_path, env={"PATH": str(tools)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert done.stderr.startswith(f"{ALL} not found; install with: apt-get")
    assert done.stdout == ""
    assert not (tmp_path / ".venv").exists()


def test_a_number_that_another_process_has_by_now_is_not_ours(tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    time.sleep(0.05)  # a start is told apart by ticks of 10 ms
    try:
        ours = Process("server", tmp_path, ["sleep", "60"])
        ours.start()
        known = (tmp_path / "server.pid").read_text()
        assert ours.pid == int(known.split()[0])
        (tmp_path / "server.pid").write_text(known.replace(str(ours.pid), str(stranger.pid), 1))
        assert ours.pid is None
        ours.stop()
        assert stranger.poll() is None
        (tmp_path / "server.pid").write_text(known)
        ours.stop()
        assert ours.pid is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.kafka
def test_fetched_jars_do_not_hide_that_java_is_gone(tmp_path: Path) -> None:
    kafka_server.fetch()
    status, said = script(_KAFKA, "fetch", programs=programs(tmp_path / "none"))
    assert (status, said) == (
        1, "java not found; install with: apt-get install -y openjdk-17-jdk-headless\n",
    )  # fmt: skip


@pytest.mark.kafka
def test_a_broker_is_started_once_shown_and_stopped_by_its_script(tmp_path: Path) -> None:
    port = next(p for p in free_ports(20) if not listens(p + 1))
    place = ("--folder", str(tmp_path / "broker"), "--port", str(port))
    assert script(_KAFKA, "stop", *place) == (0, "broker: down\n")
    try:
        started = script(_KAFKA, "start", *place)
        assert started[0] == 0, started[1]
        assert started == script(_KAFKA, "start", *place) == script(_KAFKA, "status", *place)
        assert started[1].startswith("broker: pid ")
        assert listens(port)
    finally:
        assert script(_KAFKA, "stop", *place) == (0, "broker: down\n")
    assert script(_KAFKA, "status", *place) == (1, "broker: down\n")
    assert not listens(port)
    with socket.create_server((HOST, port + 1)):  # its controller's
        status, said = script(_KAFKA, "start", *place)
    assert status == 1
    assert said.startswith(f"broker did not start; the end of {tmp_path / 'broker'}/broker.log:")
    assert "Address already in use" in said


def listed(lib: Path, digests: Path) -> None:
    """Write the list of these jars, as sha256sum does."""
    done = subprocess.run(
        "sha256sum *.jar", shell=True, cwd=lib, capture_output=True, text=True, check=True
    )
    digests.write_text(done.stdout)


@pytest.mark.parametrize("how", ["another", "one more", "one less"])
def test_other_jars_than_the_listed_ones_are_not_left_there(how: str, tmp_path: Path) -> None:
    lib = tmp_path / "lib"
    lib.mkdir()
    for name in ("a.jar", "b.jar"):
        (lib / name).write_bytes(name.encode())
    listed(lib, tmp_path / "jars.sha256")
    check_jars(lib, tmp_path / "jars.sha256")
    if how == "another":
        (lib / "b.jar").write_bytes(b"b.jaR")
    elif how == "one more":
        (lib / "c.jar").write_bytes(b"")
    else:
        (lib / "a.jar").unlink()
    with pytest.raises(ServerError, match=r"[abc]\.jar and 0 more are not the jars of"):
        check_jars(lib, tmp_path / "jars.sha256")
    assert [*lib.glob("*.jar")] == []


POMS = sorted((ROOT / "infra").glob("*/pom.xml"))


@pytest.mark.parametrize("pom", POMS, ids=lambda pom: pom.parent.name)
def test_every_version_is_one_version(pom: Path) -> None:
    text = pom.read_text()
    versions = re.findall(r"<(?:[\w.]+\.)?version>([^<]*)<", text)
    assert len(versions) > 3
    for version in versions:
        assert re.fullmatch(r"\$\{[\w.]+\}|\d[\w.]*", version), f"{version} may be another tomorrow"
    for plugin in re.findall(r"<plugin>.*?</plugin>", text, re.S):
        assert "<version>" in plugin
    assert "<repositor" not in text, "jars come from Maven's own"


@pytest.mark.kafka
def test_a_jar_that_is_not_what_its_checksum_says_is_refused(tmp_path: Path) -> None:
    """A repository hands out a jar that somebody has changed on its way."""
    place = tmp_path / "repository" / "test" / "thing" / "1"
    place.mkdir(parents=True)
    pom = "<project><modelVersion>4.0.0</modelVersion><groupId>test</groupId>"
    (place / "thing-1.pom").write_text(
        f"{pom}<artifactId>thing</artifactId><version>1</version></project>"
    )
    (place / "thing-1.jar").write_bytes(b"changed")
    (place / "thing-1.jar.sha1").write_text(hashlib.sha1(b"as it was").hexdigest())
    own = tmp_path / "own"
    own.mkdir()
    (own / "pom.xml").write_text(
        f"{pom}<artifactId>own</artifactId><version>1</version><packaging>pom</packaging>"
        f"<repositories><repository><id>here</id><url>{(tmp_path / 'repository').as_uri()}</url>"
        "</repository></repositories><dependencies><dependency><groupId>test</groupId>"
        "<artifactId>thing</artifactId><version>1</version></dependency></dependencies></project>"
    )
    goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
    with pytest.raises(ServerError, match=r"(?s)could not fetch own.*hecksum"):
        maven(own / "pom.xml", tmp_path / "out", tmp_path / "out" / "lib", goal)
    assert not (tmp_path / "out" / "lib" / "thing-1.jar").exists()
