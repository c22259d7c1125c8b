"""What the tables hold, joined and counted: windows with their decisions, losses, stages."""

import json

import pandas as pd

from pipelines.tables.query import read_table
from schemas.events import WINDOW_KEY
from schemas.modalities import MODALITIES
from schemas.stages import Stage
from schemas.table import Root

_BYTE = r" \(byte \d+\)"
SESSION = list(WINDOW_KEY[:2])
"""Columns that name a session; the rest of the key may differ within it."""


def windows_with_decisions(root: Root) -> pd.DataFrame:
    """Return one row per window in order of time, with the decision that was taken on it.

    ``part`` names the purpose, scenario and age band as far as they vary within the session: it is
    empty in most.
    """
    columns = ("window_id", *WINDOW_KEY, "window_start", "window_end")
    estimates = ("expression", "confidence", "valence", "arousal")
    counts = tuple(f"n_{modality}" for modality in MODALITIES)
    names = (*columns, *estimates, "abstained", *counts)
    features = read_table(root, "emotion_features", *names).to_pandas()
    taken = read_table(root, "expression_decisions", "window_id", "action", "reason").to_pandas()
    taken = taken.drop_duplicates("window_id")
    joined = features.merge(taken, on="window_id", how="left").assign(part=_parts(features))
    order = ["window_start", *SESSION, "part", "window_id"]
    return joined.sort_values(order, ignore_index=True)


def _parts(features: pd.DataFrame) -> pd.Series:
    """Name each row's purpose, scenario and age band as far as they vary in its session."""
    part = pd.Series("", features.index, dtype=object)
    sessions = [features[name] for name in SESSION]
    for name in WINDOW_KEY[len(SESSION) :]:
        value = features[name].fillna("–").astype(object)
        varies = value.groupby(sessions).transform("nunique") > 1
        part = part.where(~varies, part + " " + value)
    return part.str.strip()


def stages_of_last_run(root: Root) -> pd.DataFrame:
    """Return one row per stage of the newest run: rows, seconds, what came again or is unknown."""
    stages = _read_stages(root)
    columns = ["rows_in", "rows_out", "seconds", "forward_seconds", "repeated", "unknown_shapes"]
    frame = pd.DataFrame.from_dict(stages, orient="index").reindex(columns=columns)
    return frame.rename_axis("stage").reset_index()


def delays_of_last_run(root: Root) -> pd.DataFrame:
    """Return the least and the most seconds from an event to its record, by source.

    The longest least comes first: of a source whose clock is behind all events take long.
    """
    figures = _read_stages(root).get(Stage.DECODE, {})
    prefix = "least_delay_s "
    sources = [name.removeprefix(prefix) for name in figures if name.startswith(prefix)]
    rows = [
        (name, figures[f"least_delay_s {name}"], figures[f"most_delay_s {name}"])
        for name in sources
    ]
    frame = pd.DataFrame(rows, columns=["source", "least", "most"])
    return frame.sort_values(["least", "source"], ascending=[False, True], ignore_index=True)


def _read_stages(root: Root) -> dict[str, dict[str, float]]:
    """Return what the newest run says of its stages, nothing where there was none."""
    runs = read_table(root, "runs", "started_at", "stages").to_pandas()
    newest = runs.sort_values("started_at").tail(1)
    found: dict[str, dict[str, float]] = json.loads(newest["stages"].iloc[0]) if len(newest) else {}
    return found


def causes(root: Root) -> pd.DataFrame:
    """Return the dead letters by code and detail, the most frequent first, each with an example.

    ``example`` is the place of one such record: topic, partition and offset. At which byte of it
    its JSON ends to be any is left out: one cause would be as many as there are lengths.
    """
    names = ("code", "detail", "topic", "partition", "offset")
    rows = read_table(root, "dead_letters", *names).to_pandas()
    rows["detail"] = rows["detail"].str.replace(_BYTE, "", regex=True)
    place = rows["topic"] + " " + rows["partition"].astype(str) + ":" + rows["offset"].astype(str)
    grouped = rows.assign(example=place).groupby(["code", "detail"], dropna=False)
    counted = grouped.agg(n=("example", "size"), example=("example", "min")).reset_index()
    return counted.sort_values("n", ascending=False, ignore_index=True)


def doubts(root: Root) -> pd.DataFrame:
    """Return what lowered the confidence of observations: events by modality and quality code.

    ``of`` counts all events of the modality, ``abstained`` those of the code that abstained.
    """
    rows = read_table(root, "observations", "modality", "quality", "abstained").to_pandas()
    counted = rows.groupby(["modality", "quality"])["abstained"].agg(n="size", abstained="sum")
    found = counted.reset_index()
    found["of"] = found["modality"].map(rows["modality"].value_counts())
    return found.sort_values("n", ascending=False, ignore_index=True)


def losses(root: Root) -> pd.DataFrame:
    """Return events without an observation, counted by kind, stage or article, and code."""
    dead = read_table(root, "dead_letters", "stage", "code").to_pandas()
    refused = read_table(root, "refusals", "article", "code").to_pandas()
    parts = [
        dead.rename(columns={"stage": "where"}).assign(kind="dead letter"),
        refused.rename(columns={"article": "where"}).assign(kind="refusal"),
    ]
    rows = pd.concat(parts, ignore_index=True).fillna({"where": "–"})
    counted = rows.groupby(["kind", "code", "where"]).size().rename("n").reset_index()
    return counted.sort_values(["kind", "n"], ascending=[True, False], ignore_index=True)
