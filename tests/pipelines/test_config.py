import ast
import json
import os
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from pydantic import ValidationError
from rich.console import Console

from model_serving.fusion import load_fusion
from model_serving.loader import load_recogniser
from pipelines.affect import build_pipeline
from pipelines.config import WEIGHTS, Config, load_config, load_kafka
from pipelines.run.replay import replay
from pipelines.sessionlogs.bench_log import write_bench_log
from schemas.errors import AffectstreamError
from schemas.modalities import MODALITIES
from schemas.vocabularies import EXPRESSIONS
from transforms.land import LandTable

ROOT = Path(__file__).resolve().parents[2]
PATHS = {"log": "log", "tables": "tables", "keys": "keys.yaml"}


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("log: a\ntables: b\nkeys: c\nwindows: {length_s: 2}\n")
    config = load_config(path, tables=Path("other"), log=None)
    assert (config.log, config.tables, config.windows.length_s) == (Path("a"), "other", 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("log: a\nkeys: c", "`tables` is missing"),
        (
            "log: a\ntables: b\nkeys: c\nwindow: {}",
            "`window` is not a setting: did you mean `windows`",
        ),
        ("log: a\ntables: b\nkeys: c\nwindows: {length_s: 0}", "`windows.length_s` is 0: input"),
        ("tables: b\nkeys: c\nlength_s: 3", "not a setting: did you mean `windows.length_s`"),
        ("tables: b\nkeys: c\nkafka: {delay: 3}", "`kafka.delay` .* mean `kafka.delay_s`"),
        ("tables: b\nkeys: c\nkafka.delay_s: 3", "write `delay_s` below `kafka:`"),
        ("tables: b\nkeys: c\nxyz: 3", "remove it; `affectstream config --explain`"),
        ("tables: b\nkeys: c\nkafka: 3", "`kafka` is 3: "),
        ("tables: b\nkeys: c\nkafka: {username: me}", "`kafka`: `username` and `password_file`"),
        ("tables: b\nkeys: c\nkeys: d", "`keys` stands twice"),
        ("tables: b\nkeys: c\ndecisions: {forget_s: 4}", "less than `windows.length_s`"),
        (
            "tables: b\nkeys: c\ndecisions: {hold_s: 60, valid_s: 4}",
            r"`decisions`: hold_s \(60\) is above valid_s, .*: lower it",
        ),
        ("tables: b\nkeys: c\ndecisions: {valid_s: 5}", r"hold_s \(10\) is above valid_s"),
        (
            "tables: b\nkeys: c\nmodels: {text: {model: constant, card: c.json}}",
            "`models.text.card` is given, but",
        ),
        ("[1, 2]", "not a configuration"),
        ('tables: ""\nkeys: c', "`tables`: an empty text is no value"),
        ('tables: b\nkeys: ""', "`keys`: an empty text is no value"),
        ('tables: b\nkeys: c\nlog: ""', "`log`: an empty text is no value"),
        ('tables: b\nkeys: c\npolicy: " "', "`policy`: an empty text is no value"),
        ('tables: b\nkeys: c\nscenarios: ""', "`scenarios`: an empty text is no value"),
        (
            'tables: b\nkeys: c\nmodels: {text: {model: ""}, fusion: ""}',
            "`models.text.model`: an empty .*`models.fusion`: an empty",
        ),
        ('tables: b\nkeys: c\nlive: {state: ""}', "`live.state`: an empty text is no value"),
        ('tables: "a\\0b"\nkeys: c', "`tables`: a text with a NUL"),
        ('tables: b\nkeys: "a\\0b"', "`keys`: a text with a NUL"),
        (f"tables: {'a' * 300}\nkeys: c", "`tables`: the path is too long"),
        (f"tables: b\nkeys: k/{'ä' * 128}/c", "`keys`: the path is too long"),
        (f"tables: {'abc/' * 1200}\nkeys: c", "`tables`: the path is too long"),
        ("tables: ~nobody-here/b\nkeys: c", "`tables`: there is no home folder for ~nobody-here"),
        ("tables: b\nkeys: ~nobody-here/c", "`keys`: there is no home folder for ~nobody-here"),
        ("tables: b\nkeys: c\nwindows: {length_s: yes}", "`windows.length_s` is True: input"),
        ("tables: b\nkeys: c\nwindows: {length_s: 1:30}", "`windows.length_s` is '1:30': input"),
        ("tables: b\nkeys: c\nwindows: {shards: 010}", "`windows.shards` is '010': input"),
        ("tables: b\nkeys: c\nwindows: {shards: off}", "`windows.shards` is False: input"),
        (f"tables: b\nkeys: c\nwindows: {{length_s: {'9' * 4000}}}", "`windows.length_s`"),
        ("a: [", "cannot read"),
        ("tables: b\nkeys: c\nwindows: {shards: " + "9" * 5000 + "}", "cannot read .*4300 digits"),
        ("tables: " + "[" * 2000, "cannot read .* nested too deeply"),
    ],
)
def test_what_is_wrong_names_the_field(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(AffectstreamError, match=said):
        load_config(path)


def test_a_home_folder_is_expanded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    path = tmp_path / "c.yaml"
    path.write_text(
        "log: ~/log\ntables: ~/tables\nkeys: ~/keys\nlive: {state: ~/state}\n"
        "models: {text: {model: ~/text, card: ~/card}, fusion: ~/fusion}\n"
        "kafka: {ca_file: ~/ca, group: ~/group}\n"
    )
    config = load_config(path)
    assert config.tables == "/home/me/tables"
    assert load_config(path, tables="~/b").tables == "/home/me/b"
    assert load_config(path, tables="s3://bucket/~/b").tables == "s3://bucket/~/b"
    assert (config.log, config.keys) == (Path("/home/me/log"), Path("/home/me/keys"))
    assert config.live.state == Path("/home/me/state")
    assert (config.models.text.model, config.models.text.card) == (
        "/home/me/text", "/home/me/card"
    )  # fmt: skip
    assert config.models.fusion == Path("/home/me/fusion")
    assert (config.kafka.ca_file, config.kafka.group) == (Path("/home/me/ca"), "~/group")


def test_an_empty_flag_is_refused() -> None:
    with pytest.raises(AffectstreamError, match="`tables`: an empty text is no value"):
        load_config(None, **PATHS | {"tables": ""})


def test_a_configuration_that_is_a_fifo_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.yaml")
    with pytest.raises(AffectstreamError, match=r"cannot read .*no regular file"):
        load_config(tmp_path / "c.yaml")


def test_it_is_frozen_and_its_fingerprint_follows_what_matters() -> None:
    config = load_config(None, **PATHS)
    with pytest.raises(ValidationError):
        config.keys = Path("other")
    assert config.fingerprint == load_config(None, **PATHS | {"log": "other"}).fingerprint
    other = load_config(None, **PATHS, windows={"length_s": 7})
    assert config.fingerprint != other.fingerprint


def test_a_recogniser_that_is_not_named_is_the_shipped_one() -> None:
    models = load_config(None, **PATHS, models={"face": {"device": "cuda:1"}}).models
    assert models.face.device == "cuda:1"
    assert models.face.model == load_config(None, **PATHS).models.face.model


def test_licence_open_refuses_research_weights(tmp_path: Path) -> None:
    with pytest.raises(AffectstreamError, match=r"licence: open.*face \(face-compact@"):
        load_config(None, **PATHS, licence="open")
    for modality in ("text", "voice", "face", "motion", "fusion"):
        card = {"name": modality, "version": "1", "modality": modality, "licence": "open"}
        (tmp_path / modality).mkdir()
        labels = {"labels": {"joy": "joy"}}
        (tmp_path / modality / "card.json").write_text(json.dumps(card | labels))
    models = {m: {"model": str(tmp_path / m)} for m in ("text", "voice", "face", "motion")}
    mine = models | {"fusion": tmp_path / "fusion"}
    assert load_config(None, **PATHS, licence="open", models=mine).licence == "open"
    closed = mine | {"text": {"model": str(tmp_path / "text"), "card": str(tmp_path / "c.json")}}
    (tmp_path / "c.json").write_text(
        json.dumps({"name": "x", "version": "1", "modality": "text", "licence": "research",
                    "labels": {"joy": "joy"}})
    )  # fmt: skip
    with pytest.raises(AffectstreamError, match=r"text \(x@1\)"):
        load_config(None, **PATHS, licence="open", models=closed)
    constant = {m: {"model": "constant"} for m in ("text", "voice", "face", "motion")}
    kept = constant | {"fusion": tmp_path / "fusion"}
    assert load_config(None, **PATHS, licence="open", models=kept).licence == "open"


def test_the_open_example_reads_and_fuses_with_open_weights_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    models = load_config(ROOT / "examples" / "open_licence.yaml", **PATHS).models
    text = load_recogniser("text", models.text.model, None, "cpu")
    assert text.model_id.startswith("text-compact-open@")
    lines = ["I am so happy, thank you!", "今天好开心，谢谢你！"]
    scores = text.estimate(pa.record_batch({"text": pa.array(lines)})).scores
    assert [EXPRESSIONS[i] for i in scores.argmax(axis=1)] == ["joy", "joy"]
    counts = np.array([[1, 0, 0, 0], [1, 0, 0, 2]])
    given = np.stack([scores, scores, scores, scores[::-1]], axis=1)
    fused = load_fusion(models.fusion).fuse(counts, given, given.max(axis=2))
    assert fused.scores[0] == pytest.approx(scores[0], abs=1e-4)  # alone it stays as it is
    mean = np.sqrt(scores[0] * scores[1])
    assert fused.scores[1] == pytest.approx(mean / mean.sum(), abs=1e-3)


def test_all_weights_together_stay_under_60_mb() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 60e6


def test_a_replay_without_a_log_says_so(tmp_path: Path) -> None:
    config = load_config(None, tables=tmp_path, keys=tmp_path / "keys.yaml")
    with pytest.raises(AffectstreamError, match="`log` is missing"):
        replay(config, Console(quiet=True))


def test_flags_of_a_section_leave_the_rest_of_it(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("tables: b\nkeys: c\nkafka: {group: g, idle_s: 9}")
    kafka = load_config(path, kafka={"bootstrap": "h:1"}).kafka
    assert (kafka.bootstrap, kafka.group, kafka.idle_s) == ("h:1", "g", 9)
    assert load_kafka(path, bootstrap="h:2").bootstrap == "h:2"


def test_where_a_run_stands_is_no_part_of_its_fingerprint(tmp_path: Path) -> None:
    one = load_config(None, log="a", tables="b", keys="c")
    other = load_config(None, tables="d", keys="c", kafka={"group": "g"}, live={"parallelism": 3})
    assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize("lateness_s", [0, 60, 900])
def test_writers_remember_as_far_back_as_late_events_may_come(
    tmp_path: Path, keys: Path, lateness_s: float
) -> None:
    log = write_bench_log(tmp_path / "log", 10, subjects=2, rate=50).folder
    windows = {"lateness_s": lateness_s, "length_s": 7}
    config = load_config(
        None, log=log, tables=tmp_path, keys=keys, windows=windows, kafka={"delay_s": 4}
    )
    p = beam.Pipeline(runner=FnApiRunner())
    build_pipeline(p, config)
    remembered = _Writers()
    p.visit(remembered)
    assert len(remembered.seconds) == 7
    assert set(remembered.seconds) == {lateness_s + 7 + 4 + 8}


class _Writers(PipelineVisitor):
    def __init__(self) -> None:
        self.seconds: list[float] = []

    def enter_composite_transform(self, transform_node: AppliedPTransform) -> None:
        if isinstance(transform_node.transform, LandTable):
            self.seconds.append(transform_node.transform.remember_s)


def test_a_flag_of_a_section_that_is_none_does_not_hide_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("tables: b\nkeys: c\nkafka: [1]")
    with pytest.raises(AffectstreamError, match="`kafka`: input should be a valid dictionary"):
        load_config(path, kafka={"bootstrap": "h:1"})
    with pytest.raises(AffectstreamError, match="`kafka`: input should be a valid dictionary"):
        load_kafka(path, bootstrap="h:1")
    path.write_text("kafka: {bootstap: h}")
    with pytest.raises(AffectstreamError, match=r"`kafka.bootstap` .* `kafka.bootstrap`"):
        load_kafka(path)


def test_the_fingerprint_of_a_run_stays_what_it_was() -> None:
    """The ids of the `runs` table hold it: another order of settings would count a run anew."""
    models = {name: {"model": name} for name in MODALITIES} | {"fusion": "f"}
    paths = {"policy": "p.yaml", "scenarios": "s.yaml", "log": "l", "tables": "t", "keys": "k"}
    config = Config.model_validate(paths | {"models": models})
    assert config.fingerprint == "1b877f786c886c174708a1208f1e2a64"


SETTINGS_OF_OTHERS = {
    ("pipelines/live/driver.py", "VARIABLE"),  # as the worker
    ("pipelines/live/worker.py", "VARIABLE"),  # a socket, by which the supervisor's child finds it
    ("model_serving/training/harness.py", "'RANK'"),  # how torchrun tells its processes who is who
    ("model_serving/training/harness.py", "'WORLD_SIZE'"),
}


def test_no_variable_of_the_environment_is_read_below_the_command_line() -> None:
    found = set()
    for room in ("pipelines", "transforms", "schemas", "model_serving"):
        for path in (ROOT / room).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith("pipelines/cli/"):
                tree = ast.parse(path.read_text(encoding="utf-8"))
                found |= {(name, read) for node in ast.walk(tree) if (read := _variable(node))}
    assert found <= SETTINGS_OF_OTHERS
    sample = ast.parse("os.environ['A']; os.environ.get('B'); os.getenv('C'); os.environ['D'] = 1")
    assert [_variable(node) for node in ast.walk(sample) if _variable(node)] == [
        "'A'", "'B'", "'C'"
    ]  # fmt: skip


def _variable(node: ast.AST) -> str | None:
    """Return the variable of the environment that this expression reads."""
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        return ast.unparse(node.slice) if ast.unparse(node.value).endswith("environ") else None
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("environ.get", "getenv")):
        return ast.unparse(node.args[0])
    return None
