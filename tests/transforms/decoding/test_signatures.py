"""Signed governance records: what opens the gate or deletes, and what only closes it."""

import base64
import json
from collections.abc import Callable
from hashlib import sha256
from hmac import digest
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from examples.sign_consent import sign
from schemas.errors import AffectstreamError
from schemas.stages import DEAD, MAIN, kind_of
from tests.support.records import IDS, PSEUDONYMS, at, attributes, raw, record
from transforms.decode import decode_batch
from transforms.decoding.signatures import Signers, read_signers, signed_bytes
from transforms.gating.consent import GRANTED, UNKNOWN, WITHDRAWN, Consents, ledger_rows

ED, EC, OTHER = Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1()), (
    Ed25519PrivateKey.generate()
)  # fmt: skip
GRANT = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["text"]}
NO = GRANT | {"granted": False}
PURPOSES = frozenset({"avatar_mirroring"})
Row = dict[str, Any]


def jwk(key: Any, **more: Any) -> dict[str, Any]:
    algorithm = OKPAlgorithm if isinstance(key, Ed25519PrivateKey) else ECAlgorithm
    known = json.loads(algorithm.to_jwk(key.public_key()))
    return {name: known[name] for name in ("kty", "crv", "x", "y") if name in known} | more


def key_file(path: Path, **sources: list[dict[str, Any]]) -> Path:
    named = {f"world/{name}": {"keys": keys} for name, keys in sources.items()}
    path.write_text(json.dumps({"sources": named}))
    return path


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> Signers:
    path = tmp_path_factory.mktemp("signers") / "signers.json"
    mine = [jwk(ED, kid="ed"), jwk(EC, kid="ec", alg="ES256", use="sig")]
    return read_signers(key_file(path, test=mine, other=[jwk(OTHER, kid="ed")]))


def signed(
    kind: str, number: int, payload: Any = GRANT, *, key: Any = ED, kid: str = "ed", **changes: Any
) -> Row:
    """A record that is signed as it is sent; ``structured`` for JSON mode."""
    told = attributes(kind, number, **{n: v for n, v in changes.items() if n != "structured"})
    told.pop("specversion")
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return record(kind, number, payload, signature=sign(told, data, key, kid), **changes)


def read(signers: Signers | None, *rows: Row) -> tuple[list[pa.RecordBatch], list[str]]:
    """Return CONSENT_LEDGER batches and the codes of dead letters, in order."""
    ledger, codes = [], []
    for tag, batch in decode_batch(raw(*rows), IDS, signers):
        if tag == DEAD:
            codes += batch["code"].to_pylist()
        elif batch.num_rows:
            assert tag == MAIN
            ledger.append(ledger_rows(PSEUDONYMS.batch(batch), PURPOSES)[0])
    return ledger, sorted(codes)


def actions(ledger: list[pa.RecordBatch]) -> list[str]:
    return sorted(action for rows in ledger for action in rows["action"].to_pylist())


def gate(signers: Signers | None, *rows: Row, number: int = 50, subject: str = "alice") -> int:
    """What the gate says of a text after all that, and after each record was sent once more."""
    consents = Consents(read(signers, *rows)[0])
    event = record("text", number, {"text": "x"}, subject=subject)
    ((_, text),) = decode_batch(raw(event), IDS)
    return int(consents.ask(PSEUDONYMS.batch(text), "text")[0])


@pytest.mark.parametrize("structured", [False, True])
@pytest.mark.parametrize(("key", "kid"), [(ED, "ed"), (EC, "ec")])
def test_a_grant_that_its_source_signed_opens_the_gate(
    signers: Signers, structured: bool, key: Any, kid: str
) -> None:
    grant = signed("consent", 1, key=key, kid=kid, structured=structured)
    assert read(signers, grant)[1] == []
    assert gate(signers, grant) == GRANTED


def header(row: Row, name: str, value: bytes | None) -> Row:
    kept = [each for each in row["headers"] if each["key"] != name]
    return row | {"headers": [*kept, {"key": name, "value": value}]}


def forged(text: str, members: dict[str, Any], made: Callable[[bytes], bytes]) -> str:
    """A compact JWS with a header of one's own, without its payload."""

    def code(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head = code(json.dumps(members).encode())
    return f"{head}..{code(made(f'{head}.{code(text.encode())}'.encode()))}"


def unsigned_kinds() -> dict[str, tuple[Row, str]]:
    plain, good = record("consent", 1, GRANT), signed("consent", 1)
    mark = next(each["value"] for each in good["headers"] if each["key"] == "ce_signature")
    said = signed_bytes({n: v for n, v in attributes("consent", 1).items() if n != "specversion"},
                        plain["value"]).decode()  # fmt: skip
    public = ED.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    pem = ED.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    hmac_raw, hmac_pem = (lambda data, k=k: digest(k, data, sha256) for k in (public, pem))

    def with_header(members: dict[str, Any], made: Callable[[bytes], bytes] = ED.sign) -> Row:
        return header(plain, "ce_signature", forged(said, members, made).encode())

    invalid = "signature_invalid"
    return {
        "no signature": (plain, "signature_missing"),
        "an empty one": (header(plain, "ce_signature", b""), "signature_missing"),
        "no text": (header(plain, "ce_signature", b"\xff\xfe"), "signature_missing"),
        "rubbish": (header(plain, "ce_signature", b"a..b"), invalid),
        "endless": (header(plain, "ce_signature", b"a" * 100_000 + b"..b"), invalid),
        "another subject": (header(good, "ce_subject", b"bob") | {"key": b"bob"}, invalid),
        "another time": (header(good, "ce_time", at(2).encode()), invalid),
        "another region": (header(good, "ce_region", b"EU"), invalid),
        "one attribute more": (header(good, "ce_dataschema", b"x"), invalid),
        "another payload": (
            good | {"value": json.dumps(GRANT | {"modalities": ["voice"]}).encode()},
            invalid,
        ),
        "a payload with one space more": (good | {"value": good["value"] + b" "}, invalid),
        "a source that has no such key": (signed("consent", 1, kid="ex"), "signature_unknown_key"),
        "another source's key": (signed("consent", 1, key=OTHER), invalid),
        "another source's name": (header(good, "ce_source", b"world/other"), invalid),
        "an unknown source": (header(good, "ce_source", b"world/x"), "signature_unknown_key"),
        "two signatures": (
            good | {"headers": [*good["headers"], {"key": "CE_Signature", "value": b"x"}]},
            "signature_missing",
        ),
        "payload not detached": (header(good, "ce_signature", mark.replace(b"..", b".e30.")),
                                 invalid),
        "alg none": (with_header({"alg": "none", "kid": "ed"}, lambda _: b""), invalid),
        "HMAC with the public key": (with_header({"alg": "HS256", "kid": "ed"}, hmac_raw), invalid),
        "HMAC with its PEM": (with_header({"alg": "HS256", "kid": "ed"}, hmac_pem), invalid),
        "a key of its own": (
            with_header({"alg": "EdDSA", "kid": "ed", "jwk": jwk(OTHER)}, OTHER.sign), invalid,
        ),
        "what is critical": (
            with_header({"alg": "EdDSA", "kid": "ed", "crit": ["exp"], "exp": 1}), invalid,
        ),
        "payload as it is": (
            with_header({"alg": "EdDSA", "kid": "ed", "b64": False, "crit": ["b64"]}), invalid,
        ),
        "a member that nobody knows": (with_header({"alg": "EdDSA", "kid": "ed", "x": 1}), invalid),
        "no kid": (with_header({"alg": "EdDSA"}), "signature_unknown_key"),
        "a kid that is no text": (with_header({"alg": "EdDSA", "kid": {}}), invalid),
        "ES256 by an EdDSA key": (with_header({"alg": "ES256", "kid": "ed"}), invalid),
    }  # fmt: skip


UNSIGNED = unsigned_kinds()


@pytest.mark.parametrize("how", UNSIGNED)
def test_any_other_grant_is_a_dead_letter(signers: Signers, how: str) -> None:
    row, code = UNSIGNED[how]
    ledger, codes = read(signers, row)
    assert (ledger, codes) == ([], [code])


def test_without_signers_the_forged_ones_open_the_gate() -> None:
    """That the records above are good grants otherwise: what is refused are their signatures."""
    for how in ("no signature", "another source's key", "HMAC with the public key"):
        assert gate(None, UNSIGNED[how][0]) == GRANTED
    bob = UNSIGNED["another subject"][0]
    assert gate(None, bob, subject="bob") == GRANTED


def test_a_header_of_a_forged_kind_is_taken_where_the_signature_holds(signers: Signers) -> None:
    """The way in which the forged ones are made makes good ones, too."""
    plain = record("consent", 1, GRANT)
    told = {n: v for n, v in attributes("consent", 1).items() if n != "specversion"}
    good = forged(signed_bytes(told, plain["value"]).decode(), {"alg": "EdDSA", "kid": "ed"},
                  ED.sign)  # fmt: skip
    assert gate(signers, header(plain, "ce_signature", good.encode())) == GRANTED


@pytest.mark.parametrize("kind", ["consent", "erasure"])
@pytest.mark.parametrize("structured", [False, True])
def test_an_unsigned_prohibition_closes_the_gate_and_is_no_reason_to_delete(
    signers: Signers, kind: str, structured: bool
) -> None:
    grant, no = signed("consent", 1), record(kind, 5, NO, structured=structured)
    ledger, codes = read(signers, grant, no)
    assert codes == ["prohibition_unsigned"]
    assert actions(ledger) == ["granted", "suspended"]
    assert gate(signers, grant, no) == WITHDRAWN
    again = signed("consent", 9)
    assert gate(signers, grant, no, again) == GRANTED


def test_a_forged_time_does_not_make_a_prohibition_reach_what_was_landed(signers: Signers) -> None:
    old = record("erasure", 5, {}, time="2001-01-01T00:00:00Z")
    ledger, codes = read(signers, old)
    assert (actions(ledger), codes) == (["suspended"], ["prohibition_unsigned"])
    assert actions(read(None, old)[0]) == ["erasure_requested"], "without signers it does"


@pytest.mark.parametrize("structured", [False, True])
@pytest.mark.parametrize(
    ("kind", "payload", "action"),
    [("consent", NO, "withdrawn"), ("erasure", {"reason": "mine"}, "erasure_requested")],
)
def test_a_signed_prohibition_is_one_at_its_signed_time(
    signers: Signers, kind: str, payload: Any, action: str, structured: bool
) -> None:
    no = signed(kind, 5, payload, structured=structured)
    ledger, codes = read(signers, no)
    assert (actions(ledger), codes) == (sorted(["suspended", action]), [])
    (row,) = (row for rows in ledger for row in rows.to_pylist() if row["action"] == action)
    assert row["event_time"] == row["recorded_at"] == no["timestamp"]


@pytest.mark.parametrize("empty", [b"", None])
def test_an_erasure_without_data_may_be_signed(signers: Signers, empty: bytes | None) -> None:
    ledger, codes = read(signers, signed("erasure", 5, b"") | {"value": empty})
    assert (actions(ledger), codes) == (["erasure_requested", "suspended"], [])


def test_a_record_that_is_sent_again_adds_no_reason_to_delete_and_opens_nothing(
    signers: Signers,
) -> None:
    grant, no, again = signed("consent", 1), signed("erasure", 5, {}), signed("consent", 9)
    later = {"timestamp": record("text", 30, {})["timestamp"]}
    replayed = no | later
    ids = [
        row["ledger_id"]
        for rows in read(signers, no, replayed)[0]
        for row in rows.to_pylist()
        if row["action"] == "erasure_requested"
    ]
    assert len(ids) == 2
    assert len(set(ids)) == 1
    withdrawn = signed("consent", 5, NO, time=at(0))  # its clock is a little behind
    assert gate(signers, grant, withdrawn) == WITHDRAWN
    assert gate(signers, grant, withdrawn, grant | later) == WITHDRAWN
    assert gate(None, grant, withdrawn, grant | later) == GRANTED, "without signers it opens"
    assert gate(signers, grant, no, again) == GRANTED


@pytest.mark.parametrize(
    "change",
    [
        {"key": b"bob"},
        {"headers": [{"key": "CE-Subject", "value": b"bob"}]},
        {"headers": [{"key": "ce_subject", "value": b"bob"}]},
    ],
    ids=["key", "other spelling", "twice"],
)
def test_a_signed_erasure_deletes_nobody_who_is_named_beside_it(
    signers: Signers, change: Row
) -> None:
    no = signed("erasure", 5, {})
    if "headers" in change:
        change = {"headers": [*no["headers"], *change["headers"]]}
    ledger, codes = read(signers, no | change)
    assert (actions(ledger), codes) == (["suspended"] * 2, ["prohibition_unsigned"])
    assert "erasure_requested" in actions(read(None, no | change)[0])


def test_a_signed_grant_is_no_reason_to_delete_on_another_topic_or_with_more_around_it(
    signers: Signers,
) -> None:
    grant = signed("consent", 5) | {"topic": "governance.erasure"}
    ledger, codes = read(signers, grant)
    assert (actions(ledger), codes) == (["suspended"], ["prohibition_unsigned"])
    assert actions(read(None, grant)[0]) == ["erasure_requested"]
    erasure = signed("erasure", 5, {}) | {"topic": "governance.consent"}
    assert actions(read(signers, erasure)[0]) == ["suspended"]
    grant = signed("consent", 5, structured=True)
    turned = grant["value"][:-1] + b', "granted": false}'
    ledger, codes = read(signers, grant | {"value": turned})
    assert (actions(ledger), codes) == (["suspended"], ["prohibition_unsigned"])
    assert actions(read(None, grant | {"value": turned})[0]) == ["withdrawn"]


def test_a_signed_erasure_whose_clock_is_ahead_waits_for_a_person(signers: Signers) -> None:
    ledger, codes = read(signers, signed("erasure", 5, {}, time=at(3600)))
    assert (actions(ledger), codes) == (["suspended"], ["prohibition_unsigned"])


def test_a_record_that_names_nobody_is_unreadable_whoever_signs(signers: Signers) -> None:
    nobody = record("erasure", 1, {}, subject=None) | {"key": None}
    assert read(signers, nobody) == ([], ["governance_unreadable"])


def test_session_events_need_no_signature(signers: Signers) -> None:
    ((tag, text),) = decode_batch(raw(record("text", 1, {"text": "x"})), IDS, signers)
    assert (tag, kind_of(text), text.num_rows) == (MAIN, "text", 1)


def test_nobody_opens_the_gate_where_no_key_is_known(signers: Signers) -> None:
    assert gate(Signers({}), signed("consent", 1)) == UNKNOWN


BAD_FILES: dict[str, tuple[Any, str]] = {
    "a private key": (jwk(ED, kid="a", d="AAAA"), "makes this a private key"),
    "an HMAC key": ({"kty": "oct", "k": "AAAA", "kid": "a"}, "kty"),
    "an RSA key": ({"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "a"}, "kty"),
    "another curve": (jwk(ED, kid="a") | {"crv": "Ed448"}, "crv"),
    "kind and curve of two keys": (jwk(ED, kid="a") | {"crv": "P-256"}, "give an OKP key"),
    "an algorithm of another key": (jwk(ED, kid="a", alg="ES256"), "give an OKP key"),
    "no point of the curve": (jwk(EC, kid="a") | {"y": jwk(EC)["x"]}, "public key"),
    "too short a key": ({"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "kid": "a"}, "public key"),
    "no id": (jwk(ED), "kid"),
}


@pytest.mark.parametrize("how", BAD_FILES)
def test_a_file_of_other_keys_is_one_sentence(how: str, tmp_path: Path) -> None:
    key, reason = BAD_FILES[how]
    path = key_file(tmp_path / "signers.json", test=[key])
    with pytest.raises(AffectstreamError, match=f"not a file of signing keys: .*{reason}"):
        read_signers(path)


def test_two_keys_of_a_source_have_two_ids(tmp_path: Path) -> None:
    path = key_file(tmp_path / "signers.json", test=[jwk(ED, kid="a"), jwk(EC, kid="a")])
    with pytest.raises(AffectstreamError, match="two keys have one `kid`"):
        read_signers(path)
    with pytest.raises(AffectstreamError, match="not a file of signing keys"):
        read_signers(tmp_path)
