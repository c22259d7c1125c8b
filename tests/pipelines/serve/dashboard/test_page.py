"""The dashboard in a real Chromium: what a viewer sees, does, and never sees."""

import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from infra.processes import HOST, free_ports
from pipelines.access.audit import read_entries, user_name
from pipelines.observe import catalogue
from pipelines.observe.exporter import Exporter
from pipelines.tables.query import query
from tests.support.clock import Clock
from tests.support.dashboards import (
    NO_METRICS,
    REVIEWER,
    Visit,
    chromium,
    dashboard,
    profile,
    visit,
)
from tests.support.served import BEGIN, LENGTH, decision, feature, land, review, subject
from tests.support.synthetic_tables import expression_columns
from transforms.landing.prepare import prepare_tables

pytestmark = pytest.mark.browser

HOSTILE = (
    "\u202e<script>document.title='taken'</script>![x](http://elsewhere.invalid/x.png)"
    "<img src=http://elsewhere.invalid/y onerror=document.title='taken'>"
)
SHOWN = "\\u202e<script>document.title='taken'</script>![x](http://elsewhere.invalid/x.png…"
CONSENT = {"purpose": "*", "modality": "*", "notice_id": None, "region": "EU"}


def observation(who: str, window: int, modality: str, **more: Any) -> dict[str, Any]:
    start = BEGIN + window * LENGTH
    made = feature(who, window)
    columns = ("subject_ref", "session_ref", "scene_id", "scenario", "purpose", "region")
    return {
        **{name: made[name] for name in (*columns, "age_band")},
        **expression_columns("joy", 0.8, 0.4),
        "event_id": f"o-{who}-{window}-{modality}",
        "event_time": start + LENGTH / 2,
        "modality": modality,
        "content": 1,
        "offset": window,
        "event_date": start.date(),
    } | more


def ledger(who: str, action: str) -> dict[str, Any]:
    at = BEGIN + 20 * LENGTH
    return CONSENT | {
        "ledger_id": f"l-{who}-{action}",
        "subject_ref": subject(who),
        "person_ref": subject(f"p{who}"),
        "person_fold": subject(f"f{who}"),
        "action": action,
        "event_time": at,
        "recorded_at": at,
        "event_date": at.date(),
    }


def write_world(root: Path) -> None:
    """Write four subjects: bob abstains throughout, eve's scene is an attack, mia was erased."""
    prepare_tables(root)
    windows = range(6)
    weak = expression_columns("fear", 0.3, 0.4)
    land(
        root,
        "emotion_features",
        *(feature("ann", n, scene_id="plaza") for n in windows),
        *(feature("bob", n, scene_id="arena", **weak) for n in windows),
        feature("eve", 5, scene_id=HOSTILE),
    )
    land(
        root,
        "expression_decisions",
        *(decision("ann", n) for n in windows),
        decision("ann", 5, purpose="support", scenario="support", action="hand_over_to_person",
                 reason="scenario_rule", expression="anger", decision_id="d-stakes"),
        decision("eve", 5, scene_id=HOSTILE),
    )  # fmt: skip
    land(
        root,
        "observations",
        *(observation("ann", n, "text") for n in windows),
        observation("ann", 5, "voice", quality="noisy", **expression_columns("fear", 0.3, 0.4)),
    )
    land(root, "review_queue", *(review("ann", n, scenario="support") for n in range(3)))
    land(root, "consent_ledger", ledger("ann", "erasure_requested"), ledger("bob", "withdrawn"))
    land(root, "consent_ledger", ledger("mia", "erasure_requested"))
    proof = {"requested_at": BEGIN, "rows_deleted": 537, "files_deleted": 23}
    proof |= {"event_date": BEGIN.date()}
    land(root, "erasures", proof | {"erasure_id": "e1" * 16, "completed_at": BEGIN})
    land(root, "erasures", proof | {"erasure_id": "e2" * 16, "completed_at": None})
    dead = {"dead_letter_id": "x", "stage": "DecodeEvents", "code": "bad_json"}
    land(root, "dead_letters", dead | {"offset": 1, "event_date": BEGIN.date()})
    refused = observation("bob", 1, "voice", code="consent_unknown", article="GDPR Art. 6 and 9")
    land(root, "refusals", refused)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    write_world(root)
    return root


@pytest.fixture(scope="module")
def metrics() -> Iterator[str]:
    """What a job's supervisor exports, which does not go stale while these tests run."""
    exporter = Exporter(catalogue.LIVE, Clock())
    exporter.set(catalogue.JOB_RUNNING, 1)
    exporter.set(catalogue.WATERMARK_DELAY, 2.5)
    exporter.set(catalogue.KAFKA_LAG, 4_200, "session.text")
    port = free_ports(1)[0]
    exporter.serve(HOST, port)
    yield f"http://{HOST}:{port}/metrics"
    exporter.close()


@pytest.fixture(scope="module")
def address(world: Path, metrics: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with dashboard(tmp_path_factory.mktemp("served"), world, metrics) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def usual(browser: Browser) -> BrowserContext:
    """One profile for most tests: scripts of the page, 10 MB, come from its cache."""
    return profile(browser)


@pytest.fixture
def viewer(usual: BrowserContext, address: str) -> Iterator[Visit]:
    """A new session, whose page must not err, and must ask this machine alone."""
    found = visit(usual, address)
    yield found
    assert found.errors == []
    assert found.hosts == {address.removeprefix("http://")}
    assert found.page.title() != "taken"
    found.page.close()


def test_the_live_view_shows_estimates_and_says_that_they_are(viewer: Visit) -> None:
    viewer.heading("Expression timeline")
    viewer.shows("Shown, estimated: a machine estimates what was shown, not what is felt.")
    viewer.metric("Newest window ended", "10:00:30")
    viewer.metric("Windows", "13")
    viewer.metric("Abstained", "46%")
    viewer.page.get_by_text("As a table: Expression timeline").click()
    viewer.cell("voice")
    viewer.cell("Abstained")
    pictures = viewer.page.locator("[data-testid=stVegaLiteChart] svg")
    fills = (
        pictures.nth(1)
        .locator("path[aria-roledescription=bar]")
        .evaluate_all("bars => bars.map(bar => bar.getAttribute('fill'))")
    )
    assert set(fills) == {"#F0E442", "#8A94A3"}, "joy, and grey where all abstained"


def test_filters_select_rows_and_a_hostile_scene_is_only_a_text(viewer: Visit) -> None:
    viewer.choose("Scene", "arena")
    viewer.metric("Windows", "6")
    viewer.metric("Abstained", "100%")
    viewer.choose("Scene", SHOWN)
    viewer.metric("Windows", "1")
    viewer.choose("Scene", "plaza")
    viewer.choose("Session", "ann00000 · anns0000")
    viewer.metric("Abstained", "0%")
    viewer.go("Scene mood")
    viewer.choose("Scene", "All")
    viewer.page.get_by_text("As a table: Scene mood").click()
    viewer.cell(SHOWN)
    viewer.go("Decisions")
    viewer.choose("Session", "All")
    viewer.cell(SHOWN)


def test_a_decision_is_explained_by_what_landed(viewer: Visit) -> None:
    viewer.go("Decisions")
    viewer.choose("Decision to explain", "10:00:30 · ann00000 · anger · hand_over_to_person")
    viewer.heading("Why this decision")
    viewer.shows("A rule of the scenario asks for this action")
    viewer.metric("Action", "hand_over_to_person")
    viewer.shows("The feature row of this decision is not in the tables any more.")
    viewer.choose("Decision to explain", "10:00:30 · ann00000 · joy · mirror")
    viewer.shows("The scenario has no rule for this expression")
    for text in ("Noise covers the speech.", "test@1", "scenarios-test", "recommendation"):
        viewer.cell(text)
    viewer.page.get_by_text("As a table: Attention on each modality").wait_for()


def test_a_label_is_stored_with_who_gave_it(viewer: Visit, world: Path) -> None:
    viewer.go("Review queue")
    viewer.metric("Open", "3")
    viewer.heading("Why this decision")
    viewer.choose("Review", "10:00:10 · ann00000 · support · high_stakes · r-ann-1")
    viewer.page.get_by_role("button", name="Store").click()
    viewer.shows("Choose a decision first.")
    viewer.page.get_by_text("shown instead: sadness").click()
    viewer.page.get_by_role("button", name="Store").click()
    viewer.shows(f"Stored: shown instead: sadness, by {REVIEWER}.")
    viewer.metric("Open", "2")
    viewer.choose("What to look at", "Decided reviews")
    viewer.cell("shown instead: sadness")
    stored = query(world, "SELECT * FROM review_queue WHERE reviewer_decision IS NOT NULL")
    row = stored.to_pylist()[0]
    assert (row["review_id"], row["reviewer_decision"]) == ("r-ann-1", "sadness")
    assert row["reviewed_by"] == REVIEWER
    assert row["reviewed_at"] is not None


def test_health_names_causes_and_what_they_mean(viewer: Visit) -> None:
    viewer.go("Stream health")
    for name, value in (("Job", "running"), ("Watermark delay", "2.5 s"), ("Kafka lag", "4,200")):
        viewer.metric(name, value)
    viewer.metric("Observations per second", "0.2")
    for text in ("bad_json", "GDPR Art. 6 and 9", "consent_unknown", "emotion_features"):
        viewer.cell(text)
    viewer.cell("The payload is not one JSON object, or a member of a grant stands in it twice.")


def test_erasures_tell_what_still_stands(viewer: Visit) -> None:
    viewer.go("Erasures")
    viewer.heading("Requests to erase, by day and state")
    for text in ("open", "none left", "mia00000"):
        viewer.cell(text)
    viewer.cell("observations, emotion_features, expression_decisions, review_queue")
    for text in ("proved", "537", "e1" * 16):
        viewer.cell(text)


def test_language_and_theme_can_be_switched(browser: Browser, address: str) -> None:
    viewer = visit(profile(browser), address)
    viewer.choose("Span", "15 minutes")
    viewer.choose("Language / 语言", "中文")
    viewer.heading("表情时间线")
    viewer.shows("机器估计的是所显示的表情，而非内心感受")
    viewer.go("数据流健康")
    expect(viewer.page.get_by_role("combobox", name="时段")).to_have_value("15 分钟")
    viewer.cell("负载不是单个 JSON 对象，或授权中的成员重复。")
    assert _background(viewer) == "rgb(255, 255, 255)"
    viewer.page.get_by_role("button", name="Main menu").click()
    viewer.page.get_by_test_id("stMainMenuItem-theme-Dark").click()
    viewer.page.wait_for_function(f"() => {_BACKGROUND} !== 'rgb(255, 255, 255)'")
    viewer.go("实时")
    ink = viewer.page.locator("[data-testid=stVegaLiteChart] svg text[fill='#E8E8E8']")
    ink.first.wait_for()
    assert viewer.errors == []
    viewer.page.context.close()


_BACKGROUND = "getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor"


def _background(viewer: Visit) -> str:
    return str(viewer.page.evaluate(_BACKGROUND))


def test_a_browser_that_asks_for_chinese_and_dark_gets_both(browser: Browser, address: str) -> None:
    found = visit(profile(browser, locale="zh-CN", color_scheme="dark"), address)
    found.heading("实时")
    assert _background(found) != "rgb(255, 255, 255)"
    assert found.errors == []
    found.page.context.close()


def test_the_keyboard_alone_reaches_everything(viewer: Visit) -> None:
    viewer.heading("Expression timeline")
    views = ("Live", "Scene mood", "Stream health", "Decisions", "Review queue", "Erasures")
    controls = ("Language / 语言", "Main menu", "Day", "Span", "Scene", "Session")
    tables = ("As a table: Valence and arousal", "As a table: Expression timeline")
    _tab_to(viewer, {*views, *controls, *tables})
    keyboard = viewer.page.keyboard
    viewer.page.get_by_role("link", name="Review queue").focus()
    keyboard.press("Enter")
    viewer.heading("Why this decision")
    _tab_to(viewer, {"Load again", "Review", "Your name", "Store"})
    queue = viewer.page.get_by_role("combobox", name="What to look at")
    queue.focus()
    keyboard.press("ArrowDown")
    keyboard.press("ArrowDown")
    keyboard.press("Enter")
    expect(queue).to_have_value("Decided reviews")


def _tab_to(viewer: Visit, names: set[str]) -> None:
    """Press Tab until each of these was reached; a table takes one press for each column."""
    name = (
        "() => { const at = document.activeElement; return at.getAttribute('aria-label') || "
        "at.innerText.replace('keyboard_arrow_right', '').trim() }"
    )
    reached = []
    for _ in range(100):
        viewer.page.keyboard.press("Tab")
        reached.append(viewer.page.evaluate(name))
        if names <= set(reached):
            return
    pytest.fail(f"{names - set(reached)} not among {reached}")


def test_a_root_that_is_missing_is_a_sentence_until_a_stream_writes(
    usual: BrowserContext, tmp_path: Path
) -> None:
    root = tmp_path / "later"
    with dashboard(tmp_path, root) as address:
        found = visit(usual, address)
        found.shows(f"no table under {root}: start a job or a replay that writes there")
        prepare_tables(root)
        found.shows("No row in this span yet.")
        for view in ("Scene mood", "Stream health", "Decisions", "Review queue", "Erasures"):
            found.go(view)
            found.page.get_by_test_id("stAlert").first.wait_for()
            if view == "Stream health":
                found.shows(f"No supervisor of a live job answers at {NO_METRICS}")
        found.go("Live")
        _write_until_shown(root, found)
        assert found.errors == []
        found.page.close()


def _write_until_shown(root: Path, found: Visit) -> None:
    """Commit windows as a job does until the page, which nobody touches, is a minute on."""
    stop = threading.Event()

    def write() -> None:
        for window in count():
            land(root, "emotion_features", feature("zoe", window))
            if stop.wait(0.1):
                return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found.metric("Newest window ended", "10:01:")
    finally:
        stop.set()
        writer.join()
    sql = "SELECT max(window_end) AS newest, count(*) AS n FROM emotion_features"
    landed = query(root, sql).to_pylist()[0]
    found.metric("Newest window ended", f"{landed['newest']:%H:%M:%S}")
    found.metric("Windows", str(landed["n"]))


def test_a_role_sees_its_views_alone_and_what_is_looked_at_is_logged(
    world: Path, browser: Browser, tmp_path: Path
) -> None:
    with dashboard(tmp_path, world, NO_METRICS, "--role", "operator") as address:
        context = profile(browser)
        found = visit(context, address)
        found.heading("Stream health")
        found.cell("bad_json")
        links = found.page.get_by_role("link").all_inner_texts()
        assert not {"Live", "Decisions", "Review queue"} & set(links)
        assert "joy" not in found.page.content()
        context.close()
    noted = [(e["who"], e["role"], e["what"]) for e in read_entries(tmp_path / "audit")]
    assert noted == [(f"{REVIEWER} ({user_name()})", "operator", "health")]
