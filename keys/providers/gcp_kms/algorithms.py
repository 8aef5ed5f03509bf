"""The rows of the portal's table that Cloud KMS has, and its names for them."""

from google.cloud.kms_v1.types import CryptoKey, CryptoKeyVersion, ProtectionLevel

_P, _A = CryptoKey.CryptoKeyPurpose, CryptoKeyVersion.CryptoKeyVersionAlgorithm

ROWS: dict[str, tuple[int, int]] = {
    "AES-256-GCM": (_P.ENCRYPT_DECRYPT, _A.GOOGLE_SYMMETRIC_ENCRYPTION),
    "RSA-2048-OAEP-SHA256": (_P.ASYMMETRIC_DECRYPT, _A.RSA_DECRYPT_OAEP_2048_SHA256),
    "RSA-3072-OAEP-SHA256": (_P.ASYMMETRIC_DECRYPT, _A.RSA_DECRYPT_OAEP_3072_SHA256),
    "RSA-4096-OAEP-SHA256": (_P.ASYMMETRIC_DECRYPT, _A.RSA_DECRYPT_OAEP_4096_SHA256),
    "RSA-2048-PSS-SHA256": (_P.ASYMMETRIC_SIGN, _A.RSA_SIGN_PSS_2048_SHA256),
    "RSA-3072-PSS-SHA256": (_P.ASYMMETRIC_SIGN, _A.RSA_SIGN_PSS_3072_SHA256),
    "RSA-4096-PSS-SHA256": (_P.ASYMMETRIC_SIGN, _A.RSA_SIGN_PSS_4096_SHA256),
    "ECDSA-P256-SHA256": (_P.ASYMMETRIC_SIGN, _A.EC_SIGN_P256_SHA256),
    "ECDSA-P384-SHA384": (_P.ASYMMETRIC_SIGN, _A.EC_SIGN_P384_SHA384),
    "Ed25519": (_P.ASYMMETRIC_SIGN, _A.EC_SIGN_ED25519),
    "HMAC-SHA256": (_P.MAC, _A.HMAC_SHA256),
    "HMAC-SHA512": (_P.MAC, _A.HMAC_SHA512),
}
NAMES: dict[int, str] = {name: row for row, (_, name) in ROWS.items()}

CIPHERS = frozenset({"AES-256-GCM"})
DECRYPTERS = frozenset(row for row, (purpose, _) in ROWS.items() if purpose == _P.ASYMMETRIC_DECRYPT)
SIGNERS = frozenset(row for row, (purpose, _) in ROWS.items() if purpose == _P.ASYMMETRIC_SIGN)
MACS = frozenset(row for row, (purpose, _) in ROWS.items() if purpose == _P.MAC)
# No page says that Cloud HSM has it.
SOFTWARE_ONLY = frozenset({"Ed25519"})

LEVELS = {"SOFTWARE": ProtectionLevel.SOFTWARE, "HSM": ProtectionLevel.HSM}
# Bytes of a plaintext, or of a message to authenticate: Cloud KMS resource quotas; an HSM counts the context as well.
LIMITS = {ProtectionLevel.SOFTWARE: 64 * 1024, ProtectionLevel.HSM: 8 * 1024}
