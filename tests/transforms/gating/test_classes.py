"""Classes, not strings: what reads as work, education or intimacy is judged as that."""

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.config import POLICIES
from schemas.errors import AffectstreamError, RefusalCode
from schemas.stages import MAIN
from tests.support.records import pseudonymous, record
from transforms.decoding.aliases import aliases
from transforms.gate import Gate
from transforms.gating.classes import classes_of, protected_classes
from transforms.gating.consent import Consents, ledger_rows
from transforms.gating.policy import Policy, read_policy
from transforms.gating.rules import Case

DAY = dt.date(2026, 12, 1)
EU_ACT = "EU AI Act Art. 5(1)(f)"


@pytest.fixture(scope="module")
def policy() -> Policy:
    return read_policy(POLICIES / "gate.yaml")


@pytest.mark.parametrize(
    "name",
    [
        "school", "Pre-School", "classroom", "Class Room 7", "class_room", "MathExam", "exam2",
        "课堂", "四年级课堂", "課堂", "Klassenzimmer", "UNTERRICHT", "training_course", "teaching",
        "classroom-quiz", "sch\u200bool", "ｓｃｈｏｏｌ", "exam-proctoring", "학교", "école-3",
        "mathlesson", "Mathelesson", "MathEXAM", "e\u00adxam", "sch00l", "s.c.h.o.o.l", "schооl",
        "大学", "學生", "小学", "中学", "高中", "幼儿园", "补习班", "課程", "学習塾", "スクール",
        "유치원", "Grundschule", "Berufsschule", "Schulhof", "Hörsaal", "Hoersaal", "Vorlesung",
        "Prüfungen", "Pruefung-2", "Studenten", "Abitur", "colegio", "universidad", "clase",
        "escuelas", "guarderia", "universités", "lycée", "escola", "scuole", "università",
        "szkoła", "škola", "koulu", "πανεπιστήμιο", "школа-5", "schoolofmagic", "magic-academy",
    ],
)  # fmt: skip
def test_a_name_reads_as_education(name: str) -> None:
    assert classes_of(name) == {"education"}


@pytest.mark.parametrize(
    "name",
    [
        "office", "main_office", "Arbeitsplatz", "Büro-3", "职场", "工作", "meeting",
        "TeamMeeting", "interview", "job-interview", "WORK_PLACE", "coworking-space",
        "employee-mood", "会议室", "VROffice", "XRMeeting", "HRInterview", "homeoffice",
        "jobinterview", "officeparty", "nightjob", "wo\u200brk", "w\u00adork", "off\u2060ice",
        "o.f.f.i.c.e", "o-f-f-i-c-e", "W0rk", "0ff1ce", "wórk", "Wоrk", "𝐨𝐟𝐟𝐢𝐜𝐞", "office\tparty",
        "公司", "企業", "工厂", "车间", "会社", "オフィス", "회사", "Büros", "Buero",
        "Großraumbüro", "Arbeitsplätze", "Firma", "Vorstellungsgespräch", "Werkstatt", "empresa",
        "entrevista", "fabrica", "entreprise", "escritório", "ufficio", "kantoor", "офис",
        "workshop", "toy-factory", "call-center", "staff-room", "reunion",
    ],
)  # fmt: skip
def test_a_name_reads_as_work(name: str) -> None:
    assert classes_of(name) == {"workplace"}


@pytest.mark.parametrize(
    "name",
    [
        None, "", "arena-7", "rooftop-2", "example", "firework", "network-lobby", "officer-quest",
        "golf-course", "boss-class-3", "training-ground", "tutorial", "teamwork", "market", "1337",
        "artwork", "avatar_mirroring", "recommendation", "research", "safety", "medical",
        "training", "framework", "classic", "class-warrior", "hex-amber", "clockwork", "patchwork",
        "police-officer", "company-of-heroes", "level-5", "lvl-50", "studio-54", "tavern",
        "raid-10", "karaoke", "chess-club", "hospital", "greeting", "jobless", "offline",
    ],
)  # fmt: skip
def test_a_name_of_a_game_reads_as_none(name: str | None) -> None:
    assert classes_of(name) == frozenset()


def test_a_name_may_read_as_two() -> None:
    assert classes_of("office-school") == {"education", "workplace"}
    assert classes_of("x" * 300 + "-school") == frozenset(), "no more is read than an id may have"


def test_each_class_is_judged_as_what_the_policy_lists_and_spelt_in_scenarios(
    policy: Policy,
) -> None:
    for label, each in protected_classes().items():
        assert each.scenario in policy.scenarios
        assert each.purpose is None or each.purpose in policy.purposes
        assert all(classes_of(word) == {label} for word in (*each.words, *each.ends, *each.parts))
    ambiguous = {"class", "course", "shift"}
    for spelling, scenario in aliases("scenario").items():
        if scenario in ("learning", "work") and spelling not in ambiguous:
            labels = {protected_classes()[label].scenario for label in classes_of(spelling)}
            assert labels == {scenario}, spelling


def judged(policy: Policy, way: str = "face", **changes: str) -> tuple[str, str] | None:
    told = {"scenario": "game", "purpose": "avatar_mirroring", "region": "EU"} | changes
    scene = classes_of(told.pop("scene", None))
    case = Case(age_band="adult", modality=way, day=DAY, scene_classes=scene, **told)
    return policy.judge(case)


def test_a_game_in_a_classroom_is_education(policy: Policy) -> None:
    assert judged(policy, scene="Classroom-7b") == (RefusalCode.PURPOSE_PROHIBITED, EU_ACT)
    assert judged(policy, scene="会议-3") == (RefusalCode.PURPOSE_PROHIBITED, EU_ACT)
    assert judged(policy, scene="Classroom-7b", way="text") is None
    assert judged(policy, scene="Classroom-7b", region="US") is None
    assert judged(policy, scene="arena-7") is None


def test_a_purpose_that_reads_as_a_class_is_judged_as_it(policy: Policy) -> None:
    for purpose in ("office", "Arbeitsplatz", "teaching", "exam-proctoring", "职场"):
        assert judged(policy, purpose=purpose) == (RefusalCode.PURPOSE_PROHIBITED, EU_ACT)
        assert judged(policy, "text", purpose=purpose) is not None
    assert judged(policy, purpose="selling") == (
        RefusalCode.PURPOSE_UNKNOWN, "no rule for this purpose",
    )  # fmt: skip
    own = policy.model_dump()
    own["purposes"] |= {"meeting_analysis"}
    own["rules"][-1]["purposes"] |= {"meeting_analysis"}
    listed = Policy.model_validate(own)
    assert judged(listed, purpose="meeting_analysis") == (RefusalCode.PURPOSE_PROHIBITED, EU_ACT)
    assert judged(listed, purpose="meeting_analysis", region="US") is None


def test_an_unlisted_purpose_is_never_opened_by_the_one_that_it_reads_as(policy: Policy) -> None:
    """A policy that lets workers be watched says nothing of `office`, which `*` grants."""
    lax = policy.model_dump()
    (watching,) = [rule for rule in lax["rules"] if rule["article"].startswith("no legal basis")]
    watching["purposes"] = frozenset({"education_monitoring"})
    lax["rules"][-1]["purposes"] |= {"workplace_monitoring"}
    lax = Policy.model_validate(lax)
    assert judged(lax, purpose="workplace_monitoring", region="US") is None
    assert judged(lax, purpose="office", region="US") == (
        RefusalCode.PURPOSE_UNKNOWN, "no rule for this purpose",
    )  # fmt: skip


def test_a_scenario_of_ones_own_that_is_listed_stays_in_its_class(policy: Policy) -> None:
    own = policy.model_dump()
    own["scenarios"] |= {"classroom-quiz"}
    own["rules"][-1]["scenarios"] |= {"classroom-quiz"}
    assert judged(Policy.model_validate(own), scenario="classroom-quiz") == (
        RefusalCode.PURPOSE_PROHIBITED, EU_ACT,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("judged_as", "line", "said"),
    [
        ("{classroom-quiz: game}", 3, "reads as education: judge it as learning, or give"),
        ("{escape-room: game,\n  office-party: social}", 4, "reads as workplace: judge it as work"),
        ("{dating-sim: game}", 3, "reads as intimacy"),
        ("{school-office: work}", 3, "reads as education"),
        ("{VROffice: game}", 3, "reads as workplace"),
        ("{大学: game}", 3, "reads as education"),
        ("{grundschule: game}", 3, "reads as education"),
    ],
)
def test_no_scenario_file_lowers_the_protection(
    tmp_path: Path, judged_as: str, line: int, said: str
) -> None:
    path = tmp_path / "scenarios.yaml"
    path.write_text(
        f"version: v\nhigh_stakes: []\njudged_as: {judged_as}\n"
        "scenarios: {game: {joy: {action: celebrate, after: 1}}}\n"
    )
    with pytest.raises(
        AffectstreamError, match=f"scenarios.yaml is not a scenario policy: line {line}: .*{said}"
    ):
        read_policy(POLICIES / "gate.yaml", path)
    path.write_text(path.read_text().replace(judged_as, "{classroom-quiz: learning}"))
    assert read_policy(POLICIES / "gate.yaml", path).judged_as == {"classroom-quiz": "learning"}


def passes(policy: Policy, **changes: str) -> bool:
    said = {"granted": True, "purposes": ["*"], "modalities": ["*"]}
    given = pseudonymous(record("consent", 0, said, region="EU"))
    gate = Gate(policy, Consents([ledger_rows(given, policy.purposes)[0]]))
    outputs = gate.batch(pseudonymous(face(1, **changes)))
    return [tag for tag, out in outputs if out.num_rows] == [MAIN]


def face(second: int, **changes: str) -> dict:
    return record("face", second, b"\xff\xd8\xffx", region="EU", **changes)


def test_the_gate_looks_at_the_scene(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a batch with other scenes too, and with none."""
    assert passes(policy, sceneid="arena-7", scenario="game")
    assert not passes(policy, sceneid="Classroom-7b", scenario="game")
    rows = pseudonymous(
        *(
            face(n, sceneid=scene)
            for n, scene in enumerate(["a", "ClassRoom", None, "a", "büro"], 1)
        )
    )
    said = {"granted": True, "purposes": ["*"], "modalities": ["*"]}
    given = pseudonymous(record("consent", 0, said, region="EU"))
    consents = Consents([ledger_rows(given, policy.purposes)[0]])
    found = {tag: out for tag, out in Gate(policy, consents).batch(rows)}
    assert isinstance(found[MAIN], pa.RecordBatch)
    assert found[MAIN]["offset"].to_pylist() == [1, 3, 4]
    monkeypatch.setattr("transforms.pseudonymise.classes_of", lambda _: frozenset())
    assert passes(policy, sceneid="Classroom-7b", scenario="game"), "as it was without classes"
