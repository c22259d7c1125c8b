"""What the project is meant to grow by, added to a copy and run: each counts what it touched."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import load_config
from pipelines.run.replay import replay
from schemas.arkit import BLENDSHAPES, EXPRESSION_WEIGHTS
from schemas.vocabularies import EXPRESSIONS
from tests.growth.checkout import Checkout
from tests.support.live_runs import CONSTANT, QUIET, table
from tests.support.records import raw, record

GAZE = (Path(__file__).parent / "gaze_front_end.py.txt").read_text()
GRANTED = {
    "granted": True,
    "purposes": ["avatar_mirroring", "show_to_others"],
    "modalities": ["text", "motion"],
}

ALLOWED = {"reason": "its groups do not matter here", "by": "a test", "until": "2099-01-01"}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")


def write_log(folder: Path, *rows: dict) -> Path:
    log = folder / "log"
    log.mkdir()
    pq.write_table(pa.Table.from_batches([raw(*rows)]), log / "part-0.parquet")
    return log


def settings(folder: Path, log: Path, keys: Path) -> str:
    """The call of ``load_config`` for a replay of this log, as text."""
    given = {"log": str(log), "tables": str(folder / "tables"), "keys": str(keys)}
    return f"load_config(None, models={CONSTANT!r}, **{given!r})"


REPLAY = """
import json, sys
from rich.console import Console
from pipelines.config import load_config
from pipelines.run.replay import replay
from pipelines.tables.query import query, tables
config = {settings}
{before}
replay(config, Console(quiet=True))
{after}
"""


def a_person_writes(*, number: int = 2) -> list[dict]:
    return [record("consent", 0, GRANTED), record("text", number, {"text": "I see", "lang": "en"})]


def test_a_table_touches_two_files(checkout: Checkout, tmp_path: Path, keys: Path) -> None:
    checkout.edit(
        "schemas/tables.py",
        (
            "TABLES: Mapping[str, Table] = ",
            """WINDOW_SIZES = pa.schema(
    [
        column("window_id", pa.string(), "row id: the window"),
        column("window_start", TIME, "start of the window, UTC"),
        column("events", pa.int32(), "events in it"),
        _DATE,
    ]
)

TABLES: Mapping[str, Table] = """,
        ),
        (
            '            Table(\n                name="runs",',
            """            Table(
                name="window_sizes",
                description="how many events a window has",
                schema=WINDOW_SIZES,
                owner="operations",
                retention_days=30,
                retention_reason="sizes are needed for a month",
                time="window_start",
            ),
            Table(
                name="runs",""",
        ),
    )
    checkout.edit(
        "pipelines/affect.py",
        (
            '    rows["emotion_features"].append(features[MAIN])\n',
            """    rows["emotion_features"].append(features[MAIN])
    rows["window_sizes"].append(features[MAIN] | "Sizes" >> beam.Map(_sizes))
""",
        ),
        (
            "def _source(",
            """def _sizes(features: pa.RecordBatch) -> pa.RecordBatch:
    names = ["window_id", "window_start", "revision", "event_date"]
    return features.select(names).rename_columns([*names[:2], "events", names[3]])


def _source(""",
        ),
    )
    log = write_log(tmp_path, *a_person_writes())
    found = checkout.run(
        REPLAY.format(
            settings=settings(tmp_path, log, keys),
            before="",
            after="print(json.dumps([query(config.tables, 'SELECT events FROM window_sizes')"
            ".to_pylist(), tables(config.tables)]))",
        )
    )
    assert found[0] == [{"events": 1}]
    assert found[1]["window_sizes"] == 1
    assert len(checkout.touched) == 2


def test_a_sink_touches_one_file(checkout: Checkout, tmp_path: Path, keys: Path) -> None:
    checkout.edit(
        "pipelines/sinks.py",
        (
            "SINKS: tuple[Sink, ...] = (delta,)",
            '''def lines(table: Table, config: Config) -> beam.PTransform | None:
    """Write the actions of decisions as lines of text beside the tables."""
    if table.name != "expression_decisions":
        return None
    def write(rows: object) -> None:
        with open(f"{config.tables}/actions.txt", "a") as file:
            file.writelines(f"{action}\\n" for action in rows["action"].to_pylist())
    return "Lines" >> beam.Map(write)


SINKS: tuple[Sink, ...] = (delta, lines)''',
        ),
    )
    log = write_log(tmp_path, *a_person_writes())
    found = checkout.run(
        REPLAY.format(
            settings=settings(tmp_path, log, keys),
            before="",
            after="print(json.dumps([open(f'{config.tables}/actions.txt').read().split(), "
            "tables(config.tables)]))",
        )
    )
    assert found[0] == ["hold"]
    assert found[1]["expression_decisions"] == 1, "and Delta has them too"
    assert len(checkout.touched) == 1


SCENARIOS = """
version: rooms-1
high_stakes: []
judged_as: {escape-room: game}
actions: {dim_lights: changes_scene_for_person}
scenarios:
  escape-room:
    fear: {action: dim_lights, after: 9, at_once: {door: opened}}
"""


def test_a_scenario_with_a_context_field_of_its_own_is_one_file(tmp_path: Path, keys: Path) -> None:
    (tmp_path / "scenarios.yaml").write_text(SCENARIOS)
    fear = EXPRESSION_WEIGHTS[EXPRESSIONS.index("fear")].tolist()
    frame = {"weights": dict(zip(BLENDSHAPES, fear, strict=True)), "head": {}}
    room = {"scenario": "escape-room"}
    log = write_log(
        tmp_path,
        record("consent", 0, GRANTED),
        record("motion", 1, frame, **room),
        record("motion", 6, frame, **room),
        record("context", 7, {"door": "opened"}, **room),
    )
    config = load_config(
        None,
        log=log,
        tables=tmp_path / "tables",
        keys=keys,
        scenarios=tmp_path / "scenarios.yaml",
        models={name: its for name, its in CONSTANT.items() if name != "motion"},
    )
    replay(config, QUIET)
    assert not len(table(config.tables, "refusals"))
    rows = table(config.tables, "expression_decisions").sort_by("window_end").to_pylist()
    assert [(row["scenario"], row["expression"], row["action"]) for row in rows] == [
        ("escape-room", "fear", "mirror"),
        ("escape-room", "fear", "dim_lights"),
    ]


def add_gaze(checkout: Checkout) -> None:
    checkout.edit(
        "schemas/modalities.py",
        (
            '            Modality(\n                name="motion",',
            """            Modality(
                name="gaze",
                topic="session.gaze",
                columns=(("openness", pa.float64()),),
                biometric=True,
            ),
            Modality(
                name="motion",""",
        ),
    )
    checkout.edit(
        "pipelines/config.py",
        (
            '    motion: ModelSettings = _shipped("motion-compact")\n',
            """    motion: ModelSettings = _shipped("motion-compact")
    gaze: ModelSettings = _shipped("gaze-compact")
""",
        ),
    )
    checkout.add("model_serving/gaze/__init__.py", '"""The gaze recogniser."""\n')
    checkout.add("model_serving/gaze/front_end.py", GAZE)
    checkout.edit(
        "model_serving/loader.py",
        (
            "from model_serving.labels import",
            "from model_serving.gaze import front_end as gaze\nfrom model_serving.labels import",
        ),
        (
            "_MODALITIES = {\n",
            "_MODALITIES = {\n"
            '    "gaze": _Modality(gaze.NET_CLASS, gaze.load_front_end, gaze.probe),\n',
        ),
    )
    checkout.edit(
        "schemas/policies/gate.yaml",
        (
            "modalities: [text, voice, face, motion, context]\n\nrules:",
            "modalities: [text, voice, face, motion, gaze, context]\n\nrules:",
        ),
        (
            "    modalities: [text, voice, face, motion, context]\n",
            "    modalities: [text, voice, face, motion, gaze, context]\n",
        ),
    )
    for path, old in (
        ("observations", '"motion"'),
        ("refusals", '"motion"'),
        ("consent_ledger", '"motion"'),
    ):
        checkout.edit(
            f"schemas/expectations/tables/{path}.json", (old, f'{old},\n          "gaze"')
        )
    suite = json.loads((checkout.folder / "schemas/expectations/events/text.json").read_text())
    suite["name"] = "events.gaze"
    suite["expectations"] = [
        entry
        for entry in suite["expectations"]
        if entry["kwargs"].get("column") not in ("text", "lang", "event_type")
    ]
    between = {"column": "openness", "min_value": 0, "max_value": 1}
    suite["expectations"].append(
        {"type": "expect_column_values_to_be_between", "kwargs": between, "meta": {}}
    )
    checkout.add("schemas/expectations/events/gaze.json", json.dumps(suite))
    schema = (checkout.folder / "schemas/json/text.v1.schema.json").read_text()
    checkout.add("schemas/json/gaze.v1.schema.json", schema.replace("text", "gaze"))


MODEL = """
from pathlib import Path
import torch
from model_serving.card import Calibration, ModelCard, write_card
from model_serving.gaze.front_end import GazeConfig, GazeLinear
labels = {{0: "wide", 1: "narrow"}}
net = GazeLinear(GazeConfig(num_labels=2, id2label=labels, label2id={{"wide": 0, "narrow": 1}}))
with torch.no_grad():
    net.classifier.weight[:] = torch.tensor([[8.0], [-8.0]])
    net.classifier.bias[:] = torch.tensor([-4.0, 4.0])
net.save_pretrained("gaze")
write_card(Path("gaze"), ModelCard(
    name="gaze", version="1", modality="gaze", licence="open",
    labels={{"wide": "surprise", "narrow": "anger"}},
))
"""


def test_a_modality_with_its_recogniser_touches_twelve_files(
    checkout: Checkout, tmp_path: Path, keys: Path
) -> None:
    add_gaze(checkout)
    granted = GRANTED | {"modalities": ["text", "gaze"]}
    gaze = record("text", 3, {"openness": 0.9}, id="gaze-3", type="session.gaze.v1")
    child = record("text", 3, {"openness": 0.9}, id="gaze-4", type="session.gaze.v1",
                   ageband="child", subject="alice")  # fmt: skip
    wrong = record("text", 3, {"openness": 7}, id="gaze-5", type="session.gaze.v1")
    rows = [each | {"topic": "session.gaze", "offset": n}
            for n, each in enumerate((gaze, child, wrong))]  # fmt: skip
    log = write_log(
        tmp_path,
        record("consent", 0, granted),
        record("text", 2, {"text": "I see", "lang": "en"}),
        *rows,
    )
    found = checkout.run(
        REPLAY.format(
            settings=settings(tmp_path, log, keys),
            before=MODEL.format()
            + "config = load_config(None, log=config.log, tables=config.tables, keys=config.keys, "
            "models={**{name: {'model': 'constant'} for name in ('text', 'voice', 'face', "
            f"'motion')}}, 'gaze': {{'model': 'gaze'}}, 'exceptions': {{'gaze': {ALLOWED!r}}}}})",
            after="""
from pipelines.tables.check import check_tables
print(json.dumps([
    query(config.tables, "SELECT modality, expression FROM observations ORDER BY 1").to_pylist(),
    query(config.tables, "SELECT n_gaze, n_text FROM emotion_features").to_pylist(),
    query(config.tables, "SELECT code FROM refusals").to_pylist(),
    query(config.tables, "SELECT detail FROM dead_letters").to_pylist(),
    [verdict.table for verdict in check_tables(config.tables, None) if not verdict.ok],
]))""",
        )
    )
    observed, windows, refused, dead, failed = found
    assert observed[0] == {"modality": "gaze", "expression": "surprise"}
    assert windows == [{"n_gaze": 1, "n_text": 1}]
    assert refused == [{"code": "minor_biometric"}], "as biometric it needs no rule of its own"
    assert dead == [{"detail": "`openness` is not 0 to 1"}]
    assert failed == []
    assert len(checkout.touched) <= 12, checkout.touched
