"""A Feast store over tables in a folder, with the views of the project's repository."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from feast import FeatureStore, FeatureView
from feast.repo_config import RepoConfig

from infra.feast import features
from pipelines.serve.feast.source import OFFLINE_STORE

VIEWS = (features.expression, features.decision, features.session_expression)
GUARDED = "pipelines.serve.feast.online.GuardedOnlineStore"


def feast_store(
    root: Path,
    *,
    offline: dict[str, Any] | None = None,
    online: dict[str, Any] | None = None,
    apply: bool = True,
    views: Sequence[FeatureView] = VIEWS,
) -> FeatureStore:
    """Return a store whose tables, registry and online file stand under ``root``."""
    store = FeatureStore(
        config=RepoConfig(
            project="affectstream",
            provider="local",
            registry=str(root / "registry.db"),
            offline_store=offline or {"type": OFFLINE_STORE, "tables": str(root)},
            online_store={"type": GUARDED} | (online or {"store": str(root / "online.sqlite")}),
            entity_key_serialization_version=3,
            repo_path=root,
        )
    )
    if apply:
        store.apply([features.subject, features.session, *views])
    return store


def history(
    store: FeatureStore,
    keys: Iterable[str],
    times: Iterable[datetime],
    *names: str,
    view: str = "",
    as_known: bool = False,
) -> pd.DataFrame:
    """Return features of subjects (or of what the view is keyed by) at times, in their order."""
    view = view or "expression"
    key = "session_ref" if view == "session_expression" else "subject_ref"
    asked = pd.DataFrame(
        {key: list(keys), "event_timestamp": pd.to_datetime(list(times), utc=True)}
    )
    asked["place"] = range(len(asked))
    job = store.get_historical_features(
        asked, [f"{view}:{name}" for name in names], filter_by_created_timestamp=as_known
    )
    return job.to_df().sort_values("place", ignore_index=True)
