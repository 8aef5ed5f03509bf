"""Public keys and signatures as JOSE writes them (RFC 7517, 7518, 7638, 8037)."""

import base64
import hashlib
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from keys.crypto.algorithms import Algorithm, Operation, resolve
from keys.crypto.errors import InvalidSignature, UnsupportedAlgorithm

_CURVES = {"secp256r1": ("P-256", 32), "secp384r1": ("P-384", 48)}
_ECDSA_SIZES = {"ES256": 32, "ES384": 48}
# The members that enter a thumbprint (RFC 7638, 3.2; RFC 8037, 2; draft-ietf-cose-dilithium for AKP).
_REQUIRED = {
    "RSA": ("e", "kty", "n"),
    "EC": ("crv", "kty", "x", "y"),
    "OKP": ("crv", "kty", "x"),
    "AKP": ("alg", "kty", "pub"),
}


def b64url(raw: bytes) -> str:
    """Return base64url without padding (RFC 7515, 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _number(value: int, size: int | None = None) -> str:
    return b64url(value.to_bytes(size or (value.bit_length() + 7) // 8))


def _rsa(key: Any) -> dict[str, str]:
    numbers = key.public_numbers()
    return {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}


def _ec(key: Any) -> dict[str, str]:
    name, size = _CURVES[key.curve.name]
    numbers = key.public_numbers()
    return {"kty": "EC", "crv": name, "x": _number(numbers.x, size), "y": _number(numbers.y, size)}


def _okp(curve: str) -> Any:
    return lambda key: {"kty": "OKP", "crv": curve, "x": b64url(key.public_bytes_raw())}


def _akp(key: Any) -> dict[str, str]:
    return {"kty": "AKP", "pub": b64url(key.public_bytes_raw())}


_FORMS: tuple[tuple[Any, Any], ...] = (
    (rsa.RSAPublicKey, _rsa),
    (ec.EllipticCurvePublicKey, _ec),
    (ed25519.Ed25519PublicKey, _okp("Ed25519")),
    (ed448.Ed448PublicKey, _okp("Ed448")),
    (x25519.X25519PublicKey, _okp("X25519")),
    ((mldsa.MLDSA44PublicKey, mldsa.MLDSA65PublicKey, mldsa.MLDSA87PublicKey), _akp),
)


def public_jwk(algorithm: str | Algorithm, spki: bytes, kid: str) -> dict[str, str]:
    """Return the JWK of a public key with `alg`, `use` and `kid`.

    Raises UnsupportedAlgorithm where no JWK form is standard (symmetric, ML-KEM, HPKE), InvalidKey on a bad key.
    """
    row = resolve(algorithm)
    if row.symmetric or row.jose is None:
        raise UnsupportedAlgorithm(f"{row.name} has no public JWK form")
    key = row.implementation.load_public(row, spki)
    members = next(form(key) for types, form in _FORMS if isinstance(key, types))
    use = "sig" if Operation.VERIFY in row.operations else "enc"
    return {**members, "kid": kid, "alg": row.jose, "use": use}


def thumbprint(jwk: dict[str, str]) -> str:
    """Return the base64url SHA-256 thumbprint of a public JWK (RFC 7638, 3)."""
    names = _REQUIRED.get(jwk.get("kty", ""))
    if names is None or any(name not in jwk for name in names):
        raise UnsupportedAlgorithm("not a public JWK")
    canonical = json.dumps({name: jwk[name] for name in names}, sort_keys=True, separators=(",", ":"))
    return b64url(hashlib.sha256(canonical.encode()).digest())


def jose_signature(algorithm: str | Algorithm, signature: bytes) -> bytes:
    """Turn a signature into its JOSE form: r | s of fixed length for ECDSA (RFC 7518, 3.4), else unchanged."""
    row = resolve(algorithm)
    size = _ECDSA_SIZES.get(row.jose or "")
    if size is None:
        return signature
    r, s = decode_dss_signature(signature)
    return r.to_bytes(size) + s.to_bytes(size)


def from_jose_signature(algorithm: str | Algorithm, signature: bytes) -> bytes:
    """Undo `jose_signature`; raises InvalidSignature on a wrong length."""
    row = resolve(algorithm)
    size = _ECDSA_SIZES.get(row.jose or "")
    if size is None:
        return signature
    if len(signature) != 2 * size:
        raise InvalidSignature
    return encode_dss_signature(int.from_bytes(signature[:size]), int.from_bytes(signature[size:]))


def fingerprint(public: bytes) -> str:
    """Return the lower-case hex SHA-256 of a stored public key (its SPKI DER, as pins use it; RFC 7469, 2.4)."""
    return hashlib.sha256(public).hexdigest()
