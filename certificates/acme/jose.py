"""Signed requests as ACME writes them: flattened JSON, few algorithms, nothing that a stricter reader would refuse.

After RFC 7515 (JWS), RFC 7517 and 7518 (JWK, algorithms), RFC 8037 (EdDSA) and what RFC 8555, 6.2 forbids of them. Pure.
"""

import base64
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certificates.acme.errors import AcmeError, malformed
from keys.crypto.jwk import b64url, thumbprint

ALGORITHMS = ("ES256", "ES384", "RS256", "EdDSA")  # never "none", never a MAC: a public key is no secret
MAC_ALGORITHMS = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}  # for external account binding only
_CURVES: Mapping[str, tuple[ec.EllipticCurve, str, int]] = {
    "P-256": (ec.SECP256R1(), "ES256", 32),
    "P-384": (ec.SECP384R1(), "ES384", 48),
}
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_MEMBERS = {"protected", "payload", "signature"}
_RSA_BITS = range(2048, 8193)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An account's key: the JWK in its one canonical form, its RFC 7638 thumbprint, and the algorithm it signs with."""

    jwk: Mapping[str, str]
    thumbprint: str
    algorithm: str
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

    @property
    def spki(self) -> bytes:
        return self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True, slots=True)
class Jws:
    """A signed request that was taken apart and not verified yet."""

    header: Mapping[str, Any]
    payload: bytes
    signature: bytes
    signed: bytes

    def json(self) -> dict[str, Any]:
        """The payload as a JSON object; raises AcmeError."""
        return parse_object(self.payload, "payload")


def decode(text: object, what: str) -> bytes:
    """Base64url without padding, in its one canonical spelling (RFC 7515, 2); raises AcmeError."""
    if not isinstance(text, str) or not _BASE64URL.fullmatch(text):
        raise malformed(f"The {what} is not base64url without padding.")
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise malformed(f"The {what} is not base64url without padding.") from None
    if b64url(raw) != text:
        raise malformed(f"The {what} is not base64url without padding.")
    return raw


def parse_object(raw: bytes | str, what: str) -> dict[str, Any]:
    """A JSON object in which no name comes twice; raises AcmeError."""
    try:
        found = json.loads(raw, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise malformed(f"The {what} is not a JSON object.") from None
    if not isinstance(found, dict):
        raise malformed(f"The {what} is not a JSON object.")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def _no_constant(_: str) -> None:
    raise ValueError("NaN is not JSON")


def parse(raw: bytes | Mapping[str, Any]) -> Jws:
    """Take a flattened JWS apart (RFC 8555, 6.2): no unprotected header, no other member, no `crit`, no `b64`."""
    members = parse_object(raw, "request") if isinstance(raw, bytes) else dict(raw)
    if set(members) != _MEMBERS:
        raise malformed("A request is a flattened JWS: protected, payload and signature, and nothing else.")
    header = parse_object(decode(members["protected"], "protected header"), "protected header")
    if "crit" in header or "b64" in header:
        raise malformed("Extensions of JWS are not understood here.")
    signed = f"{members['protected']}.{members['payload']}"
    return Jws(
        header, decode(members["payload"], "payload"), decode(members["signature"], "signature"), signed.encode("ascii")
    )


def public_key(jwk: object) -> PublicKey:
    """The key that a JWK holds; raises AcmeError for private, weak, odd or not canonically written ones."""
    if not isinstance(jwk, dict) or not all(isinstance(value, str) for value in jwk.values()):
        raise _bad_key("A JWK is an object of strings.")
    if "d" in jwk or "k" in jwk:
        raise _bad_key("The JWK holds a private key: that key is known to others now. Make a new one.")
    match jwk.get("kty"):
        case "EC":
            members, algorithm, key = _ec(jwk)
        case "RSA":
            members, algorithm, key = _rsa(jwk)
        case "OKP":
            members, algorithm, key = _okp(jwk)
        case _:
            raise _bad_key("Keys of this type are not accepted; use EC, RSA or OKP.")
    if any(jwk.get(name) != value for name, value in members.items()):
        raise _bad_key("The JWK is not written in its canonical form (RFC 7518, 6).")
    return PublicKey(members, thumbprint(members), algorithm, key)


def _ec(jwk: Mapping[str, str]) -> tuple[dict[str, str], str, Any]:
    curve, algorithm, size = _CURVES.get(jwk.get("crv", ""), (None, "", 0))
    if curve is None:
        raise _bad_key("The curve is neither P-256 nor P-384.")
    x, y = (int.from_bytes(decode(jwk.get(name), f"key's {name}")) for name in ("x", "y"))
    try:
        key = ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
        members = {"kty": "EC", "crv": jwk["crv"], "x": b64url(x.to_bytes(size)), "y": b64url(y.to_bytes(size))}
    except (ValueError, OverflowError):
        raise _bad_key("The point is not on the curve.") from None
    return members, algorithm, key


def _rsa(jwk: Mapping[str, str]) -> tuple[dict[str, str], str, Any]:
    n, e = (int.from_bytes(decode(jwk.get(name), f"key's {name}")) for name in ("n", "e"))
    if n.bit_length() not in _RSA_BITS or n % 2 == 0 or e < 65537 or e >= 2**32 or e % 2 == 0:
        raise _bad_key("RSA keys have 2048 to 8192 bits and an odd exponent from 65537.")
    members = {"kty": "RSA", "n": b64url(n.to_bytes((n.bit_length() + 7) // 8)), "e": b64url(e.to_bytes((e.bit_length() + 7) // 8))}  # fmt: skip
    return members, "RS256", rsa.RSAPublicNumbers(e, n).public_key()


def _okp(jwk: Mapping[str, str]) -> tuple[dict[str, str], str, Any]:
    raw = decode(jwk.get("x"), "key's x")
    if jwk.get("crv") != "Ed25519" or len(raw) != 32:
        raise _bad_key("Of the OKP keys only Ed25519 is accepted.")
    return {"kty": "OKP", "crv": "Ed25519", "x": b64url(raw)}, "EdDSA", ed25519.Ed25519PublicKey.from_public_bytes(raw)


def _bad_key(detail: str) -> AcmeError:
    return AcmeError("badPublicKey", detail)


def check_algorithm(jws: Jws) -> str:
    """The signature algorithm that the header names; raises AcmeError for any that is not on the list."""
    name = jws.header.get("alg")
    if not isinstance(name, str) or name not in ALGORITHMS:
        raise AcmeError(
            "badSignatureAlgorithm", f"Requests are signed with one of {', '.join(ALGORITHMS)}.", algorithms=list(ALGORITHMS)
        )  # fmt: skip
    return name


def verify(jws: Jws, key: PublicKey) -> None:
    """Return if the signature is `key`'s; the algorithm follows from the key, the header may only agree with it."""
    if check_algorithm(jws) != key.algorithm:
        raise AcmeError("badSignatureAlgorithm", f"This key signs with {key.algorithm}.", algorithms=[key.algorithm])
    try:
        _verify(jws, key)
    except (InvalidSignature, ValueError):
        raise malformed("The signature does not fit the key.") from None


def _verify(jws: Jws, key: PublicKey) -> None:
    match key.key:
        case ec.EllipticCurvePublicKey():
            size = _CURVES[key.jwk["crv"]][2]
            if len(jws.signature) != 2 * size:
                raise InvalidSignature
            r, s = int.from_bytes(jws.signature[:size]), int.from_bytes(jws.signature[size:])
            digest: hashes.HashAlgorithm = hashes.SHA256() if key.algorithm == "ES256" else hashes.SHA384()
            key.key.verify(encode_dss_signature(r, s), jws.signed, ec.ECDSA(digest))
        case rsa.RSAPublicKey():
            key.key.verify(jws.signature, jws.signed, PKCS1v15(), hashes.SHA256())
        case ed25519.Ed25519PublicKey():
            key.key.verify(jws.signature, jws.signed)


def verify_mac(jws: Jws, secret: bytes) -> bool:
    """Whether the MAC of an external account binding is right (RFC 8555, 7.3.4)."""
    digest = MAC_ALGORITHMS.get(str(jws.header.get("alg")))
    return digest is not None and hmac.compare_digest(hmac.digest(secret, jws.signed, digest), jws.signature)
