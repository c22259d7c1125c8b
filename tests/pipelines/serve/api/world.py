"""Tables, an online store and tokens as the tests of the API use them."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import write_deltalake
from starlette.testclient import TestClient

from pipelines.access.roles import read_roles
from pipelines.access.settings import ROLES
from pipelines.config import Config, load_config
from pipelines.serve.api.app import Service, guarded
from pipelines.serve.api.problems import MEDIA_TYPE
from pipelines.serve.api.token_file import add_token
from pipelines.serve.follow import Follower
from pipelines.serve.online import COLUMNS
from pipelines.serve.stores import open_online
from schemas.events import EMBEDDING_WIDTH
from schemas.settings import Online
from schemas.tables import OBSERVATIONS
from tests.support.served import BEGIN, LENGTH, decision, feature, land, subject
from tests.support.synthetic_tables import expression_columns
from transforms.landing.prepare import prepare_tables

ADA, BEE, DAD, FAY = (subject(name) for name in ("ada", "bee", "dad", "fade"))
"""Three subjects, and one of whom nothing is known."""
WINDOWS = 5
NOW = BEGIN + WINDOWS * LENGTH
DAY = {"since": BEGIN.isoformat(), "until": (BEGIN + timedelta(hours=1)).isoformat()}


def decision_id(who: str, window: int) -> str:
    return (who.encode().hex() + f"{window:02x}").ljust(32, "0")


def make_tables(root: Path) -> None:
    """Ada and Bee consented to recommendation, Dad to the mirroring of his avatar alone."""
    prepare_tables(root)
    for who, purpose in (
        ("ada", "recommendation"),
        ("bee", "recommendation"),
        ("dad", "avatar_mirroring"),
    ):
        named = {"purpose": purpose}
        land(root, "emotion_features", *(feature(who, n, **named) for n in range(WINDOWS)))
        decided = (
            decision(who, n, decision_id=decision_id(who, n), **named) for n in range(WINDOWS)
        )
        land(root, "expression_decisions", *decided)
    rows = [observation("ada", n) for n in range(WINDOWS)]
    seen = pa.Table.from_pylist(rows, schema=OBSERVATIONS.remove_metadata())
    write_deltalake(root / "observations", seen, mode="append")


def observation(who: str, window: int) -> dict[str, Any]:
    at = BEGIN + window * LENGTH + timedelta(seconds=1)
    return {
        **{name: feature(who, window)[name] for name in ("subject_ref", "session_ref")},
        "event_id": f"{who}-{window}",
        "scene_id": "plaza",
        "scenario": "social",
        "purpose": "recommendation",
        "region": "EU",
        "age_band": "adult",
        "event_time": at,
        "modality": "text",
        **expression_columns("joy", 0.7, 0.4) | {"model_id": "text-compact@3.0.0"},
        "quality": "too_short",
        "embedding": [0.0] * EMBEDDING_WIDTH,
        "content": 1,
        "event_date": at.date(),
    }


def fill_store(root: Path, settings: Online) -> None:
    """Take all that has landed into the online store."""
    with closing(open_online(settings)) as store:
        for table, columns in COLUMNS.items():
            rows = Follower(root, table, columns).snapshot(pc.scalar(True))
            assert rows is not None
            store.write(rows)


def api_config(folder: Path, *, access: dict[str, Any] | None = None, **api: Any) -> Config:
    """The settings of a server whose clock stands at the end of the last window."""
    offset = (NOW - datetime.now(UTC)).total_seconds()
    settings = {"tokens": folder / "tokens.json", "requests_per_s": 100_000.0} | api
    return load_config(
        None,
        tables=folder / "tables",
        keys=folder / "keys.yaml",
        kafka={"clock_offset_s": offset},
        online={"store": str(folder / "online.sqlite")},
        api=settings,
        access={"audit": folder / "audit"} | (access or {}),
    )


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def tokens_of_all_roles(path: Path) -> dict[str, dict[str, str]]:
    """Return role → the headers of a caller who has it."""
    valid = timedelta(days=1)
    return {
        role: bearer(add_token(path, f"a {role}", role, valid)) for role in read_roles(ROLES).roles
    }


@contextmanager
def client_of(config: Config) -> Iterator[TestClient]:
    """Yield a client of the application itself, without a socket."""
    service = Service(config)
    with TestClient(guarded(config, service), raise_server_exceptions=False) as client:
        yield client


def problem(answer: Any) -> tuple[int, str]:
    """Status and code of a problem, which has the media type and names no subject."""
    assert answer.headers["content-type"] == MEDIA_TYPE
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["title"]
    assert not [ref for ref in (ADA, BEE, DAD, FAY) if ref in answer.text]
    return answer.status_code, body["code"]
