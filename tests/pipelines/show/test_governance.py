"""The governance report: what stands, and no number by which a few people could be known."""

import datetime as dt
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from pipelines.access.audit import AuditLog, Entry, log_files
from pipelines.aggregate.ledger import Asked, open_ledger
from pipelines.aggregate.settings import Aggregates
from pipelines.cli.main import app
from pipelines.config import Config, load_config
from pipelines.show.governance import LEAST, Section, _budget, governance, write_governance
from schemas.errors import AffectstreamError
from tests.support.served import BEGIN, land, subject
from transforms.landing.prepare import prepare_tables

NOW = dt.datetime(2026, 12, 1, 10, tzinfo=dt.UTC)
"""A day before laws of which the policy knows the date; rows are of another time."""
HOSTILE = "GDPR | \x1b[2J \u202e art"


def consent(number: int, purpose: str, action: str) -> dict[str, Any]:
    who = f"{purpose}{number:02}x"
    return {
        "ledger_id": f"{who}-{action}".encode().hex(),
        "subject_ref": subject(who),
        "person_ref": subject(who),
        "person_fold": subject(who),
        "purpose": purpose,
        "modality": "text",
        "action": action,
        "event_time": BEGIN,
        "recorded_at": BEGIN,
        "event_date": BEGIN.date(),
    }


@pytest.fixture
def config(tmp_path: Path, keys: Path) -> Config:
    root = tmp_path / "tables"
    prepare_tables(root)
    land(root, "consent_ledger",
         *(consent(n, "recommendation", "granted") for n in range(LEAST)),
         *(consent(n, "research", "granted") for n in range(LEAST - 1)),
         consent(0, "recommendation", "withdrawn"))  # fmt: skip
    refusals = [
        {"event_id": f"{n:032x}", "subject_ref": subject("ann"), "event_time": BEGIN, "code": "c",
         "article": HOSTILE if n else "GDPR Art. 6 and 9", "modality": "text", "content": n,
         "event_date": BEGIN.date(), "offset": n}
        for n in range(3)
    ]  # fmt: skip
    land(root, "refusals", *refusals)
    return load_config(None, tables=root, keys=keys, access={"audit": tmp_path / "audit"})


def sections(config: Config) -> dict[str, Section]:
    return {section.title: section for section in governance(config, lambda: NOW)}


def test_it_says_what_stands(config: Config) -> None:
    found = sections(config)
    assert list(found) == [
        "Policy", "Refusals by article", "Consents", "Erasures", "Retention", "Privacy budget",
        "Models", "Roles", "Audit",
    ]  # fmt: skip
    assert [row[2] for row in found["Refusals by article"].rows] == ["2", "1"]
    assert "in force on 2026-12-01" in found["Policy"].notes[0]
    assert {row[0] for row in found["Policy"].rows} <= {"in force", "to come", "over"}
    models = {row[0]: row for row in found["Models"].rows}
    assert set(models) == {"text", "voice", "face", "motion", "fusion"}
    assert models["text"][-1] == "yes"
    assert models["voice"][-1] == "by exception until 2027-12-01"
    assert models["face"][3] == "not measured"
    assert any(note.startswith("Exception for voice") for note in found["Models"].notes)
    assert {row[0] for row in found["Roles"].rows} >= {"analyst", "officer", "operator"}
    retention = {(row[0], row[1]): row for row in found["Retention"].rows}
    assert retention["observations", "voice"][2] == "14 days"
    assert retention["consent_ledger", "all"][4] == str(BEGIN.date())


def test_the_dates_that_come_are_those_of_the_policy(config: Config, tmp_path: Path) -> None:
    policy = yaml.safe_load(config.policy.read_text())
    for rule in policy["rules"]:
        rule.pop("since", None)
    policy["rules"][0] |= {"since": "2027-12-02"}
    policy["rules"][1] |= {"since": "2020-01-01", "until": "2026-11-30"}
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump(policy))
    found = sections(config.model_copy(update={"policy": path}))["Policy"]
    assert [row[0] for row in found.rows[:3]] == ["to come", "over", "in force"]
    assert "Next changes: 2027-12-02." in found.notes[0]


def test_evidence_on_record_is_named_with_what_it_lifts(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "evidence.yaml"
    path.write_text("evidence: {medical_reason: {reference: study 7, since: 2026-01-01}}\n")
    found = sections(config.model_copy(update={"evidence": path}))["Policy"]
    assert any("On record as medical_reason, from 2026-01-01" in note for note in found.notes)
    lifted = [row[2] for row in found.rows if row[0] == "lifted by evidence"]
    assert lifted == ["EU AI Act Art. 5(1)(f), medical reasons"]
    assert not any(row[0].startswith("lifted") for row in sections(config)["Policy"].rows)


def test_the_budget_is_that_of_the_ledger_that_is_asked(config: Config, tmp_path: Path) -> None:
    (before,) = sections(config)["Privacy budget"].notes
    assert "No aggregate has been asked for" in before
    elsewhere = Aggregates(ledger=tmp_path / "elsewhere.sqlite", audiences=("a", "b"))
    with open_ledger(config.tables, elsewhere, "a") as ledger:
        ledger.debit(Asked("t", 1, "q"), 0.01, 1e-9)
    told = sections(config.model_copy(update={"aggregates": elsewhere}))["Privacy budget"].notes
    assert "elsewhere.sqlite" in told[0]
    asked = [re.search(r"for (\w+) .* so far: (\d+)", note) for note in told[1:]]
    assert [each.groups() for each in asked if each] == [("a", "1"), ("b", "0")]
    remote = config.model_copy(update={"tables": "s3://bucket/tables"})
    assert "no budget can be kept" in _budget(remote).notes[0]


def test_what_a_policy_leaves_out_is_said(config: Config, tmp_path: Path) -> None:
    assert not any("Decide" in note for note in sections(config)["Policy"].notes)
    policy = yaml.safe_load(config.policy.read_text()) | {"consent": []}
    policy["rules"] = [r for r in policy["rules"] if "Art. 5(1)(f)" not in r["article"]]
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump(policy))
    told = [n for n in sections(config.model_copy(update={"policy": path}))["Policy"].notes
            if n.startswith("Decide on this: the policy allows")]  # fmt: skip
    assert [re.findall(r"against ([^:]*)", note) for note in told] == [
        ["EU AI Act Art. 5(1)(f)"], ["the law of each region that the shipped table lists"],
        ["BIPA 740 ILCS 14/15(b)"], ["PIPL Art. 29"],
    ]  # fmt: skip


def test_no_number_of_a_few_people_is_shown(config: Config) -> None:
    rows = {(row[0], row[1]): row[2] for row in sections(config)["Consents"].rows}
    assert rows == {
        ("recommendation", "granted"): str(LEAST),
        ("recommendation", "withdrawn"): f"under {LEAST}",
        ("research", "granted"): f"under {LEAST}",
    }


def test_without_tables_or_readings_it_says_so(tmp_path: Path, keys: Path) -> None:
    bare = load_config(
        None, tables=tmp_path / "none", keys=keys, access={"audit": tmp_path / "audit"}
    )
    found = sections(bare)
    for title, name in (("Refusals by article", "refusals"), ("Erasures", "erasures")):
        assert list(found[title].notes) == [f"No table {name} stands here."]
    assert found["Audit"].notes[0].startswith("No reading stands in")


def test_the_head_of_the_log_is_named_and_what_was_done_to_it(config: Config) -> None:
    log = AuditLog(config.access.audit, 365)
    head = log.append([Entry(NOW, "dana", "officer", "api", "latest")] * 3)
    notes = " ".join(sections(config)["Audit"].notes)
    assert "the chain is whole" in notes
    assert f"line 3, {head.hash}" in notes
    (file,) = log_files(config.access.audit)
    file.write_bytes(file.read_bytes().replace(b"dana", b"eve_", 1))
    assert "was changed" in " ".join(sections(config)["Audit"].notes)


def test_the_page_and_the_terminal_hold_no_control_character(
    config: Config, tmp_path: Path
) -> None:
    page = write_governance(list(sections(config).values()), tmp_path / "g.md", NOW.date())
    text = page.read_text()
    assert text.startswith("# Governance report, 2026-12-01\n")
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", text)
    assert "GDPR \\| \\x1b" in text
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(AffectstreamError, match="name another file as --out"):
        write_governance([], blocked / "g.md", NOW.date())


def test_the_command_prints_and_writes_it(config: Config, tmp_path: Path) -> None:
    path, out = tmp_path / "config.yaml", tmp_path / "out" / "g.md"
    path.write_text(f"tables: {config.tables}\nkeys: {config.keys}\n"
                    f"access: {{audit: {config.access.audit}}}\n")  # fmt: skip
    command = ["report", "governance", "--config", str(path), "--out", str(out)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.exception
    assert "Refusals by article" in result.stdout
    assert "## Retention" in out.read_text()
