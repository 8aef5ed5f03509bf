"""Certification requests, good and bad."""

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID


def csr(
    common_name: str = "someone", names: tuple[x509.GeneralName, ...] = (), *, key: Any = None, digest: Any = None,
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
) -> bytes:  # fmt: skip
    """A request in PEM."""
    private = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(private, digest or hashes.SHA256()).public_bytes(Encoding.PEM)
