"""Opening the online store that the settings name."""

from pipelines.serve.online import OnlineStore
from pipelines.serve.online_redis import RedisStore
from pipelines.serve.online_sqlite import SqliteStore
from schemas.settings import Online


def open_online(settings: Online) -> OnlineStore:
    """Open the store: redis where its address says so, else an sqlite file.

    Raises:
        StoreAwayError: it does not answer.
        AffectstreamError: it cannot be opened.
    """
    return RedisStore(settings) if "://" in settings.store else SqliteStore(settings)
