"""The import procedure of the transit engine: material leaves this process only under the engine's RSA key.

OpenBao, "Transit secrets engine: bring your own key": a fresh AES-256 key under RSA-OAEP, then the material (raw, or
PKCS#8 for private keys) under that key by RFC 5649.
"""

import base64

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from keys.crypto import keymaterial
from keys.crypto.algorithms import ALGORITHMS, Kind, Operation
from keys.crypto.keyforms import pkcs8
from keys.crypto.secret import SecretBytes
from keys.crypto.transport import rsa_aes_wrap
from keys.providers.base import ProviderFault, portal_errors
from keys.providers.vault_transit.connection import Connection
from keys.providers.vault_transit.specs import Spec, Version


def bring(connection: Connection, spec: Spec, name: str, material: SecretBytes, *, exportable: bool = False) -> None:
    """Make the key `name` from the material; raises ProviderFault for material of the wrong form."""
    with portal_errors():
        keymaterial.prepare(spec.algorithm, material)
    pass_on(connection, spec, name, rsa_aes_wrap(wrapping_key(connection), material, SHA256()), exportable=exportable)


def wrapping_key(connection: Connection) -> rsa.RSAPublicKey:
    """The engine's own, which stays the same for all imports."""
    public = load_pem_public_key(connection.call("get", "wrapping_key")["public_key"].encode())
    if not isinstance(public, rsa.RSAPublicKey):
        raise ProviderFault("The transit engine gave a wrapping key that is none.")
    return public


def pass_on(connection: Connection, spec: Spec, name: str, wrapped: bytes, *, exportable: bool) -> None:
    """Make the key `name` from material that is wrapped for the engine already."""
    connection.call(
        "post",
        f"keys/{name}/import",
        decrypting=True,
        type=spec.key_type,
        ciphertext=base64.b64encode(wrapped).decode(),
        hash_function="SHA256",
        allow_rotation=True,
        exportable=exportable,
    )


def take(connection: Connection, spec: Spec, version: Version) -> SecretBytes:
    """The material of an exportable version, raw or PKCS#8 DER; raises ProviderFault for an answer that cannot be read."""
    row = ALGORITHMS[spec.algorithm]
    use = (
        "hmac-key"
        if row.kind is Kind.MAC
        else "encryption-key"
        if Operation.DECRYPT in row.operations
        else "signing-key"
    )
    answer = connection.call("get", f"export/{use}/{version.name}/{version.number}")
    text = str(answer.get("keys", {}).get(str(version.number), ""))
    try:
        if text.startswith("-----"):
            return SecretBytes(pkcs8(load_pem_private_key(text.encode(), None)))
        raw = base64.b64decode(text, validate=True)
        if spec.algorithm == "Ed25519":
            return SecretBytes(pkcs8(Ed25519PrivateKey.from_private_bytes(raw[:32])))
        return SecretBytes(raw)
    except ValueError:
        raise ProviderFault("The transit engine gave a key out in a form that cannot be read.") from None
