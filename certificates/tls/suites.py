"""The names of TLS: versions, cipher suites and groups with their numbers in IANA's registries."""

from dataclasses import dataclass

VERSIONS = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
OLD_VERSIONS = ("TLSv1", "TLSv1.1")  # RFC 8996


@dataclass(frozen=True, slots=True)
class Tls13Suite:
    """One of the five suites of RFC 8446, appendix B.4; the key exchange is agreed on separately."""

    name: str
    encryption: str
    hash: str
    standing: str


TLS13_SUITES = (
    Tls13Suite("TLS_AES_256_GCM_SHA384", "AES-256-GCM", "SHA-384", "on by default everywhere"),
    Tls13Suite("TLS_AES_128_GCM_SHA256", "AES-128-GCM", "SHA-256", "on by default everywhere; mandatory to implement"),
    Tls13Suite("TLS_CHACHA20_POLY1305_SHA256", "ChaCha20-Poly1305", "SHA-256", "on by default everywhere"),
    Tls13Suite("TLS_AES_128_CCM_SHA256", "AES-128-CCM", "SHA-256", "off by default in OpenSSL, absent in BoringSSL"),
    Tls13Suite("TLS_AES_128_CCM_8_SHA256", "AES-128-CCM-8", "SHA-256", "short tag: for small devices only; off or absent"),
)  # fmt: skip
AEAD_SUITES = tuple(suite.name for suite in TLS13_SUITES[:3])

# OpenSSL's names, as nginx, HAProxy and Envoy read them.
CIPHERS = {
    "TLS_AES_128_GCM_SHA256": 0x1301,
    "TLS_AES_256_GCM_SHA384": 0x1302,
    "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
    "TLS_AES_128_CCM_SHA256": 0x1304,
    "TLS_AES_128_CCM_8_SHA256": 0x1305,
    "ECDHE-ECDSA-AES128-GCM-SHA256": 0xC02B,
    "ECDHE-ECDSA-AES256-GCM-SHA384": 0xC02C,
    "ECDHE-RSA-AES128-GCM-SHA256": 0xC02F,
    "ECDHE-RSA-AES256-GCM-SHA384": 0xC030,
    "ECDHE-RSA-CHACHA20-POLY1305": 0xCCA8,
    "ECDHE-ECDSA-CHACHA20-POLY1305": 0xCCA9,
    "DHE-RSA-AES128-GCM-SHA256": 0x009E,
    "DHE-RSA-AES256-GCM-SHA384": 0x009F,
    "DHE-RSA-CHACHA20-POLY1305": 0xCCAA,
    "ECDHE-ECDSA-AES128-SHA": 0xC009,
    "ECDHE-ECDSA-AES256-SHA": 0xC00A,
    "ECDHE-RSA-AES128-SHA": 0xC013,
    "ECDHE-RSA-AES256-SHA": 0xC014,
    "ECDHE-ECDSA-AES128-SHA256": 0xC023,
    "ECDHE-ECDSA-AES256-SHA384": 0xC024,
    "ECDHE-RSA-AES128-SHA256": 0xC027,
    "ECDHE-RSA-AES256-SHA384": 0xC028,
    "DHE-RSA-AES128-SHA": 0x0033,
    "DHE-RSA-AES256-SHA": 0x0039,
    "AES128-GCM-SHA256": 0x009C,
    "AES256-GCM-SHA384": 0x009D,
    "AES128-SHA256": 0x003C,
    "AES256-SHA256": 0x003D,
    "AES128-SHA": 0x002F,
    "AES256-SHA": 0x0035,
    "DES-CBC3-SHA": 0x000A,
    "ECDHE-RSA-DES-CBC3-SHA": 0xC012,
    "RC4-SHA": 0x0005,
    "RC4-MD5": 0x0004,
    "ECDHE-RSA-RC4-SHA": 0xC011,
    "NULL-SHA256": 0x003B,
    "NULL-SHA": 0x0002,
}
CIPHER_NAMES = {number: name for name, number in CIPHERS.items()}
TLS13_NUMBERS = frozenset(range(0x1301, 0x1306))

HYBRID = "X25519MLKEM768"
GROUPS = {
    HYBRID: 0x11EC,
    "SecP256r1MLKEM768": 0x11EB,
    "SecP384r1MLKEM1024": 0x11ED,
    "X25519": 0x001D,
    "P-256": 0x0017,
    "P-384": 0x0018,
    "P-521": 0x0019,
    "X448": 0x001E,
    "ffdhe2048": 0x0100,
    "ffdhe3072": 0x0101,
}
GROUP_NAMES = {number: name for name, number in GROUPS.items()}
QUANTUM_SAFE = frozenset({HYBRID, "SecP256r1MLKEM768", "SecP384r1MLKEM1024"})


def is_forward_secret(cipher: str) -> bool:
    """Whether a suite agrees on a fresh key for every session (TLS 1.3 always does)."""
    return cipher.startswith(("TLS_", "ECDHE-", "DHE-"))


def is_aead(cipher: str) -> bool:
    """Whether a suite encrypts and authenticates in one (RFC 5116)."""
    return any(word in cipher for word in ("GCM", "POLY1305", "CCM"))
