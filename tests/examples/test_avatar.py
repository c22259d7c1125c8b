"""The head of ``examples/avatar`` in a real Chromium: it moves as landed decisions say."""

import datetime as dt
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kafka import KafkaProducer
from playwright.sync_api import Browser

from examples.avatar import __main__ as command
from examples.avatar.decisions import page_data, read_decisions
from examples.avatar.packages import fetch
from examples.avatar.server import HOST, Page, read_feed
from pipelines.config import Kafka, load_config
from pipelines.kafka.topics import FEED, create_feed_topics
from pipelines.run.replay import replay
from schemas.arkit import BLENDSHAPES
from schemas.avatar.vrm import LIP_SYNC_MASK, PRESETS
from tests.examples.vrm_model import EMOTIONS, write_model
from tests.support.dashboards import SOFTWARE, Visit, chromium, profile, visit
from tests.support.live_runs import QUIET
from tests.support.records import raw, record

pytestmark = pytest.mark.browser

SMILE = ("mouthSmileLeft", "mouthSmileRight", "cheekSquintLeft", "cheekSquintRight")
SURPRISE = ("browInnerUp", "browOuterUpLeft", "browOuterUpRight", "eyeWideLeft", "eyeWideRight",
            "jawOpen")  # fmt: skip
MOUTH = {name for name, digit in zip(BLENDSHAPES, LIP_SYNC_MASK, strict=True) if digit == "1"}
SHOWS = [*[SMILE] * 20, *[SURPRISE] * 25, *[()] * 25, *[SMILE] * 30]
"""What ann shows in each second; in the last ten she may not be shown any more."""


def frame(shapes: tuple[str, ...]) -> dict[str, Any]:
    return {"weights": dict.fromkeys((*SMILE, *SURPRISE), 0.0) | dict.fromkeys(shapes, 0.95),
            "head": {}}  # fmt: skip


def records() -> list[dict[str, Any]]:
    early = {"time": "2026-09-01T09:00:00Z", "subject": "ann"}
    both = {"purposes": ["avatar_mirroring", "show_to_others"], "modalities": ["motion"]}
    withdrawn = {"granted": False, "purposes": ["show_to_others"], "modalities": ["motion"]}
    return [
        record("consent", 0, {"granted": True} | both, **early),
        record("consent", len(SHOWS) - 10, withdrawn, subject="ann", id="w"),
        *(record("motion", n, frame(shapes), subject="ann", id=f"ann-{n}")
          for n, shapes in enumerate(SHOWS)),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Path:
    """What lands when ann smiles, is surprised, shows nothing, smiles again and then withdraws."""
    log, root = tmp_path_factory.mktemp("log"), tmp_path_factory.mktemp("tables")
    pq.write_table(pa.Table.from_batches([raw(*records())]), log / "part-0.parquet")
    constant = {name: {"model": "constant"} for name in ("text", "voice", "face")}
    replay(load_config(None, log=log, tables=root, keys=keys, models=constant), QUIET)
    return root


@pytest.fixture(scope="module")
def events(tables: Path) -> list[dict[str, Any]]:
    return read_decisions(str(tables))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    fetch()
    with chromium(*SOFTWARE) as found:
        yield found


@contextmanager
def served(events: list[dict[str, Any]], **more: Any) -> Iterator[str]:
    page = Page(0, page_data(events), **more)
    thread = threading.Thread(target=page.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{page.server_port}/"
    finally:
        page.shutdown()
        page.server_close()


@contextmanager
def opened(browser: Browser, address: str) -> Iterator[Visit]:
    """A page that is ready, must not err, and asks this machine alone."""
    viewer = profile(browser, viewport={"width": 320, "height": 400})
    viewer.set_default_timeout(60_000)  # shaders are compiled on processors that others use
    with closing(viewer):
        found = visit(viewer, address)
        found.page.locator("body[data-ready]").wait_for()
        yield found
        assert found.errors == []
        assert {host.partition(":")[0] for host in found.hosts} == {HOST}


@pytest.fixture(scope="module")
def drawn(browser: Browser, events: list[dict[str, Any]]) -> Iterator[Visit]:
    """The page with the drawn head, which stands still."""
    with served(events) as address, opened(browser, f"{address}?still") as found:
        yield found


@pytest.fixture(scope="module")
def head(drawn: Visit) -> Callable[..., Any]:
    """A function that stops the drawn head at a time and gives what it shows."""
    return stopper(drawn)


def stopper(found: Visit) -> Callable[..., dict[str, Any]]:
    def stop_at(when: dt.datetime, speech: float = 0, closed: float = 0) -> dict[str, Any]:
        asked = [round(when.timestamp() * 1000), speech, closed]
        return found.page.evaluate("asked => window.avatar.stopAt(...asked)", asked)

    return stop_at


def moment(text: str, seconds: float = 0) -> dt.datetime:
    return dt.datetime.fromisoformat(text) + dt.timedelta(seconds=seconds)


def moving(face: dict[str, float]) -> dict[str, float]:
    return {name: weight for name, weight in face.items() if weight > 1e-6}


def test_the_head_has_the_weights_of_every_decision(
    head: Callable[..., Any], events: list[dict[str, Any]]
) -> None:
    """Two seconds after it came, which is long enough for a step of the cap."""
    shown = set()
    for event in events:
        if event["data"]["reason"] == "not_opted_in":
            continue
        found = head(moment(event["time"], 2))
        assert moving(found["face"]) == pytest.approx(event["shapes"], abs=1e-3)
        assert found["presets"] == pytest.approx(event["data"]["avatar"]["weights"], abs=1e-3)
        shown.add(event["data"]["avatar"]["preset"])
    assert shown == {"happy", "surprised", "neutral"}
    last = head(moment(events[3]["time"], 2))["face"]
    assert last["mouthSmileLeft"] > 0.3, "she smiled, and so does the head"


def test_neutral_is_rest(head: Callable[..., Any], events: list[dict[str, Any]]) -> None:
    """Before the first decision, when nothing is shown, and when the last one has expired."""
    rest = dict.fromkeys(PRESETS, 0) | {"neutral": 1}
    neutral = [event for event in events if event["data"]["avatar"]["weights"]["neutral"] == 1]
    first, last = moment(events[0]["time"], -1), moment(events[-1]["expirytime"], 5)
    for when in (first, moment(neutral[0]["time"], 2), last):
        found = head(when)
        assert moving(found["face"]) == {}
        assert found["presets"] == rest


def test_who_withdraws_is_at_rest_at_once(
    head: Callable[..., Any], events: list[dict[str, Any]]
) -> None:
    off = next(event for event in events if event["data"]["reason"] == "not_opted_in")
    assert moving(head(moment(off["time"], -0.01))["face"]) != {}
    assert moving(head(moment(off["time"]))["face"]) == {}


def test_no_weight_moves_faster_than_a_quarter_in_a_second(
    head: Callable[..., Any], events: list[dict[str, Any]]
) -> None:
    off = next(event for event in events if event["data"]["reason"] == "not_opted_in")
    start, end = moment(events[0]["time"], -1), moment(off["time"], -0.1)
    before, largest = head(start)["face"], 0.0
    for step in range(1, int((end - start).total_seconds() * 5)):
        face = head(start + dt.timedelta(seconds=step / 5))["face"]
        largest = max(largest, *(abs(face[name] - before[name]) for name in face))
        before = face
    assert 0.01 < largest <= 0.25 / 5 + 1e-6


def test_the_mouth_yields_to_speech_and_the_rest_of_the_face_does_not(
    head: Callable[..., Any], events: list[dict[str, Any]]
) -> None:
    when = moment(events[3]["time"], 2)
    silent, half, speaking = (head(when, speech)["face"] for speech in (0, 0.5, 1))
    assert silent["mouthSmileLeft"] > 0.3
    for name in MOUTH:
        assert speaking[name] == 0
        assert half[name] == pytest.approx(silent[name] / 2)
    for name in set(BLENDSHAPES) - MOUTH:
        assert speaking[name] == silent[name]
    assert (silent["aa"], speaking["aa"]) == (0, 1), "the lips themselves move in full"
    presets = [head(when, speech)["presets"]["happy"] for speech in (0, 1)]
    assert presets[1] == pytest.approx(presets[0] / 2), "half of a smile is the mouth's"


def test_a_blink_fades_or_stops_as_the_preset_says(
    head: Callable[..., Any], events: list[dict[str, Any]]
) -> None:
    rules = {event["data"]["avatar"]["override_blink"]: event for event in events}
    assert {"none", "blend", "block"} == set(rules)
    for rule, left in (("none", lambda _: 1.0), ("blend", lambda shown: 1 - shown),
                       ("block", lambda _: 0.0)):  # fmt: skip
        found = head(moment(rules[rule]["time"], 2), 0, 1)
        shown = 1 - found["presets"]["neutral"]
        assert found["face"]["eyeBlinkLeft"] == pytest.approx(left(shown), abs=1e-3)


def test_what_is_drawn_changes_with_the_face(drawn: Visit, events: list[dict[str, Any]]) -> None:
    draw = "time => (window.avatar.stopAt(time), document.getElementById('stage').toDataURL())"
    smile, rest = moment(events[3]["time"], 2), moment(events[0]["time"], -1)
    times = [round(when.timestamp() * 1000) for when in (smile, rest, smile)]
    smiling, still, again = (drawn.page.evaluate(draw, time) for time in times)
    assert smiling != still
    assert again == smiling


def test_the_page_plays_by_itself(browser: Browser, events: list[dict[str, Any]]) -> None:
    with served(events) as address, opened(browser, address) as found:
        found.page.wait_for_function(
            "document.getElementById('presets').textContent.match(/happy 0\\.[1-9]/)"
        )
        assert "Estimated by a machine" in found.page.locator("#notice").inner_text()


def test_a_vrm_model_is_played_by_its_presets(
    browser: Browser, events: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Its own rule that a smile stops the lips does not count: here it is the smile that yields."""
    write_model(tmp_path / "triangle.vrm")
    with (
        served(events, model=tmp_path / "triangle.vrm") as address,
        opened(browser, f"{address}?still&vrm") as found,
    ):
        stop_at = stopper(found)
        for event in events:
            if event["data"]["reason"] == "not_opted_in":
                continue
            face = stop_at(moment(event["time"], 2))["face"]
            wanted = event["data"]["avatar"]["weights"]
            assert {name: face[name] for name in EMOTIONS} == pytest.approx(
                {name: wanted[name] for name in EMOTIONS}, abs=1e-3
            )
        spoken = stop_at(moment(events[3]["time"], 2), 1, 1)["face"]
        assert spoken["aa"] == 1
        smile = events[3]["data"]["avatar"]["weights"]["happy"]
        assert spoken["happy"] == pytest.approx(smile / 2, abs=1e-3)
        assert spoken["blink"] == pytest.approx(1 - smile / 2, abs=1e-3)


def test_nothing_but_the_page_is_served() -> None:
    with served([]) as address:
        for path in ("package.json", "../recommender/model.py", "..%2f..%2fsetup.py",
                     "node_modules/../package.json", "server.py", "model.vrm", "live"):  # fmt: skip
            with pytest.raises(HTTPError, match="404"):
                urlopen(address + path)


def of_another_face(event: dict[str, Any], **data: Any) -> dict[str, Any]:
    """The same decision in another session or scenario, where it shows the opposite."""
    weights = dict.fromkeys(PRESETS, 0.0) | {"angry": 0.5, "neutral": 0.5}
    avatar = event["data"]["avatar"] | {"preset": "angry", "weights": weights}
    found = event | {"id": f"{event['id']}-{sorted(data.items())}", "shapes": {}}
    return found | {"data": event["data"] | {"avatar": avatar} | data}


def test_each_session_and_scenario_has_a_face_of_its_own(
    browser: Browser, events: list[dict[str, Any]]
) -> None:
    """Of one person, at the same time; the page shows one of them, and lets others be chosen."""
    shown = [event for event in events if event["data"]["reason"] != "not_opted_in"]
    session, scenario = (shown[0]["data"][name] for name in ("session_ref", "scenario"))
    others = [{"session_ref": "f" * 32}, {"scenario": "game"}]
    mixed = [
        each
        for place, event in enumerate(shown)
        for each in (event, *(of_another_face(event, **other) for other in others[: place % 3]))
    ]
    faces = page_data(mixed)["faces"]
    assert [(each["session_ref"], each["scenario"]) for each in faces] == [
        (session, scenario), ("f" * 32, scenario), (session, "game"),
    ]  # fmt: skip
    assert faces[0]["events"] == shown
    assert sum(len(each["events"]) for each in faces) == len(mixed)
    with served(mixed) as address, opened(browser, f"{address}?still") as found:
        stop_at = stopper(found)
        for event in shown:
            presets = stop_at(moment(event["time"], 2))["presets"]
            assert presets == pytest.approx(event["data"]["avatar"]["weights"], abs=1e-3)
        choice = found.page.locator("#face")
        assert choice.locator("option").count() == 3
        choice.select_option(json.dumps(["f" * 32, scenario], separators=(",", ":")))
        assert stop_at(moment(faces[1]["events"][0]["time"], 2))["presets"]["happy"] == 0
        assert stop_at(moment(faces[1]["events"][-1]["time"], 2))["presets"]["angry"] > 0.2


def test_one_face_is_not_asked_for(drawn: Visit) -> None:
    assert not drawn.page.locator("#face").is_visible()


def test_only_who_asks_for_this_machine_is_answered() -> None:
    """A name that somebody else made to lead here is no name of it."""
    with served([]) as address:
        port = urlsplit(address).port
        for hosts, status in (
            (["127.0.0.1"], 200), (["localhost"], 200), (["LOCALHOST:1"], 200), (["[::1]"], 200),
            ([f"127.0.0.1:{port}"], 200), (["evil.example"], 421), ([f"evil.example:{port}"], 421),
            (["127.0.0.1.evil.example"], 421), (["evil@127.0.0.1.example"], 421), (["["], 421),
            ([""], 421), ([], 421), (["localhost", "evil.example"], 421),
        ):  # fmt: skip
            for path in ("/decisions.json", "/", "/live"):
                asked = HTTPConnection(HOST, port, timeout=5)
                asked.putrequest("GET", path, skip_host=True)
                for host in hosts:
                    asked.putheader("Host", host)
                asked.endheaders()
                found = asked.getresponse()
                wanted = 404 if path == "/live" and status == 200 else status
                assert found.status == wanted, (hosts, path)
                asked.close()


def test_decisions_are_written_for_other_clients(
    tables: Path, events: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "decisions.json"
    monkeypatch.setattr(sys, "argv", ["avatar", str(tables), "--out", str(out)])
    command.main()
    assert json.loads(out.read_text()) == json.loads(json.dumps(page_data(events)))


@pytest.mark.kafka
def test_a_live_head_follows_the_feed_and_forgets(
    browser: Browser, events: list[dict[str, Any]], kafka: Kafka
) -> None:
    who = events[3]["subject"]
    now = dt.datetime.now(dt.UTC)
    smile = {key: value for key, value in events[3].items() if key != "shapes"}
    smile |= {"time": now.isoformat(), "expirytime": (now + dt.timedelta(minutes=5)).isoformat()}
    create_feed_topics(kafka)
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)

    def feed() -> Any:
        return read_feed(kafka.bootstrap, who)

    face, smiles = "window.avatar.face()", events[3]["shapes"]["mouthSmileLeft"]
    arrived = f"Math.abs({face}.mouthSmileLeft - {smiles}) < 1e-3"
    with served([], feed=feed) as address, opened(browser, f"{address}?live") as found:
        end = time.monotonic() + 30
        game = json.dumps(of_another_face(smile, scenario="game")).encode()
        while not found.page.evaluate(arrived) and time.monotonic() < end:
            producer.send(FEED, key=who.encode(), value=json.dumps(smile).encode())
            producer.send(FEED, key=who.encode(), value=game)
            producer.send(FEED, key=b"f" * 32, value=json.dumps(events[8]).encode())
            producer.flush()
            found.page.wait_for_timeout(500)
        own = {"eyeBlinkLeft", "eyeBlinkRight"}  # the page blinks by itself
        seen = {n: w for n, w in moving(found.page.evaluate(face)).items() if n not in own}
        assert seen == pytest.approx(events[3]["shapes"], abs=1e-3)
        producer.send(FEED, key=who.encode(), value=None)
        producer.flush()
        found.page.wait_for_function(f"{face}.mouthSmileLeft === 0")
    producer.close()
