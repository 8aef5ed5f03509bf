"""The rows of the portal's table that Azure has, and keys in Azure's form: JSON Web Keys (RFC 7517), BYOK transfer blobs."""

import base64
import json
from dataclasses import dataclass
from typing import Any

from azure.keyvault.keys import JsonWebKey, KeyOperation
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key

from keys.crypto.keyforms import spki
from keys.crypto.secret import SecretBytes
from keys.providers.base import ProviderFault
from keyvault_portal.errors import DecryptRefused

_O = KeyOperation
_CRYPT = (_O.encrypt, _O.decrypt, _O.wrap_key, _O.unwrap_key)
_SIGN = (_O.sign, _O.verify)


@dataclass(frozen=True, slots=True)
class Row:
    """Azure's words for one algorithm: type of key, its size or curve, the operations it is allowed, the JOSE name."""

    kind: str
    size: int
    curve: str | None
    operations: tuple[KeyOperation, ...]
    jose: str


VAULT_ROWS: dict[str, Row] = {
    **{f"RSA-{size}-OAEP-SHA256": Row("RSA", size, None, _CRYPT, "RSA-OAEP-256") for size in (2048, 3072, 4096)},
    **{f"RSA-{size}-PSS-SHA256": Row("RSA", size, None, _SIGN, "PS256") for size in (2048, 3072, 4096)},
    "ECDSA-P256-SHA256": Row("EC", 256, "P-256", _SIGN, "ES256"),
    "ECDSA-P384-SHA384": Row("EC", 384, "P-384", _SIGN, "ES384"),
}
# Symmetric keys exist in a Managed HSM only.
SYMMETRIC_ROWS: dict[str, Row] = {
    "AES-256-GCM": Row("oct", 256, None, _CRYPT, "A256GCM"),
    "AES-256-KW": Row("oct", 256, None, (_O.wrap_key, _O.unwrap_key), "A256KW"),
}
ROWS = VAULT_ROWS | SYMMETRIC_ROWS
_ENC = "CKM_RSA_AES_KEY_WRAP"
_CURVES = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1}


def algorithm_of(key: Any) -> str | None:
    """The row that a key in the vault serves: its type, size or curve, and what it is allowed to do; None for no row."""
    kind, operations = word(key.kty).removesuffix("-HSM"), set(key.key_ops or [])
    size = len(key.n) * 8 if key.n else None
    for name, row in ROWS.items():
        fits = kind == row.kind and (size in {None, row.size}) and key.crv == row.curve
        if fits and operations == {str(operation.value) for operation in row.operations}:
            return name
    return None


def public_key_of(key: Any) -> bytes | None:
    """SPKI DER of the public half, None for a symmetric key; raises ProviderFault."""
    try:
        if key.n:
            return spki(rsa.RSAPublicNumbers(int.from_bytes(key.e), int.from_bytes(key.n)).public_key())
        if key.x:
            curve = _CURVES[word(key.crv)]()
            return spki(ec.EllipticCurvePublicNumbers(int.from_bytes(key.x), int.from_bytes(key.y), curve).public_key())
    except (ValueError, KeyError):
        raise ProviderFault("The vault's public key cannot be read.") from None
    return None


def private_jwk(row: Row, material: SecretBytes) -> JsonWebKey:
    """A private key as JWK; raises ProviderFault for material that is none of the row's."""
    try:
        key = load_der_private_key(material.reveal(), None)
    except ValueError:
        raise ProviderFault("The material is not a private key.") from None
    operations = [operation.value for operation in row.operations]
    if isinstance(key, rsa.RSAPrivateKey) and row.kind == "RSA" and key.key_size == row.size:
        numbers = key.private_numbers()
        public = numbers.public_numbers
        values = {"n": public.n, "e": public.e, "d": numbers.d, "p": numbers.p, "q": numbers.q}
        values |= {"dp": numbers.dmp1, "dq": numbers.dmq1, "qi": numbers.iqmp}
        return JsonWebKey(kty="RSA", key_ops=operations, **{name: _bytes(value) for name, value in values.items()})
    if isinstance(key, ec.EllipticCurvePrivateKey) and row.kind == "EC" and key.key_size == row.size:
        private = key.private_numbers()
        point, length = private.public_numbers, row.size // 8
        values = {"d": private.private_value, "x": point.x, "y": point.y}
        sized = {name: value.to_bytes(length) for name, value in values.items()}
        return JsonWebKey(kty="EC", crv=row.curve, key_ops=operations, **sized)
    raise ProviderFault("The material is a key of another algorithm.")


def transfer_jwk(row: Row, wrapped: bytes, kid: str) -> JsonWebKey:
    """A key to import, wrapped for the HSM's key `kid` (Azure's "Bring your own key specification").

    RSA and EC material is PKCS#8 DER, AES raw; the key that carries it over is under RSA-OAEP with SHA-1, which that
    specification prescribes and whose collisions do not matter to OAEP.
    """
    blob = {
        "schema_version": "1.0.0",
        "header": {"kid": kid, "alg": "dir", "enc": _ENC},
        "ciphertext": base64.urlsafe_b64encode(wrapped).decode().rstrip("="),
        "generator": "KeyVault Portal",
    }
    operations = [operation.value for operation in row.operations]
    return JsonWebKey(kty=f"{row.kind}-HSM", key_ops=operations, t=json.dumps(blob).encode())


def sent_in_transfer(sent: bytes, kid: str) -> bytes:
    """What is wrapped in a `.byok` file, as HSM vendors' tools write it, or `sent` as it is when it is no such file.

    Raises DecryptRefused for one that was made for another key than `kid`.
    """
    try:
        blob = json.loads(sent)
    except (ValueError, RecursionError):  # not by its first byte: one ciphertext in 256 begins with a brace
        return sent
    try:
        header, text = blob["header"], str(blob["ciphertext"])
        if header["kid"] != kid or header["enc"] != _ENC:
            raise DecryptRefused
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, KeyError, TypeError):
        raise DecryptRefused from None


def word(value: Any) -> str:
    """The library gives a word it knows as an enumeration, another one as it came."""
    return str(getattr(value, "value", value))


def _bytes(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8)
