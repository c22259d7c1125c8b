"""Mutual TLS for the REST interface of a job's mini-cluster.

Whoever may call it can cancel the job, write its state to a folder of their own (a savepoint) and,
since a submitted job graph is Java objects, run code as the job's user. Flink asks every caller for
a certificate that it trusts; there is one, made for each start, and its key stands in the state
folder, which only its owner may enter.
"""

import datetime as dt
import ipaddress
import secrets
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from schemas.strict import make_private_folder, write_private

_PEM, _KEYS, _TRUSTED = "rest.pem", "rest-keys.p12", "rest-trusted.p12"
_VALID = dt.timedelta(days=3650)  # a job's start may live as long as its machine
_SUITES = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"


def make_certificate(folder: Path) -> dict[str, object]:
    """Make a key with its own certificate in this folder; return Flink's settings for it."""
    make_private_folder(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _own_certificate(key)
    password = secrets.token_urlsafe(24)
    sealed = BestAvailableEncryption(password.encode())
    pair = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(folder / _PEM, pair + certificate.public_bytes(Encoding.PEM))
    keys = pkcs12.serialize_key_and_certificates(b"rest", key, certificate, None, sealed)
    write_private(folder / _KEYS, keys)
    trusted = [pkcs12.PKCS12Certificate(certificate, b"rest")]
    write_private(folder / _TRUSTED, pkcs12.serialize_java_truststore(trusted, sealed))
    return {
        "security.ssl.rest.enabled": "true",
        "security.ssl.rest.authentication-enabled": "true",
        "security.ssl.rest.keystore": folder / _KEYS,
        "security.ssl.rest.keystore-password": password,
        "security.ssl.rest.key-password": password,
        "security.ssl.rest.truststore": folder / _TRUSTED,
        "security.ssl.rest.truststore-password": password,
        "security.ssl.algorithms": _SUITES,
    }


def client_context(folder: Path) -> ssl.SSLContext:
    """Return what a client in this process connects with: the same key on both sides."""
    context = ssl.create_default_context(cafile=str(folder / _PEM))
    context.load_cert_chain(folder / _PEM)
    return context


def _own_certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "affectstream")])
    now = dt.datetime.now(dt.UTC)
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + _VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
        .sign(key, hashes.SHA256())
    )
