"""Signatures on certificates, CRLs and OCSP answers: built by a throw-away key, signed by whoever holds the real one.

The library's builders want a private key object. They get one of the same algorithm that is thrown away; what they
built is checked, and then exactly its to-be-signed bytes are signed by a `Signer`: a provider, an HSM, a ceremony.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import NameOID

from certificates import encoding
from keys.crypto.algorithms import ALGORITHMS, Kind
from keys.crypto.errors import InvalidSignature
from keyvault_portal.errors import PortalError

_DER = Encoding.DER

type Signer = Callable[[bytes], bytes]
"""Signs whole to-be-signed bytes; ECDSA signatures in DER, RSA as PSS with SHA-256 and a salt of 32 bytes."""


class WrongSignature(PortalError):
    """What came back from the signer is no signature of the authority's key."""

    status, code, title = 502, "wrong_signature", "The provider's signature does not fit the authority's key"


@dataclass(frozen=True, slots=True)
class Scheme:
    """How one algorithm of the table signs X.509 structures; `identifier` is its AlgorithmIdentifier in DER."""

    algorithm: str
    throw_away: Any
    digest: hashes.HashAlgorithm | None
    rsa_padding: padding.PSS | None
    identifier: bytes

    def sign_with_throw_away(self, builder: Any) -> Any:
        """The built structure under a key that nobody keeps."""
        if self.rsa_padding is not None:
            return builder.sign(self.throw_away, self.digest, rsa_padding=self.rsa_padding)
        return builder.sign(self.throw_away, self.digest)


@cache
def scheme(algorithm: str) -> Scheme:
    """The scheme of a signature algorithm; the throw-away key is made once a process. KeyError for any other name."""
    row = ALGORITHMS[algorithm]
    if row.kind is not Kind.SIGNATURE:
        raise KeyError(algorithm)
    digest: hashes.HashAlgorithm | None = None
    if algorithm.endswith("SHA256"):
        digest = hashes.SHA256()
    elif algorithm.endswith("SHA384"):
        digest = hashes.SHA384()
    rsa = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH) if "-PSS-" in algorithm else None
    found = Scheme(algorithm, row.implementation.new_key(), digest, rsa, b"")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "throw-away")])
    request = found.sign_with_throw_away(x509.CertificateSigningRequestBuilder().subject_name(subject))
    identifier = encoding.parts(request.public_bytes(_DER), exactly=3)[1]
    return Scheme(algorithm, found.throw_away, digest, rsa, identifier)


def sign(algorithm: str, public_key: bytes, to_be_signed: bytes, signer: Signer) -> bytes:
    """The signature by `signer`, checked with the authority's SubjectPublicKeyInfo; raises WrongSignature."""
    signature = signer(to_be_signed)
    verify(algorithm, public_key, to_be_signed, signature)
    return signature


def verify(algorithm: str, public_key: bytes, to_be_signed: bytes, signature: bytes) -> None:
    """Return quietly when the signature is good; raises WrongSignature."""
    try:
        ALGORITHMS[algorithm].implementation.verify(_loaded(public_key), to_be_signed, signature)
    except (InvalidSignature, ValueError, TypeError):
        raise WrongSignature from None


@lru_cache(maxsize=256)
def _loaded(public_key: bytes) -> Any:
    return load_der_public_key(public_key)


def assemble(to_be_signed: bytes, identifier: bytes, signature: bytes, *more: bytes) -> bytes:
    """SEQUENCE { tbs, signatureAlgorithm, signature, ... }: a certificate, a CRL or a basic OCSP response."""
    return encoding.sequence(to_be_signed, identifier, encoding.bits(signature), *more)
