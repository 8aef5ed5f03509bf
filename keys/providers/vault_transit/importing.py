"""The import procedure of the transit engine: material leaves this process only under the engine's RSA key.

OpenBao, "Transit secrets engine: bring your own key": a fresh AES-256 key under RSA-OAEP, then the material (raw, or
PKCS#8 for private keys) under that key by RFC 5649.
"""

import base64

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from keys.crypto import keymaterial
from keys.crypto.secret import SecretBytes
from keys.providers.base import ProviderFault, portal_errors
from keys.providers.transfer import rsa_aes_wrap
from keys.providers.vault_transit.connection import Connection
from keys.providers.vault_transit.specs import Spec


def bring(connection: Connection, spec: Spec, name: str, material: SecretBytes) -> None:
    """Make the key `name` from the material; raises ProviderFault for material of the wrong form."""
    with portal_errors():
        keymaterial.prepare(spec.algorithm, material)
    public = load_pem_public_key(connection.call("get", "wrapping_key")["public_key"].encode())
    if not isinstance(public, rsa.RSAPublicKey):
        raise ProviderFault("The transit engine gave a wrapping key that is none.")
    connection.call(
        "post",
        f"keys/{name}/import",
        type=spec.key_type,
        ciphertext=base64.b64encode(rsa_aes_wrap(public, material, SHA256())).decode(),
        hash_function="SHA256",
        allow_rotation=True,
    )
