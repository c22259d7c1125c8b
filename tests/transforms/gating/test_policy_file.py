"""A policy, or a file beside it, that does not say what it seems to: refused with file and line."""

from pathlib import Path

import pytest

from pipelines.config import POLICIES
from schemas.errors import AffectstreamError
from transforms.deciding.scenarios import read_scenarios
from transforms.gating.policy import read_policy

SHIPPED = (POLICIES / "gate.yaml").read_text(encoding="utf-8")
ALLOW = """
  - verdict: allow
    article: consent
    purposes: [safety]
    scenarios: [game]
    modalities: [text]
"""
SMALL = f"""version: small
regions: [EU, US]
purposes: [safety, research]
scenarios: [game, learning]
age_bands: [child, adult]
modalities: [text, face]
consent: []
rules:
  - verdict: refuse
    code: purpose_prohibited
    article: a
    scenarios: [learning]
    biometric: true
  - verdict: refuse
    code: minor_biometric
    article: b
    age_bands: [child]
    biometric: true{ALLOW}"""


def line_of(text: str, part: str) -> int:
    assert text.count(part) >= 1, part
    return text[: text.index(part)].count("\n") + 1


def refused(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(AffectstreamError) as told:
        read_policy(path)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_the_small_and_the_shipped_policy_are_sound(tmp_path: Path) -> None:
    path = tmp_path / "gate.yaml"
    for text in (SMALL, SHIPPED):
        path.write_text(text)
        assert read_policy(path).rules


@pytest.mark.parametrize(
    ("old", "new", "line_with", "said"),
    [
        ("regions: [EU, US]", "regions: [EU, US]\nregions: [EU]", None, "`regions` stands twice"),
        ("article: b\n", "article: b\n    article: c\n", "article: c", "`article` stands twice"),
        ("[text, face]", "[text, fcae]", "modalities", "'fcae', which is none: did you mean `face"),
        ("[child, adult]", "[child, adlt]", "age_bands", "is none: did you mean `adult`"),
        ("[EU, US]", "[EU, MARS]", "regions", "'MARS', which is neither"),
        ("[EU, US]", "[EU, US-ILL]", "regions", "'US-ILL', which is neither"),
        ("[EU, US]", "[EU, DE]", "regions", "events of 'DE' are read as EU: write `EU`"),
        ("[game, learning]", "[game, school]", "scenarios", "'school' are read as learning"),
        ("[safety, research]", "[avatar]", "purposes", "read as avatar_mirroring"),
        ("article: b\n", "article: b\n    regions: [Eu]\n", "regions: [Eu]", "rule 2 names ['Eu']"),
        ("article: b\n", "article: b\n    not_purposes: [x]\n", None, "rule 2 names ['x']"),
        ("article: b\n", "article: b\n    since: 2026-02-02\n    until: 2026-02-01\n",
         "since: 2026-02-02", "since 2026-02-02 is after until 2026-02-01"),
        ("article: b\n", "article: b\n    regions: []\n", "regions: []", "regions is empty"),
        ("version: small", "version: ' '", "version:", "version is empty"),
        ("article: b\n", "article: ''\n", "article: ''", "article is empty"),
        ("article: b\n", "article: \"\\u200b\"\n", None, "article is empty"),
        ("article: b\n", "article: b\n    since: 9998-01-01\n", "since: 9998",
         "no event is of the year 9998"),
        ("code: minor_biometric", "code: minor", "code: minor", "Input should be"),
        ("article: b\n", "artcle: b\n", None, "rules.1.article: Field required"),
        ("consent: []\n", "", None, "consent: Field required"),
        ("consent: []", "consent: [{needs: parent, article: x}]", "consent", "consent.0.needs"),
        ("consent: []", "consent:\n  - {needs: guardian, article: x, regions: [XX]}", "- {needs",
         "consent 1 names ['XX']"),
        ("article: b\n", "article: b\n    unless: [proof\n", None, "while parsing"),
    ],
)  # fmt: skip
def test_a_table_that_is_wrong_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, line_with: str | None, said: str
) -> None:
    assert old in SMALL
    text = SMALL.replace(old, new, 1)
    message = refused(tmp_path / "gate.yaml", text)
    assert message.startswith(f"{tmp_path}/gate.yaml is not a policy table: line ")
    assert said in message
    if line_with is not None:
        assert f"line {line_of(text, line_with)}:" in message
    if "stands twice" in said:
        assert f"line {line_of(text, new.splitlines()[-1].strip())}:" in message


def test_no_rule_at_all(tmp_path: Path) -> None:
    text = SMALL[: SMALL.index("rules:")] + "rules: []\n"
    assert f"line {line_of(text, 'rules:')}: rules: " in refused(tmp_path / "gate.yaml", text)


def rule(number: int, code: str, **conditions: object) -> str:
    told = "".join(f"\n    {name}: {value}" for name, value in conditions.items())
    return f"\n  - verdict: refuse\n    code: {code}\n    article: r{number}{told}\n"


@pytest.mark.parametrize(
    "late",
    [
        rule(9, "purpose_prohibited", scenarios="[learning]", biometric="true"),
        rule(9, "purpose_prohibited", scenarios="[learning]", modalities="[face]"),
        rule(9, "minor_biometric", regions="[EU]", biometric="true", age_bands="[child]"),
        rule(9, "minor_biometric", modalities="[face]", since="2026-01-01", age_bands="[child]"),
        rule(9, "evidence_missing", modalities="[face]", scenarios="[learning]", unless="[proof]"),
    ],
)
def test_a_rule_that_those_before_it_cover_is_refused(tmp_path: Path, late: str) -> None:
    text = SMALL.replace(ALLOW, late + ALLOW)
    message = refused(tmp_path / "gate.yaml", text)
    assert f"line {line_of(text, late.strip())}:" in message
    assert "rule 3 can never match" in message


@pytest.mark.parametrize(
    "late",
    [
        rule(9, "purpose_prohibited", scenarios="[learning]"),
        rule(9, "purpose_prohibited", regions="[EU]", until="2026-01-01"),
        rule(9, "notice_missing", noticed="false"),
        rule(9, "minor_biometric", age_bands="[child]", modalities="[text, face]"),
    ],
)
def test_a_rule_that_decides_some_case_is_taken(tmp_path: Path, late: str) -> None:
    path = tmp_path / "gate.yaml"
    path.write_text(SMALL.replace(ALLOW, late + ALLOW))
    assert len(read_policy(path).rules) == 4


def test_two_rules_cover_a_third_together(tmp_path: Path) -> None:
    """Neither does alone: by halves of a dimension, and by spans of days."""
    for halves in (
        ({"regions": "[EU]"}, {"regions": "[US]"}),
        ({"until": "2026-06-30"}, {"since": "2026-07-01"}),
    ):
        parts = [rule(n, "purpose_prohibited", **half) for n, half in enumerate(halves)]
        third = rule(9, "purpose_prohibited", scenarios="[game]", modalities="[text]")
        whole = SMALL.replace(ALLOW, "".join([*parts, third, ALLOW]))
        assert "rule 5 can never match" in refused(tmp_path / "gate.yaml", whole)


def test_a_rule_for_the_day_between_two_others_is_taken(tmp_path: Path) -> None:
    parts = [
        rule(7, "purpose_prohibited", until="2026-06-30"),
        rule(8, "purpose_prohibited", since="2026-07-02"),
        rule(9, "purpose_prohibited", scenarios="[game]", modalities="[text]", regions="[EU]"),
    ]
    (tmp_path / "gate.yaml").write_text(SMALL.replace(ALLOW, "".join([*parts, ALLOW])))
    assert len(read_policy(tmp_path / "gate.yaml").rules) == 6


def test_a_rule_that_evidence_lifts_covers_nothing(tmp_path: Path) -> None:
    lifted = rule(8, "evidence_missing", modalities="[text]", unless="[proof]")
    behind = rule(9, "purpose_prohibited", modalities="[text]", regions="[EU]")
    path = tmp_path / "gate.yaml"
    path.write_text(SMALL.replace(ALLOW, lifted + behind + ALLOW))
    assert len(read_policy(path).rules) == 5


def test_a_refusal_behind_what_allows_it_is_refused(tmp_path: Path) -> None:
    """The order of the two would decide silently, and for the permission."""
    late = rule(9, "purpose_prohibited", regions="[EU]", since="2027-01-01")
    text = SMALL + late
    message = refused(tmp_path / "gate.yaml", text)
    assert "rule 4 refuses what rule 3 before it allows" in message
    assert f"line {line_of(text, late.strip())}:" in message
    elsewhere = rule(9, "purpose_prohibited", purposes="[research]", regions="[EU]")
    (tmp_path / "gate.yaml").write_text(SMALL + elsewhere)
    assert len(read_policy(tmp_path / "gate.yaml").rules) == 4


EVIDENCE = """evidence:
  human_oversight: {reference: "record 7", since: 2027-11-01}
  eu_registration: {reference: "EU-1234", since: 2027-11-01, until: 2029-10-31}
"""


def test_evidence_is_read_beside_the_policy(tmp_path: Path) -> None:
    path = tmp_path / "evidence.yaml"
    path.write_text(EVIDENCE)
    policy = read_policy(POLICIES / "gate.yaml", evidence=path)
    assert sorted(policy.evidence) == ["eu_registration", "human_oversight"]


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("human_oversight", "human_oversigt", 2, "did you mean `human_oversight`?"),
        ('"record 7"', '" "', 2, "an empty reference proves nothing"),
        ("until: 2029-10-31", "until: 2027-10-31", 3, "since 2027-11-01 is after until 2027-10-31"),
        ("  eu_registration:", "  human_oversight:", 3, "`human_oversight` stands twice"),
        (", since: 2027-11-01}", "}", 2, "since: Field required"),
        ("evidence:", "evidnce:", 1, "Field required"),
    ],
)
def test_evidence_that_is_wrong_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    path = tmp_path / "evidence.yaml"
    assert old in EVIDENCE
    path.write_text(EVIDENCE.replace(old, new, 1))
    with pytest.raises(AffectstreamError, match=rf"evidence\.yaml .*line {line}: ") as told:
        read_policy(POLICIES / "gate.yaml", evidence=path)
    assert said in str(told.value)


SCENARIOS = """version: v
high_stakes: [game]
scenarios:
  game:
    joy: {action: cheer, after: 1}
actions: {cheer: speaks_to_person, hush: speaks_to_person}
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("joy", "jpy", 5, "'jpy', which is no expression: did you mean `joy`?"),
        ("  game:\n    joy: {action: cheer, after: 1}\n", "  game: {}\n", 4, "game has no rule"),
        ("scenarios:\n  game:\n    joy: {action: cheer, after: 1}\n", "scenarios: {}\n", None,
         "there is no scenario"),
        ("  game:", "  games:", 4, "'games' are read as game"),
        ("[game]", "[gmae]", 2, "did you mean `game`?"),
        ("after: 1", "after: 0", 5, "greater than or equal to 1"),
        ("    joy: {action: cheer, after: 1}\n",
         "    joy: {action: cheer, after: 1}\n    joy: {action: hush, after: 1}\n", 6,
         "`joy` stands twice"),
    ],
)  # fmt: skip
def test_a_scenario_policy_that_is_wrong_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, line: int | None, said: str
) -> None:
    path = tmp_path / "scenarios.yaml"
    assert old in SCENARIOS
    path.write_text(SCENARIOS.replace(old, new, 1))
    with pytest.raises(
        AffectstreamError, match=r"scenarios\.yaml is not a scenario policy: line"
    ) as told:
        read_scenarios(path)
    assert said in str(told.value)
    assert line is None or f"line {line}: " in str(told.value)
