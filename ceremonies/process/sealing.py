"""Sealing to the ceremony and to one custodian: HPKE base mode (RFC 9180), RSA-OAEP and OpenPGP.

The suite is DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM; a message is enc (32 bytes) | ciphertext. The context goes
in as `info` with an empty aad (8.2 of the RFC: for one message both bind alike), as everywhere in this portal.
"""

from uuid import UUID

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ceremonies.errors import ShareRefused
from ceremonies.process import cards
from ceremonies.process.contract import RecipientKind
from keys.crypto import receiving
from keys.crypto.errors import InvalidKey
from keys.crypto.secret import SecretBytes

MIN_RSA_BITS = 2048


def context(*, ceremony_id: UUID, script_hash: str, step: str, custodian_id: str) -> bytes:
    """What a sealed message is bound to, as canonical JSON; ceremony-seal.js builds the same bytes."""
    return receiving.context(ceremony=str(ceremony_id), custodian=custodian_id, script=script_hash, step=step)


def seal_to(kind: RecipientKind, key: bytes, words: SecretBytes, bound_to: bytes) -> bytes:
    """`words` for the owner of a public key; raises ShareRefused for a key that cannot be used.

    RSA-OAEP (SHA-256) carries at most 190 bytes under 2048 bits, less than 33 words: there the words go under a fresh
    AES-256-GCM key (nonce of zeros), which goes under the RSA key. The result is the RSA block | ciphertext | tag.
    """
    try:
        if kind is RecipientKind.PAGE:
            with cards.for_page(words) as shown:
                return receiving.seal(key, shown.reveal(), bound_to)
        if kind is RecipientKind.HPKE_X25519:
            return receiving.seal(key, words.reveal(), bound_to)
        if kind is RecipientKind.OPENPGP:
            return _openpgp_sealed(key, words)
        return _rsa_sealed(_rsa_key(key), words, bound_to)
    except (ValueError, UnsupportedAlgorithm, InvalidKey):
        raise ShareRefused(
            "The custodian's public key cannot be used.",
            hint="X25519: 32 bytes; RSA: SPKI, 2048 bits or more; OpenPGP: a certificate that can be encrypted to.",
        ) from None


def _rsa_key(raw: bytes) -> rsa.RSAPublicKey:
    load = serialization.load_pem_public_key if raw.lstrip().startswith(b"-----") else serialization.load_der_public_key
    key = load(raw)
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_RSA_BITS:
        raise ValueError("not an RSA key of enough bits")
    return key


def _rsa_sealed(key: rsa.RSAPublicKey, words: SecretBytes, bound_to: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    passing = AESGCM.generate_key(256)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    return key.encrypt(passing, oaep) + AESGCM(passing).encrypt(bytes(12), words.reveal(), bound_to)


def _openpgp_sealed(certificate: bytes, words: SecretBytes) -> bytes:
    """An OpenPGP message; it carries no context, and needs none: whoever can open it is its custodian."""
    from pysequoia import Cert, encrypt

    try:
        return bytes(encrypt(recipients=[Cert.from_bytes(certificate)], bytes=words.reveal()))
    except Exception:  # the library raises bare ones for what it cannot read or encrypt to
        raise ValueError("not a certificate to encrypt to") from None
