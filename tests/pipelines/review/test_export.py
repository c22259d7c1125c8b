"""Labels for training: of whoever consented to it, as far as the law lets them, and of nobody else.

Whole runs, with recognisers that tell nothing: so every window of support waits for a reviewer.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from typer.testing import CliRunner

from pipelines.access.audit import hash_of, read_entries
from pipelines.access.settings import Access
from pipelines.cli.main import app
from pipelines.config import Config, load_config
from pipelines.govern.erasure.erase import Request, erase
from pipelines.review.export import LABELS, export_labels
from pipelines.review.label import store_review
from pipelines.run.replay import replay
from schemas.errors import AffectstreamError
from schemas.keys import read_keys
from schemas.modalities import MODALITIES
from tests.support.live_runs import CONSTANT, QUIET, table
from tests.support.records import period, record, write_key_file, write_log
from tests.support.secret_scan import that_hold
from transforms.pseudonymise import Pseudonyms

BOTH = ["avatar_mirroring", "training"]
PEOPLE = ("ann", "bob", "cem", "dee", "tia")
"""Who consented to training, who did not, who withdrew it, who did not name what may be trained on,
and who is a teenager and consented."""


def consent(
    who: str,
    second: float,
    *purposes: str,
    granted: bool = True,
    modality: str = "text",
    **more: Any,
) -> Any:
    given = {"granted": granted, "purposes": list(purposes), "modalities": [modality]}
    said = {"id": f"{who}-{second}-{granted}"} | more
    return record("consent", int(second), given, subject=who, **said)


def texts(who: str, *seconds: int, **more: Any) -> list[Any]:
    said = {"subject": who, "sessionid": f"{who}-1", "scenario": "support"} | more
    payload = {"text": "well", "lang": "en"}
    return [record("text", at, payload, id=f"{who}-{at}", **said) for at in seconds]


@pytest.fixture
def config(tmp_path: Path, keys: Path) -> Config:
    rows = [
        consent("ann", 0, *BOTH), consent("bob", 0, BOTH[0]), consent("cem", 0, *BOTH),
        consent("dee", 0, *BOTH, modality="*"), consent("tia", 0, *BOTH, ageband="teen"),
        *(row for who in PEOPLE[:4] for row in texts(who, 1, 2, 6)),
        *texts("tia", 1, 6, ageband="teen"),
        consent("cem", 9, "training", granted=False),
    ]  # fmt: skip
    return run(tmp_path, keys, *rows)


def run(folder: Path, keys: Path, *rows: Any) -> Config:
    settings = {"tables": folder / "tables", "keys": keys, "models": CONSTANT}
    config = load_config(None, log=write_log(folder / "log", *rows), **settings)
    replay(config, QUIET)
    return config


def ref(config: Config, who: str, region: str = "US") -> str:
    (found,) = Pseudonyms(read_keys(config.keys)).references(who, [region]) & {
        row["subject_ref"] for row in table(config.tables, "review_queue").to_pylist()
    }
    return found


def label(config: Config, who: str, *said: str) -> list[str]:
    """Say this of a person's reviews, the first window first; return their window ids."""
    rows = table(config.tables, "review_queue").to_pylist()
    mine = sorted(
        (row for row in rows if row["subject_ref"] == ref(config, who)),
        key=lambda row: row["window_end"],
    )
    for row, decision in zip(mine, said, strict=False):
        store_review(config.tables, row["review_id"], row["event_date"], decision, "dana")
    return [row["window_id"] for row in mine]


def test_only_who_consented_and_may_is_in_the_file(config: Config, tmp_path: Path) -> None:
    windows = label(config, "ann", "joy", "anger")
    for who in PEOPLE[1:]:
        label(config, who, "joy", "unclear")
    done = export_labels(config, tmp_path / "labels.parquet")
    rows = pq.read_table(tmp_path / "labels.parquet")
    assert rows.schema.equals(LABELS)
    assert {(row["window_id"], row["label"]) for row in rows.to_pylist()} == set(
        zip(windows, ("joy", "anger"), strict=True)
    )
    assert done.labels == 2
    assert done.left_out == Counter(
        unclear=4,
        consent_unknown=1,
        consent_withdrawn=1,
        consent_insufficient=1,
        purpose_prohibited=1,
    )


def test_the_file_has_what_fusion_read_and_no_pseudonym(config: Config, tmp_path: Path) -> None:
    label(config, "ann", "joy", "anger")
    export_labels(config, tmp_path / "labels.parquet")
    first, _ = sorted(
        pq.read_table(tmp_path / "labels.parquet").to_pylist(), key=lambda row: row["n_text"],
        reverse=True,
    )  # fmt: skip
    assert [first[f"n_{name}"] for name in MODALITIES] == [2, 0, 0, 0]
    assert first["modality_scores"][:7] == pytest.approx([1 / 7] * 7, abs=1e-3)
    assert first["modality_scores"][7:] == [0.0] * 21
    assert first["person"] == 0
    assert (tmp_path / "labels.parquet").stat().st_mode & 0o777 == 0o600
    (tmp_path / "apart").mkdir()
    (tmp_path / "labels.parquet").rename(tmp_path / "apart" / "labels.parquet")
    assert that_hold(tmp_path / "apart", {ref(config, "ann"), "ann"}) == set()


def test_a_confirmed_abstention_and_reviewers_who_differ_give_no_label(
    config: Config, tmp_path: Path
) -> None:
    label(config, "ann", "confirmed")
    done = export_labels(config, tmp_path / "labels.parquet")
    assert (done.labels, done.left_out) == (0, Counter(no_expression=1))
    assert pq.read_table(tmp_path / "labels.parquet").schema.equals(LABELS)


def reviews_of(config: Config, window_id: str) -> list[dict[str, Any]]:
    rows = table(config.tables, "review_queue").to_pylist()
    return sorted(
        (row for row in rows if row["window_id"] == window_id), key=lambda row: row["review_id"]
    )


def queue_again(config: Config, window_id: str, **more: Any) -> str:
    """Queue the review of a window once more, as another policy version or reason does."""
    (row,) = reviews_of(config, window_id)
    fresh = {name: None for name in row if name.startswith("review")}
    again = row | fresh | {"review_id": "again", "reason": row["reason"]} | more
    schema = table(config.tables, "review_queue").schema
    write_deltalake(
        f"{config.tables}/review_queue", pa.Table.from_pylist([again], schema=schema), mode="append"
    )
    return "again"


def change(config: Config, name: str, window_id: str, **columns: Any) -> None:
    """Change a landed row in place, as a later revision or a backfill does."""
    rows = table(config.tables, name)
    found = [row | (columns if row["window_id"] == window_id else {}) for row in rows.to_pylist()]
    whole = pa.Table.from_pylist(found, schema=rows.schema)
    write_deltalake(f"{config.tables}/{name}", whole, mode="overwrite")


@pytest.mark.parametrize(
    ("other", "second"),
    [
        ({"decision_id": "other-policy"}, "joy"),
        ({"decision_id": "other-policy"}, "anger"),
        ({"decision_id": "other-policy"}, "confirmed"),
        ({"reason": "disagreement"}, "anger"),
        ({"reason": "disagreement"}, "unclear"),
    ],
)
def test_a_window_has_one_label_or_none(
    config: Config, tmp_path: Path, other: dict[str, str], second: str
) -> None:
    """Whichever of its decisions a review was queued for."""
    window = label(config, "ann", "joy")[0]
    change(config, "emotion_features", window, expression="joy")
    again = queue_again(config, window, **other)
    day = reviews_of(config, window)[0]["event_date"]
    store_review(config.tables, again, day, second, "eve")
    done = export_labels(config, tmp_path / "labels.parquet")
    found = pq.read_table(tmp_path / "labels.parquet").to_pylist()
    if second in ("joy", "confirmed"):
        assert [(row["window_id"], row["label"]) for row in found] == [(window, "joy")]
        assert done.left_out == Counter()
    else:
        assert (found, done.left_out) == ([], Counter(reviewers_disagree=1))


def test_a_confirmed_label_is_that_of_the_window_when_it_was_confirmed(
    config: Config, tmp_path: Path
) -> None:
    window = label(config, "ann")[0]
    change(config, "emotion_features", window, expression="sadness")
    change(config, "expression_decisions", window, expression="surprise")
    label(config, "ann", "confirmed")
    for later in ("sadness", "joy", None):
        change(config, "emotion_features", window, expression=later)
        change(config, "expression_decisions", window, expression=later)
        assert export_labels(config, tmp_path / "labels.parquet").labels == 1
        (row,) = pq.read_table(tmp_path / "labels.parquet").to_pylist()
        assert (row["window_id"], row["label"]) == (window, "sadness")


def test_what_was_confirmed_is_not_guessed(config: Config, tmp_path: Path) -> None:
    """An earlier version stored that a window was confirmed, and not what it showed."""
    window = label(config, "ann", "confirmed")[0]
    change(config, "emotion_features", window, expression="joy")
    change(config, "expression_decisions", window, expression="joy")
    done = export_labels(config, tmp_path / "labels.parquet")
    assert (done.labels, done.left_out) == (0, Counter(expression_not_stored=1))


def test_consent_is_found_over_a_rotation_of_keys(tmp_path: Path) -> None:
    keys = write_key_file(
        tmp_path / "keys.yaml",
        period("2020-01-01T00:00:00Z", "old"), period("2026-09-01T10:00:05Z", "new"),
    )  # fmt: skip
    rows = [consent("ann", 0, *BOTH), consent("bob", 0, BOTH[0])]
    config = run(tmp_path, keys, *rows, *texts("ann", 1, 6), *texts("bob", 1, 6))
    reviews = table(config.tables, "review_queue").to_pylist()
    assert len({row["subject_ref"] for row in reviews}) == 4, "of two references each"
    for row in reviews:
        store_review(config.tables, row["review_id"], row["event_date"], "joy", "dana")
    done = export_labels(config, tmp_path / "labels.parquet")
    assert (done.labels, done.left_out) == (2, Counter(consent_unknown=2))


def test_who_was_erased_is_not_in_the_next_export(config: Config, tmp_path: Path) -> None:
    label(config, "ann", "joy", "anger")
    assert export_labels(config, tmp_path / "before.parquet").labels == 2
    erase(config, read_keys(config.keys), [Request("ann")], QUIET)
    done = export_labels(config, tmp_path / "after.parquet")
    assert (done.labels, done.left_out) == (0, Counter())


def test_a_label_without_observations_keeps_what_the_model_said(
    config: Config, tmp_path: Path
) -> None:
    label(config, "ann", "joy")
    DeltaTable(f"{config.tables}/observations").delete()
    export_labels(config, tmp_path / "labels.parquet")
    (row,) = pq.read_table(tmp_path / "labels.parquet").to_pylist()
    assert (row["modality_scores"], row["modality_confidence"]) == (None, None)
    assert sum(row["scores"]) == pytest.approx(1)


def test_only_a_role_that_may_exports_and_the_log_says_whom(config: Config, tmp_path: Path) -> None:
    label(config, "ann", "joy")
    own = config.model_copy(update={"access": Access(audit=tmp_path / "audit")})
    with pytest.raises(AffectstreamError, match="role reviewer may not export"):
        export_labels(own, tmp_path / "labels.parquet", role="reviewer")
    assert not (tmp_path / "labels.parquet").exists()
    export_labels(own, tmp_path / "labels.parquet", role="officer")
    with pytest.raises(AffectstreamError, match=r"cannot write .* give a file in a folder"):
        export_labels(own, tmp_path / "nowhere" / "labels.parquet", role="officer")
    refused, done, failed = read_entries(tmp_path / "audit")
    assert (refused["role"], refused["what"], refused["outcome"]) == (
        "reviewer", "export", "refused",
    )  # fmt: skip
    assert (done["role"], done["what"], done["rows"]) == ("officer", "export 1 labels", 1)
    assert done["subjects"] == failed["subjects"] == [hash_of(ref(config, "ann"))]
    assert [each["outcome"] for each in (done, failed)] == ["ok", "failed"]
    assert failed["rows"] == 0
    for file in (tmp_path / "audit").glob("*.jsonl"):
        file.chmod(0o644)
    with pytest.raises(AffectstreamError, match="others may read"):
        export_labels(own, tmp_path / "unlogged.parquet", role="officer")
    assert not (tmp_path / "unlogged.parquet").exists()


def test_the_commands_take_a_review_from_the_list_to_the_file(
    config: Config, tmp_path: Path
) -> None:
    settings = tmp_path / "config.yaml"
    settings.write_text(
        f"log: {config.log}\ntables: {config.tables}\nkeys: {config.keys}\n"
        f"access: {{audit: {tmp_path / 'audit'}}}\n"
    )
    given = ["--config", str(settings)]
    tables = ["--tables", config.tables]

    def command(*words: str) -> Any:
        return CliRunner().invoke(app, ["review", *words, *given])

    listed = command("list", "--by", "uncertainty", "--format", "json", *tables)
    assert listed.exit_code == 0, listed.exception
    assert '"reason": "low_confidence"' in listed.stdout
    windows = label(config, "ann")
    row = next(
        row for row in table(config.tables, "review_queue").to_pylist()
        if row["window_id"] == windows[0]
    )  # fmt: skip
    words = ("label", row["review_id"], "joy", "--reviewer", "dana", *tables)
    assert command(*words, "--role", "reviewer").exit_code == 0
    assert "may not label" in str(command(*words, "--role", "analyst").exception)
    assert "no decision: give one of" in str(
        command("label", row["review_id"], "glee", *tables).exception
    )
    other = command("label", row["review_id"], "anger", "--reviewer", "eve", *tables)
    assert "decided by somebody else" in str(other.exception)
    out = tmp_path / "labels.parquet"
    done = command("export", "--out", str(out))
    assert done.exit_code == 0, done.exception
    assert done.stdout == f"1 labels in {out}\n"
    said = [
        (entry["via"], entry["what"], entry["outcome"])
        for entry in read_entries(tmp_path / "audit")
    ]
    assert said == [
        ("review", f"label {row['review_id']} as joy, by dana", "ok"),
        ("review", "label", "refused"),
        ("review", f"label {row['review_id']} as anger, by eve", "failed"),
        ("review", "export 1 labels", "ok"),
    ]
