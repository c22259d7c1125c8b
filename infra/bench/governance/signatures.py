"""What signed consents cost: one check, a batch of grants with and without, the worst record."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from examples.sign_consent import sign
from tests.support.records import IDS, attributes, raw, record
from transforms.decode import decode_batch
from transforms.decoding.signatures import read_signers

_RECORDS, _ROUNDS, _LARGE = 2_000, 5, 10 << 20
_GRANT = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["text"]}


def measure(folder: Path) -> dict[str, float]:
    """Time 2,000 grants, each of another subject, and one record of 10 MB, in processor time."""
    keys: dict[str, Any] = {
        "ed25519": Ed25519PrivateKey.generate(),
        "p256": ec.generate_private_key(ec.SECP256R1()),
    }
    public = [
        json.loads(kind.to_jwk(key.public_key()))
        for kind, key in zip((OKPAlgorithm, ECAlgorithm), keys.values(), strict=True)
    ]
    members = ("kty", "crv", "x", "y")
    known = [
        {name: jwk[name] for name in members if name in jwk} | {"kid": kid}
        for kid, jwk in zip(keys, public, strict=True)
    ]
    path = folder / "signers.json"
    path.write_text(json.dumps({"sources": {"world/test": {"keys": known}}}))
    signers = read_signers(path)
    plain = raw(*(record("consent", n, _GRANT, subject=f"s{n}") for n in range(_RECORDS)))
    figures = {"grant_us": _us(lambda: list(decode_batch(plain, IDS)), _RECORDS)}
    for kid, key in keys.items():
        rows = raw(*(_signed(number, _GRANT, key, kid) for number in range(_RECORDS)))
        assert sum(batch.num_rows for _, batch in decode_batch(rows, IDS, signers)) == _RECORDS
        taken = _us(lambda rows=rows: list(decode_batch(rows, IDS, signers)), _RECORDS)
        figures[f"grant_signed_{kid}_us"] = taken
    large = raw(_signed(1, b" " * _LARGE, keys["p256"], "p256"))
    figures["record_10_mb_ms"] = _us(lambda: list(decode_batch(large, IDS)), 1) / 1000
    figures["record_10_mb_signed_ms"] = (
        _us(lambda: list(decode_batch(large, IDS, signers)), 1) / 1000
    )
    return figures


def _signed(number: int, payload: Any, key: Any, kid: str) -> dict[str, Any]:
    subject = f"s{number}"
    told = attributes("consent", number, subject=subject)
    told.pop("specversion")
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return record("consent", number, payload, subject=subject, signature=sign(told, data, key, kid))


def _us(work: Callable[[], object], count: int) -> float:
    """Return the least processor time of a few rounds, in µs for each record."""
    taken = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken) / count * 1e6
