"""Replies are off unless a model is named, and wrong settings are one sentence."""

from pathlib import Path

import pytest

from model_serving.reply.card import AdapterCard, write_card
from pipelines.config import Config, load_config
from pipelines.replies.sink import load_replies
from pipelines.run.config_check import feed_problems
from pipelines.serve.feed import clock, start_feeds
from schemas.errors import AffectstreamError
from schemas.keys import write_keys


def config(folder: Path, **replies: object) -> Config:
    if not (folder / "keys.yaml").exists():
        write_keys(folder / "keys.yaml")
    more = {"replies": replies} if replies else {}
    return load_config(None, tables=folder / "tables", keys=folder / "keys.yaml", **more)


def adapter(folder: Path, **more: str) -> Path:
    folder.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).write_text("{}")
    given = {"name": "a", "version": "1", "licence": "research", "language": "en", "base": "b"}
    write_card(folder, AdapterCard.model_validate(given | more))
    return folder


def test_replies_are_off_and_change_no_run(tmp_path: Path) -> None:
    plain = config(tmp_path)
    assert plain.replies.model is None
    assert config(tmp_path, model="x").fingerprint == plain.fingerprint
    feeds = start_feeds(
        plain.model_copy(update={"feed": plain.feed.model_copy(update={"sinks": ("online",)})})
    )
    for feed in feeds:
        feed.stop()
    assert [feed.progress.sink for feed in feeds] == ["online"]
    assert all([feed.join(30) for feed in feeds])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"adapter": "somewhere"}, "`replies`: `adapter` is given without `model`"),
        ({"model": "m", "strategies": {"celebrate": "chear"}}, "celebrate asks for 'chear'"),
        ({"model": "m", "budget_s": 0}, "`replies.budget_s` is 0"),
        ({"model": "m", "revision": "main"}, "`replies.revision` is 'main'"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, given: dict[str, object], said: str) -> None:
    with pytest.raises(AffectstreamError) as refusal:
        config(tmp_path, **given)
    assert said in str(refusal.value)


def test_replies_go_nowhere_but_to_the_feed(tmp_path: Path) -> None:
    found = config(tmp_path, model="m")
    assert list(feed_problems(found)) == []
    feed = found.feed.model_copy(update={"sinks": ("online",)})
    (problem,) = feed_problems(found.model_copy(update={"feed": feed}))
    assert "`feed.sinks` has no kafka" in problem


def test_an_open_licence_refuses_an_adapter_for_research(tmp_path: Path) -> None:
    closed = config(tmp_path, model="m", adapter=adapter(tmp_path / "a"))
    closed = closed.model_copy(update={"licence": "open"})
    with pytest.raises(AffectstreamError, match="refuses the adapter a@1"):
        load_replies(closed, clock(closed))


def test_an_adapter_of_another_language_is_refused(tmp_path: Path) -> None:
    found = config(tmp_path, model="m", adapter=adapter(tmp_path / "a", language="zh"))
    with pytest.raises(AffectstreamError, match="replies in zh, and `replies"):
        load_replies(found, clock(found))
