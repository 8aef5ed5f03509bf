"""The portal's algorithms in the words of AWS KMS."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spec:
    """How KMS names a key and what it does; `digest` is what is hashed here before a signature is asked for."""

    algorithm: str
    key_spec: str
    usage: str
    mechanism: str = ""
    digest: str = ""


def _rsa(bits: int) -> tuple[Spec, Spec]:
    return (
        Spec(f"RSA-{bits}-OAEP-SHA256", f"RSA_{bits}", "ENCRYPT_DECRYPT", "RSAES_OAEP_SHA_256"),
        Spec(f"RSA-{bits}-PSS-SHA256", f"RSA_{bits}", "SIGN_VERIFY", "RSASSA_PSS_SHA_256", "sha256"),
    )


# Left out on purpose: Ed25519 and ML-DSA in KMS sign raw messages up to 4,096 bytes only, which is less than a signer promises.
_ROWS = (
    Spec("AES-256-GCM", "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT"),
    *_rsa(2048),
    *_rsa(3072),
    *_rsa(4096),
    Spec("ECDSA-P256-SHA256", "ECC_NIST_P256", "SIGN_VERIFY", "ECDSA_SHA_256", "sha256"),
    Spec("ECDSA-P384-SHA384", "ECC_NIST_P384", "SIGN_VERIFY", "ECDSA_SHA_384", "sha384"),
    Spec("HMAC-SHA256", "HMAC_256", "GENERATE_VERIFY_MAC", "HMAC_SHA_256"),
    Spec("HMAC-SHA512", "HMAC_512", "GENERATE_VERIFY_MAC", "HMAC_SHA_512"),
)
SPECS = {row.algorithm: row for row in _ROWS}
_BY_REMOTE = {(row.key_spec, row.usage): row for row in _ROWS}


def spec_of(key_spec: str, usage: str) -> Spec | None:
    """The row of a key found at AWS, None if it is none of ours."""
    return _BY_REMOTE.get((key_spec, usage))
