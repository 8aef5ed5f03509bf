"""The import procedure of AWS KMS: material leaves this process only under KMS's own one-time public key.

AWS KMS Developer Guide, "Importing key material": symmetric material under RSAES_OAEP_SHA_256, private keys under
RSA_AES_KEY_WRAP_SHA_256 (a fresh AES key under OAEP, then the PKCS#8 under that key by RFC 5649).
"""

from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keys.crypto.secret import SecretBytes
from keys.crypto.transport import Method, rsa_aes_wrap
from keys.providers.base import ImportOffer, ProviderFault

_WRAPPING_KEY = "RSA_4096"
_SYMMETRIC_LIMIT = 64
_OAEP = padding.OAEP(mgf=padding.MGF1(SHA256()), algorithm=SHA256(), label=None)


def offer(client: Any, key: str, *, symmetric: bool) -> ImportOffer:
    """KMS's wrapping key and import token for a key that waits; both are good for 24 hours."""
    method = Method.RSA_OAEP if symmetric else Method.RSA_AES_KW
    parameters = client.get_parameters_for_import(
        KeyId=key,
        WrappingAlgorithm="RSAES_OAEP_SHA_256" if symmetric else "RSA_AES_KEY_WRAP_SHA_256",
        WrappingKeySpec=_WRAPPING_KEY,
    )
    valid_to = parameters.get("ParametersValidTo")
    return ImportOffer(parameters["PublicKey"], method, key, parameters["ImportToken"], valid_to)


def take(client: Any, given: ImportOffer, wrapped: bytes) -> None:
    """Import what was wrapped for the offer; the same material twice is no error."""
    client.import_key_material(
        KeyId=given.opaque,
        ImportToken=given.token,
        EncryptedKeyMaterial=wrapped,
        ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
    )


def bring(client: Any, key: str, material: SecretBytes) -> None:
    """Import the material into a key that waits for it."""
    direct = len(material) <= _SYMMETRIC_LIMIT
    parameters = client.get_parameters_for_import(
        KeyId=key,
        WrappingAlgorithm="RSAES_OAEP_SHA_256" if direct else "RSA_AES_KEY_WRAP_SHA_256",
        WrappingKeySpec=_WRAPPING_KEY,
    )
    public = load_der_public_key(parameters["PublicKey"])
    if not isinstance(public, rsa.RSAPublicKey):
        raise ProviderFault("AWS KMS gave a wrapping key that is none.")
    client.import_key_material(
        KeyId=key,
        ImportToken=parameters["ImportToken"],
        EncryptedKeyMaterial=public.encrypt(material.reveal(), _OAEP)
        if direct
        else rsa_aes_wrap(public, material, SHA256()),
        ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
    )
