"""The real cryptography inside the fake vault, and its errors in Azure's form."""

import base64
import hmac
import json
import secrets
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap,
)
from cryptography.hazmat.primitives.serialization import load_der_private_key

CURVES: dict[str, type[ec.EllipticCurve]] = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1}


class Refused(Exception):
    def __init__(self, status: int, code: str, inner: str = "") -> None:
        self.status, self.code, self.inner = status, code, inner

    def body(self) -> dict[str, Any]:
        told: dict[str, Any] = {"code": self.code, "message": "refused"}
        return {"error": told | ({"innererror": {"code": self.inner}} if self.inner else {})}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def new_key(kind: str, size: int | None, curve: str | None) -> Any:
    kind = kind.removesuffix("-HSM")
    if kind == "RSA":
        return rsa.generate_private_key(public_exponent=65537, key_size=size or 2048)
    if kind == "EC":
        return ec.generate_private_key(CURVES[curve or "P-256"]())
    if kind == "oct" and size == 256:
        return secrets.token_bytes(32)
    raise Refused(400, "BadParameter")


def public_jwk(key: Any) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return {"n": b64(numbers.n.to_bytes(key.key_size // 8)), "e": b64(numbers.e.to_bytes(3))}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        point, length = key.public_key().public_numbers(), key.key_size // 8
        name = "P-256" if length == 32 else "P-384"
        return {"crv": name, "x": b64(point.x.to_bytes(length)), "y": b64(point.y.to_bytes(length))}
    return {}


def from_jwk(jwk: dict[str, Any]) -> Any:
    """A private key sent as JWK; every number of it is used, so that a wrong one is found."""
    try:
        values = {name: int.from_bytes(unb64(jwk[name])) for name in jwk if name not in {"kty", "crv", "key_ops"}}
        if jwk["kty"] == "RSA":
            public = rsa.RSAPublicNumbers(values["e"], values["n"])
            numbers = rsa.RSAPrivateNumbers(
                values["p"], values["q"], values["d"], values["dp"], values["dq"], values["qi"], public
            )
            return numbers.private_key()
        point = ec.EllipticCurvePublicNumbers(values["x"], values["y"], CURVES[jwk["crv"]]())
        return ec.EllipticCurvePrivateNumbers(values["d"], point).private_key()
    except (KeyError, ValueError):
        raise Refused(400, "BadParameter") from None


def from_transfer(blob: bytes, kek_kid: str, kek: rsa.RSAPrivateKey, kind: str) -> Any:
    """A key brought in a transfer blob (Azure's BYOK specification: RSA-OAEP with SHA-1, then AES-KWP)."""
    try:
        told = json.loads(blob)
        header = told["header"]
        if told["schema_version"] != "1.0.0" or header != {"kid": kek_kid, "alg": "dir", "enc": "CKM_RSA_AES_KEY_WRAP"}:
            raise Refused(400, "BadParameter")
        wrapped, size = unb64(told["ciphertext"]), kek.key_size // 8
        oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)
        material = aes_key_unwrap_with_padding(kek.decrypt(wrapped[:size], oaep), wrapped[size:])
        return material if kind == "oct-HSM" else load_der_private_key(material, None)
    except (KeyError, ValueError, InvalidUnwrap):
        raise Refused(400, "BadParameter") from None


def _oaep() -> padding.OAEP:
    return padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)


def encrypt(key: Any, body: dict[str, Any]) -> dict[str, Any]:
    if body["alg"] != "A256GCM" or not isinstance(key, bytes):
        raise Refused(400, "BadParameter")
    nonce, aad = secrets.token_bytes(12), unb64(body.get("aad") or "")
    sealed = AESGCM(key).encrypt(nonce, unb64(body["value"]), aad)
    return {"value": b64(sealed[:-16]), "iv": b64(nonce), "tag": b64(sealed[-16:]), "aad": b64(aad)}


def decrypt(key: Any, body: dict[str, Any]) -> dict[str, Any]:
    try:
        if body["alg"] == "A256GCM" and isinstance(key, bytes):
            sealed = unb64(body["value"]) + unb64(body["tag"])
            return {"value": b64(AESGCM(key).decrypt(unb64(body["iv"]), sealed, unb64(body.get("aad") or "")))}
        if body["alg"] == "RSA-OAEP-256" and isinstance(key, rsa.RSAPrivateKey):
            return {"value": b64(key.decrypt(unb64(body["value"]), _oaep()))}
    except (InvalidTag, ValueError):
        raise Refused(400, "BadParameter") from None
    raise Refused(400, "BadParameter")


def wrap(key: Any, body: dict[str, Any]) -> dict[str, Any]:
    if body["alg"] != "A256KW" or not isinstance(key, bytes):
        raise Refused(400, "BadParameter")
    return {"value": b64(aes_key_wrap(key, unb64(body["value"])))}


def unwrap(key: Any, body: dict[str, Any]) -> dict[str, Any]:
    if body["alg"] != "A256KW" or not isinstance(key, bytes):
        raise Refused(400, "BadParameter")
    try:
        return {"value": b64(aes_key_unwrap(key, unb64(body["value"])))}
    except (InvalidUnwrap, ValueError):
        raise Refused(400, "BadParameter") from None


def sign(key: Any, body: dict[str, Any]) -> dict[str, Any]:
    digest, kind = unb64(body["value"]), hashes.SHA384() if body["alg"] == "ES384" else hashes.SHA256()
    if len(digest) != kind.digest_size:
        raise Refused(400, "BadParameter")
    if body["alg"] == "PS256" and isinstance(key, rsa.RSAPrivateKey):
        pss = padding.PSS(mgf=padding.MGF1(kind), salt_length=padding.PSS.DIGEST_LENGTH)
        return {"value": b64(key.sign(digest, pss, Prehashed(kind)))}
    fits = {"ES256": "secp256r1", "ES384": "secp384r1"}.get(body["alg"])
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == fits:
        length = key.key_size // 8
        r, s = decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(kind))))
        return {"value": b64(r.to_bytes(length) + s.to_bytes(length))}
    raise Refused(400, "BadParameter")


def same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
