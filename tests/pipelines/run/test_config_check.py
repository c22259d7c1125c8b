"""What a configuration names is opened before any run; everything wrong is said at once."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.config import WEIGHTS
from pipelines.run.config_check import find_problems
from pipelines.serve.api.token_file import add_token
from pipelines.serve.stores import open_online
from pipelines.sessionlogs.bench_log import write_bench_log
from schemas.keys import write_keys
from schemas.settings import Online
from transforms.landing.prepare import prepare_tables

Check = Callable[..., list[str]]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bench_log(tmp_path_factory.mktemp("check") / "log", 10, subjects=2).folder


@pytest.fixture
def check(tmp_path: Path, log: Path, keys: Path) -> Check:
    """Writes a sound configuration with these changes and finds its problems."""

    def run(**changes: Any) -> list[str]:
        sound = {"log": str(log), "tables": str(tmp_path / "new" / "tables"), "keys": str(keys)}
        path = tmp_path / "config.yaml"
        settings = {name: value for name, value in (sound | changes).items() if value is not None}
        path.write_text(yaml.safe_dump(settings))
        return find_problems(path)

    return run


def test_a_sound_configuration_has_no_problem(check: Check, tmp_path: Path) -> None:
    assert check() == []
    prepare_tables(tmp_path / "there")
    assert check(tables=str(tmp_path / "there")) == []
    constant = {name: {"model": "constant"} for name in ("text", "voice", "face", "motion")}
    assert check(models=constant) == []


def one(problems: list[str], *said: str) -> None:
    (problem,) = problems
    assert all(part in problem for part in said), problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"log": "nowhere"}, ["nowhere is not a recorded log", "needs to be a folder"]),
        ({"keys": "nowhere"}, ["no key file at nowhere", "affectstream keys create nowhere"]),
        ({"policy": "nowhere"}, ["nowhere is not a policy table"]),
        ({"scenarios": "nowhere"}, ["nowhere is not a scenario policy"]),
        (
            {"models": {"text": {"model": "build/models/mine"}}},
            ["`models.text.model` is build/models/mine, and no such folder is here: name a"],
        ),
        (
            {"models": {"voice": {"model": "someone/model"}}},
            ["`models.voice.model` is someone/model", "together with its `card`"],
        ),
        (
            {"models": {"voice": {"model": "someone/model", "card": "none.json"}}},
            ["no model card at none.json"],
        ),
        ({"models": {"fusion": "nowhere"}}, ["`models.fusion` is nowhere", "name a model folder"]),
        (
            {"models": {"face": {"model": str(WEIGHTS / "voice-compact")}}},
            ["is for voice by its card, not for face"],
        ),
        ({"licence": "open"}, ["`licence: open` refuses", "face (face-compact@", "text (text-"]),
        (
            {"kafka": {"ca_file": "nowhere"}},
            ["`kafka.ca_file` is nowhere: No such file", "name a PEM file"],
        ),
        (
            {"kafka": {"username": "me", "password_file": "nowhere"}},
            ["cannot read the secret in nowhere"],
        ),
        (
            {"decisions": {"forget_s": 3}},
            ["`decisions.forget_s` (3) is less than `windows.length_s` (5)", "at least as long"],
        ),
        ({"replies": {"model": "nowhere"}}, ["nowhere is no folder here", "`revision`"]),
        (
            {"replies": {"model": str(WEIGHTS / "text-compact"), "adapter": "nowhere"}},
            ["nowhere is no folder of an adapter"],
        ),
    ],
)
def test_what_cannot_be_opened_is_one_sentence(
    check: Check, change: dict[str, Any], said: list[str]
) -> None:
    one(check(**change), *said)


def test_all_problems_are_found_at_once(check: Check) -> None:
    found = check(
        tables=None,
        windos={},
        windows={"length": 4, "shards": 0},
        keys="nowhere.yaml",
        kafka={"username": "me", "delay": 1},
        models={"text": {"model": "build/models/mine"}, "face": {"model": "constant", "card": "c"}},
        licence="open",
    )
    wanted = [
        "`tables` is missing", "`windos` is not a setting: did you mean `windows`?",
        "`windows.length` is not a setting: did you mean `windows.length_s`?",
        "`windows.shards` is 0: ", "`kafka.delay` is not a setting: did you mean `kafka.delay_s`?",
        "`username` and `password_file` belong together", "no key file at nowhere.yaml",
        "`models.text.model` is build/models/mine", "`models.face.card` is given",
        "`licence: open` refuses",
    ]  # fmt: skip
    assert len(found) == len(wanted), found
    for said in wanted:
        assert sum(said in problem for problem in found) == 1, (said, found)


def test_a_key_that_is_no_name_is_told_once(tmp_path: Path, log: Path, keys: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"log: {log}\ntables: [t]\nkeys: {keys}\n3: 4\nwindows: {{5: 6}}\nmedia: 7\n")
    assert sorted(problem.split("`")[1] for problem in find_problems(path)) == [
        "3", "media", "tables", "windows.5"
    ]  # fmt: skip


def _break_weights(folder: Path) -> str:
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(2000)
    return "model.safetensors is not a whole safetensors file"


def _lose_weights(folder: Path) -> str:
    (folder / "model.safetensors").unlink()
    return "holds no .safetensors file"


def _break_shape(folder: Path) -> str:
    (folder / "config.json").write_text("{")
    return "has no readable config.json"


def _break_card(folder: Path) -> str:
    (folder / "card.json").write_text("{}")
    return "model card"


ALLOWED = {"reason": "its groups do not matter here", "by": "a test", "until": "2099-01-01"}


@pytest.mark.parametrize("harm", [_break_weights, _lose_weights, _break_shape, _break_card])
@pytest.mark.parametrize("digests", [True, False])
@pytest.mark.parametrize("name", ["motion", "fusion"])
def test_models_are_opened(
    check: Check, tmp_path: Path, harm: Callable[[Path], str], digests: bool, name: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(WEIGHTS / ("fusion" if name == "fusion" else f"{name}-compact"), folder)
    models = {name: str(folder) if name == "fusion" else {"model": str(folder)}}
    if not digests:  # a folder of another's, with a card by hand
        card = json.loads((folder / "card.json").read_text())
        (folder / "card.json").write_text(json.dumps(card | {"sha256": {}}))
        models["exceptions"] = {name: ALLOWED}
    assert check(models=models) == []
    said = harm(folder)
    checked = digests and harm is not _break_card
    one(check(models=models), "is not the file its card describes" if checked else said)


def test_tables_are_opened_and_nothing_is_made(check: Check, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    one(check(tables=str(tmp_path / "file" / "tables")), "`tables` is", "is a file: name a folder")
    root = tmp_path / "there"
    prepare_tables(root)
    (root / "refusals" / "_delta_log" / "00000000000000000000.json").write_text("{")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    one(check(tables=str(root)), "table refusals under", "cannot be read", "name tables")
    assert check(live={"state": str(tmp_path / "state")}) == []
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert {path.name for path in tmp_path.iterdir()} == {"file", "there", "config.yaml"}


def test_tables_that_may_be_written_need_no_writable_root() -> None:
    with tempfile.TemporaryDirectory() as made:  # pytest's folders are closed to other users
        Path(made).chmod(0o755)
        root, config = Path(made) / "root", Path(made) / "config.yaml"
        config.write_text(f"log: {made}/none\ntables: {root}\nkeys: {made}/none\n")

        def of_tables() -> list[str]:
            with _nobody():
                return [problem for problem in find_problems(config) if str(root) in problem]

        prepare_tables(root)
        for folder in root.glob("**/"):
            folder.chmod(0o777)
        root.chmod(0o555)
        with _nobody():
            prepare_tables(root)  # the run takes them
        assert of_tables() == []
        root.chmod(0o777)
        shutil.rmtree(root / "refusals")
        root.chmod(0o555)
        one(of_tables(), "`tables` is", "may not write to", "name another")
        root.chmod(0o000)
        one(of_tables(), "`tables` is", "may not write to", "name another")
        root.chmod(0o777)


@contextmanager
def _nobody() -> Iterator[None]:
    """Be a user who may write nowhere: in tests as root, root may write everywhere."""
    me = os.getuid()
    if me == 0:
        os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        if me == 0:
            os.setresuid(0, 0, 0)


@pytest.mark.parametrize("name", ["keys", "policy", "scenarios"])
def test_a_fifo_is_a_problem_and_not_waited_for(check: Check, tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    one(check(**{name: str(tmp_path / "fifo")}), str(tmp_path / "fifo"))


def test_a_fifo_of_the_brokers_is_a_problem_too(check: Check, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    one(check(kafka={"ca_file": str(fifo)}), "`kafka.ca_file` is", "name a PEM file")
    named = {"username": "me", "password_file": str(fifo)}
    one(check(kafka=named), "cannot read the secret", "is a text file")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tables": ""}, "`tables`: an empty text"),
        ({"tables": "a" * 300}, "`tables`: the path is too long"),
        ({"keys": "a\0b"}, "`keys`: a text with a NUL"),
        ({"live": {"state": "~nobody-here/a"}}, "`live.state`: there is no home folder"),
        ({"windows": {"shards": True}}, "`windows.shards` is True: "),
        ({"feed": {"sinks": []}}, "`feed.sinks` is empty: name at least one of kafka, online"),
        ({"api": {"host": "not a host"}}, "`api.host` is 'not a host', on which this machine"),
        ({"api": {"host": "192.0.2.1"}}, "cannot listen (Cannot assign requested address)"),
        ({"api": {"host": "ü" * 64}}, "cannot listen (it is no name of a host)"),
        ({"online": {"store": "/dev/null/x.sqlite"}}, "/dev/null is a file: name a folder"),
    ],
)
def test_a_value_that_is_none_is_a_problem(check: Check, change: dict[str, Any], said: str) -> None:
    one(check(**change), said)


def test_what_a_server_and_a_feed_need_is_opened(check: Check, tmp_path: Path) -> None:
    tokens, secret, store = (tmp_path / name for name in ("tokens.json", "secret", "on.sqlite"))
    add_token(tokens, "me", "analyst", timedelta(days=1))
    secret.touch(mode=0o600)
    secret.write_text("a secret of 24 characters")
    place = "https://recommender.example/hooks/"
    webhook = {"url": place, "allowed": [place], "secret_file": str(secret)}
    named = {
        "online": {"store": str(store)},
        "api": {"tokens": str(tokens)},
        "feed": {"webhook": webhook},
    }
    assert check(**named) == []
    assert not store.exists()
    open_online(Online(store=str(store))).close()
    assert check(**named) == []
    store.write_text("no database")
    one(check(**named), "`online.store` is", "is no sqlite database")
    store.unlink()
    store.mkdir()
    one(check(**named), "`online.store` is", "is no file: name a file, or redis://")
    store.rmdir()
    for file in (tokens, secret):
        file.chmod(0o640)
        one(check(**named), f"others may read {file}", f"chmod 600 {file}")
        file.chmod(0o600)
    tokens.write_text("[")
    one(check(**named), f"{tokens} is not a file of tokens")
    tokens.unlink()
    os.mkfifo(tokens, 0o600)
    one(check(**named), f"{tokens} is not a file of tokens")


def test_embeddings_are_for_purposes_that_the_policy_has(check: Check) -> None:
    assert check(landing={"embeddings_for": ["research"]}) == []
    one(check(landing={"embeddings_for": ["reserch"]}), "embeddings_for", "did you mean `research`")


def test_a_store_that_does_not_answer_is_a_problem(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    one(check(tables="s3://bucket/tables"), "under s3://bucket/tables cannot be read", "9/bucket")


def test_without_a_log_what_a_live_job_needs_is_opened(check: Check, tmp_path: Path) -> None:
    jars, state = tmp_path / "jars", tmp_path / "file" / "state"
    jars.mkdir()
    (jars / "jobserver.jar").write_bytes(b"cut off")
    (tmp_path / "file").write_text("")
    found = check(log=None, live={"jars": str(jars), "state": str(state)})
    wanted = [
        f"{jars} has no expansion.jar: run `make flink`",
        f"{jars / 'jobserver.jar'} is not a whole jar: run `make flink` again",
        f"`live.state` is {state}, but {tmp_path / 'file'} is a file: name a folder",
    ]
    assert [problem for problem in found if "java is missing" not in problem] == wanted


def test_the_check_loads_neither_beam_nor_torch(tmp_path: Path, log: Path) -> None:
    write_keys(tmp_path / "keys.yaml")
    path = tmp_path / "config.yaml"
    path.write_text(f"log: {log}\ntables: {tmp_path / 'tables'}\nkeys: {tmp_path / 'keys.yaml'}\n")
    code = (
        "import sys; from pathlib import Path; from pipelines.run.config_check import find_problems"
        f"; print(find_problems(Path({str(path)!r})), "
        "{'apache_beam', 'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] set()"
