"""The commands as a person runs them, in a process of their own."""

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.served import feature, land
from transforms.landing.prepare import prepare_tables

COMMAND = Path(sys.executable).with_name("affectstream")


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd
    )


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cli")
    assert run("sessionlog", root / "session").returncode == 0
    assert run("config", "--new-keys", root / "keys.yaml").returncode == 0
    return root


def test_replay_query_and_show(session: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    constant = "\n".join(f"  {m}: {{model: constant}}" for m in ("text", "voice", "face", "motion"))
    config.write_text(f"keys: {session / 'keys.yaml'}\nmodels:\n{constant}\n")
    tables = tmp_path / "tables"
    done = run("replay", session / "session" / "log", "--tables", tables, "--config", config)
    assert done.returncode == 0, done.stderr
    assert "records" in done.stderr
    counted = "SELECT count(*) AS n FROM emotion_features"
    out = run("query", counted, "--tables", tables, "--format", "json")
    assert json.loads(out.stdout)[0]["n"] > 0
    shown = run(
        "show",
        "--tables",
        tables,
        "--truth",
        session / "session" / "truth.parquet",
        "--keys",
        session / "keys.yaml",
    )
    assert shown.returncode == 0, shown.stderr
    assert "minor_biometric" in shown.stdout


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"log": "nowhere"}, "not a recorded log"),
        ({"keys": "nowhere.yaml"}, "no key file"),
        ({"tables": "keys.yaml/sub"}, "cannot write tables"),
        ({"config": "models: {text: {model: empty}}"}, "card"),
        ({"config": "models: {face: {device: cuda:7}}"}, "cuda"),
    ],
)
def test_a_broken_world_is_one_sentence(
    session: Path, tmp_path: Path, change: dict[str, str], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copy(session / "keys.yaml", tmp_path)
    config = tmp_path / "config.yaml"
    config.write_text(change.get("config", ""))
    log = change.get("log", session / "session" / "log")
    paths = {"tables": "tables", "keys": "keys.yaml"} | change
    done = run(
        "replay", log, "--tables", paths["tables"], "--keys", paths["keys"], "--config", config,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "tables").exists()


def test_config_check(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("log: a\ntables: b\nkeys: c\nwindowing: 3\n")
    done = run("config", "--check", path)
    assert done.returncode == 1
    assert "`windowing` is not a setting: did you mean `windows`?" in done.stderr


def test_config_check_says_all_that_is_wrong_and_writes_nothing(
    session: Path, tmp_path: Path
) -> None:
    path = tmp_path / "config.yaml"
    models = "{text: {model: build/mine}, voice: {model: build/other}}"
    path.write_text(f"log: nowhere\ntables: b\nkeys: {session / 'keys.yaml'}\nmodels: {models}")
    done = run("config", "--check", path, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert [line.partition(": ")[0] for line in done.stderr.splitlines()] == ["error"] * 3
    for said in ("nowhere is not a recorded log", "`models.text.model`", "`models.voice.model`"):
        assert said in done.stderr
    path.write_text(f"log: {session / 'session' / 'log'}\ntables: b\nkeys: {session}/keys.yaml\n")
    sound = run("config", "--check", path, cwd=tmp_path)
    assert (sound.returncode, sound.stderr) == (0, "")
    assert "length_s: 5.0" in sound.stdout
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize(
    "given", [["--check", "c.yaml", "--explain"], ["--explain", "--new-keys", "new.yaml"]]
)
def test_config_does_one_thing_at_a_time(tmp_path: Path, given: list[str]) -> None:
    done = run("config", *given, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "done one at a time: give one of them" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["tables: " + "[" * 2000, "tables: " + "9" * 5000, 'tables: "a\\0b"\nkeys: c']
)
@pytest.mark.parametrize("command", [["config", "--check"], ["replay", "--config"]])
def test_a_hostile_configuration_is_told_in_sentences(
    tmp_path: Path, text: str, command: list[str]
) -> None:
    (tmp_path / "c.yaml").write_text(text)
    done = run(*command, "c.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert {line.partition(": ")[0] for line in done.stderr.splitlines()} == {"error"}


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("landed")
    prepare_tables(root)
    for window in range(2):
        land(root, "emotion_features", feature("a", window))
    return root


def test_query_reads_the_past_and_what_changed(landed: Path) -> None:
    counted = "SELECT count(*) AS n FROM emotion_features"
    json_of = ("--tables", landed, "--format", "json")
    for asked, rows in (
        (("--as-of", "emotion_features=3"), 1),
        (("--as-of", 3), 1),
        (("--as-of", datetime.now(UTC).isoformat()), 2),
        (("--changes-since", 3), 1),
        (("--changes-since", "emotion_features=2", "--as-of", "emotion_features=4"), 2),
    ):
        done = run("query", counted, *asked, *json_of)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == [{"n": rows}], asked


def test_describe_prints_the_dictionary_as_json_and_as_a_page(landed: Path) -> None:
    entries = json.loads(run("describe", "--format", "json", "--tables", landed).stdout)
    assert {"emotion_features", "latest"} <= {entry["name"] for entry in entries}
    page = run("describe", "latest", "--tables", landed)
    assert page.returncode == 0
    assert "calibrated probability of joy" in page.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["query", "SELECT 1 FROM runs", "--as-of", "soon"], "neither a version nor a time"),
        (["query", "SELECT 1 FROM runs", "--as-of", "99"], "as of version 99: it has the versions"),
        (["query", "SELECT 1 FROM runs", "--as-of", "2020-01-01"], "ask for one of these or a"),
        (["query", "SELECT 1 FROM runs", "--changes-since", "-1"], "-1 is no version"),
        (["query", "SELECT 1", "--as-of", "a=1", "--as-of", "2"], "--as-of TABLE=2"),
        (["query", "SELECT * FROM latets"], "views: expressions, latest"),
        (["describe", "latets"], "there is no table or view latets"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(
    landed: Path, arguments: list[str], said: str
) -> None:
    done = run(*arguments, "--tables", landed)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize("command", [["replay", "log"], ["query", "SELECT 1"], ["tables"]])
def test_an_empty_place_of_tables_is_refused(command: list[str]) -> None:
    done = run(*command, "--tables", "")
    assert done.returncode == 1
    assert done.stderr == (
        "error: --tables: an empty text is no value: give one, or leave the setting out\n"
    )


def test_tables_below_the_home_folder_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    prepare_tables(tmp_path / "tables")
    done = run("query", "SELECT count(*) AS n FROM expression_decisions", "--tables=~/tables")
    assert done.returncode == 0, done.stderr


def test_the_version_is_that_of_the_package() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"affectstream {version('affectstream')}\n")


def test_config_explain() -> None:
    shown = run("config", "--explain")
    assert shown.returncode == 0
    assert "kafka.clock_offset_s" in shown.stdout
    page = run("config", "--explain", "--markdown")
    assert "| `kafka.clock_offset_s`" in page.stdout


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["quer"], "Did you mean 'query'?"),
        (["topics", "creat"], "Did you mean 'create'?"),
        (["query", "SELECT 1", "--tabels", "x"], "--tables"),
    ],
)
def test_a_typo_suggests_what_was_meant(typed: list[str], meant: str) -> None:
    done = run(*typed)
    assert done.returncode == 2
    assert meant in done.stderr


HELP = """
import sys
sys.argv = ["affectstream", "--help"]
from pipelines.cli.main import main
try:
    main()
finally:
    print("heavy:", *sorted({"torch", "apache_beam", "pandas", "pyarrow"} & set(sys.modules)))
"""


def test_help_loads_no_heavy_library() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    for command in ("demo", "replay", "live", "topics", "query", "train", "config"):
        assert f" {command} " in done.stdout
    assert done.stdout.splitlines()[-1] == "heavy:"


def test_training_refuses_research_corpora_under_an_open_licence(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "{name: mine, modality: text, licence: open, corpora: {GoEmotions: 1, MELD: 1}}"
    )
    done = run("train", "text", "--data", tmp_path, "--recipe", recipe)
    assert done.returncode == 1
    assert "MELD may be used for research only" in " ".join(done.stderr.split())
    lost = run("train", "text", "--data", tmp_path, "--recipe", "nonsense")
    assert lost.returncode == 1
    assert "text-compact" in lost.stderr
