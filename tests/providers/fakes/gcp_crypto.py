"""The real cryptography inside the fake of Cloud KMS, and its errors in Google's form."""

import base64
import hmac
import json
import secrets
import time
from typing import Any

import google_crc32c
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key

# Numbers of CryptoKeyVersionAlgorithm in the published API.
SYMMETRIC = 1
RSA_SIZES = {2: 2048, 3: 3072, 4: 4096, 8: 2048, 9: 3072, 10: 4096}
CURVES = {12: ec.SECP256R1, 13: ec.SECP384R1}
ED25519, MACS = 40, {32: ("sha256", 32), 35: ("sha512", 64)}
# The first bytes of a Cloud KMS ciphertext, then (in this fake only) the version in the clear.
HEAD = b"\x0a\x24\x00"


class Refused(Exception):
    def __init__(self, code: int, status: str, message: str = "refused") -> None:
        self.code, self.status, self.message = code, status, message

    def body(self) -> dict[str, Any]:
        return {"error": {"code": self.code, "message": self.message, "status": self.status}}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def unb64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_" if set(text) & set("-_") else None)


def crc(data: bytes) -> int:
    return int(google_crc32c.value(data))


def checked(body: dict[str, Any], field: str) -> bytes:
    """A field of a request, refused when the checksum beside it disagrees."""
    value = unb64(body.get(field, ""))
    if (told := body.get(f"{field}Crc32c")) is not None and int(told) != crc(value):
        raise Refused(400, "INVALID_ARGUMENT", "checksum mismatch")
    return value


def check_token(authorization: str, key: rsa.RSAPublicKey, email: str) -> None:
    """A self-signed token of the service account (RFC 7519, RS256), in force now and made for Cloud KMS."""
    try:
        head, claims, signature = authorization.removeprefix("Bearer ").split(".")
        key.verify(unb64(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
        told = json.loads(unb64(claims))
    except (ValueError, InvalidSignature):
        raise Refused(401, "UNAUTHENTICATED") from None
    meant = "cloudkms" in told.get("scope", "") or "cloudkms" in told.get("aud", "")
    if told["iss"] != email or not told["iat"] - 60 < time.time() < told["exp"] or not meant:
        raise Refused(401, "UNAUTHENTICATED")


def new_key(algorithm: int) -> Any:
    if algorithm == SYMMETRIC:
        return secrets.token_bytes(32)
    if algorithm in RSA_SIZES:
        return rsa.generate_private_key(public_exponent=65537, key_size=RSA_SIZES[algorithm])
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm]())
    if algorithm == ED25519:
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm in MACS:
        return secrets.token_bytes(MACS[algorithm][1])
    raise Refused(400, "INVALID_ARGUMENT", "no such algorithm")


def public_pem(key: Any) -> str:
    return str(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def seal(key: bytes, number: int, plaintext: bytes, aad: bytes) -> bytes:
    if len(plaintext) > 65536 or len(aad) > 65536:
        raise Refused(400, "INVALID_ARGUMENT")
    nonce = secrets.token_bytes(12)
    return HEAD + number.to_bytes(4) + nonce + AESGCM(key).encrypt(nonce, plaintext, aad)


def version_of(ciphertext: bytes) -> int:
    return int.from_bytes(ciphertext[3:7]) if ciphertext.startswith(HEAD) and len(ciphertext) >= 35 else 0


def open_sealed(key: bytes, ciphertext: bytes, aad: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(ciphertext[7:19], ciphertext[19:], aad)
    except InvalidTag:
        raise Refused(400, "INVALID_ARGUMENT", "Decryption failed: the ciphertext is invalid.") from None


def sign(key: Any, algorithm: int, body: dict[str, Any]) -> bytes:
    if algorithm == ED25519:
        return bytes(key.sign(checked(body, "data")))
    name = "sha384" if algorithm == 13 else "sha256"
    digest = unb64(body.get("digest", {}).get(name, ""))
    kind = hashes.SHA384() if name == "sha384" else hashes.SHA256()
    if len(digest) != kind.digest_size or int(body.get("digestCrc32c", crc(digest))) != crc(digest):
        raise Refused(400, "INVALID_ARGUMENT")
    if algorithm in CURVES:
        return bytes(key.sign(digest, ec.ECDSA(Prehashed(kind))))
    pss = padding.PSS(mgf=padding.MGF1(kind), salt_length=padding.PSS.DIGEST_LENGTH)
    return bytes(key.sign(digest, pss, Prehashed(kind)))


def _oaep() -> padding.OAEP:
    return padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)


def decrypt_oaep(key: Any, ciphertext: bytes) -> bytes:
    try:
        return bytes(key.decrypt(ciphertext, _oaep()))
    except ValueError:
        raise Refused(400, "INVALID_ARGUMENT") from None


def mac(key: bytes, algorithm: int, data: bytes) -> bytes:
    return hmac.digest(key, data, MACS[algorithm][0])


def unwrap_import(secret: rsa.RSAPrivateKey, wrapped: bytes, algorithm: int) -> Any:
    """The imported key, or None for material that does not fit: the version then fails, as at Google's, later."""
    size = secret.key_size // 8
    try:
        material = aes_key_unwrap_with_padding(secret.decrypt(wrapped[:size], _oaep()), wrapped[size:])
        if algorithm == SYMMETRIC:
            return material if len(material) == 32 else None
        if algorithm in MACS:
            return material if len(material) == MACS[algorithm][1] else None
        return load_der_private_key(material, None)
    except (ValueError, InvalidUnwrap):
        return None
