"""The one table of algorithms: what each may do, its sizes, its limits and its standing.

Nothing else in the project switches on the type of a key: callers look a row up and use its fields, and the
implementation is attached to the row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any

from keys.crypto.errors import UnsupportedAlgorithm


class Kind(StrEnum):
    """What sort of primitive a row names."""

    AEAD = "symmetric-aead"
    KEY_WRAP = "key-wrap"
    ASYMMETRIC_ENCRYPTION = "asymmetric-encryption"
    SIGNATURE = "signature"
    KEY_AGREEMENT = "key-agreement"
    KEM = "kem"
    HPKE = "hpke"
    MAC = "mac"


class Operation(StrEnum):
    """What a key may be used for (the key usages of NIST SP 800-57 part 1, 5.1.1)."""

    ENCRYPT = "encrypt"
    DECRYPT = "decrypt"
    WRAP = "wrap"
    UNWRAP = "unwrap"
    SIGN = "sign"
    VERIFY = "verify"
    MAC = "mac"
    VERIFY_MAC = "verify_mac"
    DERIVE = "derive"
    ENCAPSULATE = "encapsulate"
    DECAPSULATE = "decapsulate"


class Standing(StrEnum):
    """How far an algorithm is trusted today; `legacy` processes what exists and protects nothing new."""

    RECOMMENDED = "recommended"
    ACCEPTABLE = "acceptable"
    LEGACY = "legacy"
    FORBIDDEN = "forbidden"


# The operations that apply protection, as against those that process what is already protected (SP 800-131A, 1.2.3).
PROTECTING = frozenset({Operation.ENCRYPT, Operation.WRAP, Operation.SIGN, Operation.MAC, Operation.ENCAPSULATE})


@cache
def _imported(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(import_module(f"keys.crypto.{module}"), attribute)


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One row: sizes are in bits for keys and strength, in bytes for nonces and tags; limits count messages a key."""

    name: str
    code: int
    kind: Kind
    operations: frozenset[Operation]
    key_size: int
    nonce_size: int
    tag_size: int
    use_limit: int | None
    standing: Standing
    clause: str
    strength: int
    quantum_safe: bool
    jose: str | None
    implementation_path: str
    acceptable_until: date | None = None
    # False where a nonce must also be unpredictable (CBC: NIST SP 800-38A, appendix C).
    unique_nonce_suffices: bool = True

    @property
    def implementation(self) -> Any:
        """The object that does the work, imported at first use; its protocol follows from `kind`."""
        return _imported(self.implementation_path)

    @property
    def symmetric(self) -> bool:
        return self.kind in {Kind.AEAD, Kind.KEY_WRAP, Kind.MAC}

    @property
    def key_bytes(self) -> int:
        """Length of a symmetric key in bytes."""
        return self.key_size // 8

    def allows(self, operation: Operation, *, new_key: bool = False) -> bool:
        """Say whether the operation is open; a legacy row never protects anything new and gets no new keys."""
        if operation not in self.operations or self.standing is Standing.FORBIDDEN:
            return False
        return self.standing is not Standing.LEGACY or (operation not in PROTECTING and not new_key)


_OPS = Operation
_CIPHER = frozenset({_OPS.ENCRYPT, _OPS.DECRYPT, _OPS.WRAP, _OPS.UNWRAP})
_WRAPPER = frozenset({_OPS.WRAP, _OPS.UNWRAP})
_SIGNER = frozenset({_OPS.SIGN, _OPS.VERIFY})
_KEM = frozenset({_OPS.ENCAPSULATE, _OPS.DECAPSULATE})
_SEALER = frozenset({_OPS.ENCRYPT, _OPS.DECRYPT})

# SP 800-131A rev. 3 (draft) and SP 800-57 part 1, table 4: 112-bit strength ends with 2030.
_END_OF_112_BITS = date(2030, 12, 31)

_GOOD, _FAIR = Standing.RECOMMENDED, Standing.ACCEPTABLE


# fmt: off
def _aead(
    name: str, code: int, sizes: tuple[int, int, int], limit: int | None, standing: Standing, clause: str, path: str,
    jose: str | None = None, *, unique_nonce_suffices: bool = True,
) -> Algorithm:
    key, nonce, tag = sizes
    return Algorithm(name, code, Kind.AEAD, _CIPHER, key, nonce, tag, limit, standing, clause, 256, True, jose,
                     f"aead:{path}", unique_nonce_suffices=unique_nonce_suffices)


def _public(
    name: str, code: int, kind: Kind, operations: frozenset[Operation], key_size: int, strength: int, clause: str,
    path: str, *, jose: str | None = None, standing: Standing = _GOOD, quantum_safe: bool = False,
    until: date | None = None,
) -> Algorithm:
    return Algorithm(name, code, kind, operations, key_size, 0, 0, None, standing, clause, strength, quantum_safe,
                     jose, path, until)


def _rsa(bits: int, strength: int, codes: tuple[int, int]) -> tuple[Algorithm, Algorithm]:
    standing, until = (_FAIR, _END_OF_112_BITS) if bits == 2048 else (_GOOD, None)
    return (
        _public(f"RSA-{bits}-OAEP-SHA256", codes[0], Kind.ASYMMETRIC_ENCRYPTION, _CIPHER, bits, strength,
                "RFC 8017, 7.1; NIST SP 800-56B rev. 2, 7.2.2", f"asymmetric:RSA_{bits}_OAEP",
                jose="RSA-OAEP-256", standing=standing, until=until),
        _public(f"RSA-{bits}-PSS-SHA256", codes[1], Kind.SIGNATURE, _SIGNER, bits, strength,
                "RFC 8017, 8.1; FIPS 186-5, 5.4", f"signatures:RSA_{bits}_PSS",
                jose="PS256", standing=standing, until=until),
    )


def _signature(
    name: str, code: int, key_size: int, strength: int, clause: str, path: str, jose: str, *,
    quantum_safe: bool = False,
) -> Algorithm:
    return _public(name, code, Kind.SIGNATURE, _SIGNER, key_size, strength, clause, f"signatures:{path}", jose=jose,
                   quantum_safe=quantum_safe)


def _mac(name: str, code: int, size: int, jose: str, path: str) -> Algorithm:
    return Algorithm(name, code, Kind.MAC, frozenset({_OPS.MAC, _OPS.VERIFY_MAC}), size, 0, size // 8, None, _GOOD,
                     "RFC 2104; FIPS 198-1", 256, True, jose, path)


def _wrap(name: str, code: int, clause: str, path: str, jose: str | None = None) -> Algorithm:
    return Algorithm(name, code, Kind.KEY_WRAP, _WRAPPER, 256, 0, 8, None, _GOOD, clause, 256, True, jose, path)


# Codes go into stored ciphertexts: stable for ever, never reused.
_ROWS = (
    _aead("AES-256-GCM", 0x01, (256, 12, 16), 2**32, _GOOD, "NIST SP 800-38D, 8.3", "AES_256_GCM", "A256GCM"),
    _aead("ChaCha20-Poly1305", 0x02, (256, 12, 16), 2**32, _GOOD, "RFC 8439, 2.8", "CHACHA20_POLY1305"),
    _aead("XChaCha20-Poly1305", 0x03, (256, 24, 16), 2**80, _GOOD, "draft-irtf-cfrg-xchacha-03, 2.3",
          "XCHACHA20_POLY1305"),
    _aead("AES-256-GCM-SIV", 0x04, (256, 12, 16), 2**32, _GOOD, "RFC 8452, 9 (at most 2^8 repeats of one nonce)",
          "AES_256_GCM_SIV"),
    _aead("AES-256-CBC-HMAC-SHA256", 0x05, (512, 16, 32), 2**48, _FAIR,
          "RFC 7518, 5.2.2, with HMAC-SHA-256 and its whole tag", "AES_256_CBC_HMAC_SHA256",
          unique_nonce_suffices=False),
    _wrap("AES-256-KW", 0x08, "RFC 3394; NIST SP 800-38F, 6.2", "keywrap:AES_256_KW", "A256KW"),
    _wrap("AES-256-KWP", 0x09, "RFC 5649; NIST SP 800-38F, 6.3", "keywrap:AES_256_KWP"),
    *_rsa(2048, 112, (0x10, 0x13)),
    *_rsa(3072, 128, (0x11, 0x14)),
    *_rsa(4096, 152, (0x12, 0x15)),
    _signature("ECDSA-P256-SHA256", 0x20, 256, 128, "FIPS 186-5, 6", "ECDSA_P256", "ES256"),
    _signature("ECDSA-P384-SHA384", 0x21, 384, 192, "FIPS 186-5, 6", "ECDSA_P384", "ES384"),
    _signature("Ed25519", 0x22, 256, 128, "RFC 8032, 5.1", "ED25519", "EdDSA"),
    _signature("Ed448", 0x23, 456, 224, "RFC 8032, 5.2", "ED448", "EdDSA"),
    _signature("ML-DSA-44", 0x28, 10496, 128, "FIPS 204", "ML_DSA_44", "ML-DSA-44", quantum_safe=True),
    _signature("ML-DSA-65", 0x29, 15616, 192, "FIPS 204", "ML_DSA_65", "ML-DSA-65", quantum_safe=True),
    _signature("ML-DSA-87", 0x2A, 20736, 256, "FIPS 204", "ML_DSA_87", "ML-DSA-87", quantum_safe=True),
    _public("X25519-HKDF-SHA256", 0x30, Kind.KEY_AGREEMENT, frozenset({_OPS.DERIVE}), 256, 128,
            "RFC 7748, 6.1; RFC 5869", "agreement:X25519_HKDF", jose="ECDH-ES"),
    _public("ML-KEM-768", 0x38, Kind.KEM, _KEM, 9472, 192, "FIPS 203", "kem:ML_KEM_768", quantum_safe=True),
    _public("ML-KEM-1024", 0x39, Kind.KEM, _KEM, 12544, 256, "FIPS 203", "kem:ML_KEM_1024", quantum_safe=True),
    _public("HPKE-X25519-HKDF-SHA256-AES-256-GCM", 0x40, Kind.HPKE, _SEALER, 256, 128, "RFC 9180, 5.1.1 and 6.1",
            "hpke:X25519_SUITE"),
    _public("HPKE-MLKEM768-X25519-HKDF-SHA256-AES-256-GCM", 0x41, Kind.HPKE, _SEALER, 9728, 192,
            "RFC 9180, 6.1, with draft-ietf-hpke-pq, MLKEM768-X25519", "hpke:MLKEM768_X25519_SUITE", quantum_safe=True),
    _mac("HMAC-SHA256", 0x50, 256, "HS256", "mac:HMAC_SHA256"),
    _mac("HMAC-SHA512", 0x51, 512, "HS512", "mac:HMAC_SHA512"),
)
# fmt: on

ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType({row.name: row for row in _ROWS})
BY_CODE: Mapping[int, Algorithm] = MappingProxyType({row.code: row for row in _ROWS})


def lookup(name: str) -> Algorithm:
    """Return the row of a name; raises UnsupportedAlgorithm."""
    row = ALGORITHMS.get(name)
    if row is None:
        raise UnsupportedAlgorithm("unknown algorithm")
    return row


def resolve(algorithm: str | Algorithm) -> Algorithm:
    """Return the row itself, or the row of a name; raises UnsupportedAlgorithm."""
    return lookup(algorithm) if isinstance(algorithm, str) else algorithm


def require(algorithm: str | Algorithm, operation: Operation, *, new_key: bool = False) -> Algorithm:
    """Return the row if it allows the operation (and new keys, when asked); raises UnsupportedAlgorithm."""
    row = resolve(algorithm)
    if not row.allows(operation, new_key=new_key):
        raise UnsupportedAlgorithm(f"{row.name} ({row.standing}) is not allowed to {operation}")
    return row
