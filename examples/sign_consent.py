"""A consent that is signed by the service that asked for it, sent to Kafka.

    python examples/sign_consent.py keys          # makes consent-key.pem, prints the signing keys
    python examples/sign_consent.py send alice    # signs, sends to 127.0.0.1:9092
    python examples/sign_consent.py send alice broker.example:9092

The job checks it where its configuration names the printed keys: `signatures: {keys: …}`. Nothing
here is of affectstream: any JOSE library, in any language, signs the same.
"""

import datetime as dt
import hashlib
import json
import sys
import uuid
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt import PyJWS
from jwt.algorithms import OKPAlgorithm
from kafka import KafkaProducer

KEY, KEY_ID = Path("consent-key.pem"), "2026-11"
SOURCE = "https://consent.example/app"


def make_key(path: Path = KEY) -> dict[str, object]:
    """Make a private key, which stays here, and return the file that the job needs."""
    key = Ed25519PrivateKey.generate()
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = json.loads(OKPAlgorithm.to_jwk(key.public_key())) | {"kid": KEY_ID}
    names = ("kty", "crv", "x", "kid")
    return {"sources": {SOURCE: {"keys": [{name: public[name] for name in names}]}}}


def sign(attributes: dict[str, str], data: bytes, key: object, key_id: str = KEY_ID) -> str:
    """Return the detached JWS (RFC 7515, appendix F) of these attributes and data.

    ``attributes`` are all that are sent, but for ``specversion`` and ``datacontenttype``.
    """
    said = {"attributes": attributes, "data": hashlib.sha256(data).hexdigest()}
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    algorithm = "EdDSA" if isinstance(key, Ed25519PrivateKey) else "ES256"
    whole = PyJWS().encode(text.encode(), key, algorithm, {"kid": key_id, "typ": None})
    header, _, mark = whole.split(".")
    return f"{header}..{mark}"


def consent(subject: str) -> tuple[dict[str, str], bytes]:
    """Return attributes and data of a subject's consent to text for an avatar, given now."""
    attributes = {
        "id": uuid.uuid4().hex,
        "source": SOURCE,
        "type": "governance.consent.v1",
        "subject": subject,
        "time": dt.datetime.now(dt.UTC).isoformat(),
        "region": "US",
        "noticeid": "notice-1",
    }
    granted = {"granted": True, "purposes": ["avatar_mirroring"], "modalities": ["text"]}
    return attributes, json.dumps(granted).encode()


def send(subject: str, bootstrap: str = "127.0.0.1:9092") -> None:
    """Sign a subject's consent and send it in Kafka's binary mode."""
    key = load_pem_private_key(KEY.read_bytes(), None)
    attributes, data = consent(subject)
    sent = attributes | {"specversion": "1.0", "signature": sign(attributes, data, key)}
    headers = [(f"ce_{name}", value.encode()) for name, value in sent.items()]
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    try:
        topic = "governance.consent"
        producer.send(topic, key=subject.encode(), value=data, headers=headers).get(timeout=30)
    finally:
        producer.close()


if __name__ == "__main__":
    if sys.argv[1:] == ["keys"]:
        print(json.dumps(make_key(), indent=2))
    elif sys.argv[1:2] == ["send"] and len(sys.argv) in (3, 4):
        send(*sys.argv[2:])
    else:
        sys.exit("give `keys`, or `send SUBJECT [BROKER]`")
