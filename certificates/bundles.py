"""A key made here and handed over once with its certificate: encrypted PKCS#12 or PKCS#8, never kept."""

from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    pkcs12,
)

from certificates.csr import refused
from keys.crypto.algorithms import ALGORITHMS
from keys.crypto.secret import SecretBytes

# What a client's or server's own key may be; the certificate's signature is another matter.
SUBJECT_ALGORITHMS = ("ECDSA-P256-SHA256", "ECDSA-P384-SHA384", "RSA-3072-PSS-SHA256", "RSA-4096-PSS-SHA256", "Ed25519")
FORMS = ("pkcs12", "pkcs8")
MIN_PASSWORD, MAX_PASSWORD = 12, 256
_ROUNDS = 600_000  # of PBKDF2 with SHA-256


@dataclass(frozen=True, slots=True)
class Bundle:
    """A file for the person who asked; `content` is already encrypted under their password."""

    filename: str
    media_type: str
    content: SecretBytes


def make_key(algorithm: str) -> tuple[Any, bytes]:
    """A fresh private key and its SubjectPublicKeyInfo; raises ValidationFailed for another algorithm."""
    if algorithm not in SUBJECT_ALGORITHMS:
        raise refused("algorithm", f"Keys are made for: {', '.join(SUBJECT_ALGORITHMS)}.")
    private = ALGORITHMS[algorithm].implementation.new_key()
    return private, private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def check_password(password: str) -> None:
    """Raise ValidationFailed unless the password can protect a key in a file."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise refused("password", f"The password protects a private key: {MIN_PASSWORD} to {MAX_PASSWORD} characters.")


def pack(private: Any, certificate: bytes, chain: list[bytes], *, name: str, password: str, form: str) -> Bundle:
    """The encrypted file; PKCS#12 with AES-256 and PBKDF2 (RFC 9579 readers and OpenSSL 3), or PEM with PKCS#8."""
    leaf = x509.load_der_x509_certificate(certificate)
    above = [x509.load_der_x509_certificate(raw) for raw in chain]
    if form == "pkcs12":
        encryption = (
            PrivateFormat.PKCS12.encryption_builder()
            .kdf_rounds(_ROUNDS)
            .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
            .hmac_hash(hashes.SHA256())
            .build(password.encode())
        )
        content = pkcs12.serialize_key_and_certificates(name.encode(), private, leaf, above, encryption)
        return Bundle(f"{name}.p12", "application/x-pkcs12", SecretBytes(content))
    if form != "pkcs8":
        raise refused("form", f"One of: {', '.join(FORMS)}.")
    encrypted = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode()))
    pem = b"".join(item.public_bytes(Encoding.PEM) for item in [leaf, *above])
    return Bundle(f"{name}.pem", "application/x-pem-file", SecretBytes(encrypted + pem))
