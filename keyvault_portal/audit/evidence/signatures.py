"""Signatures by people and portals, checked with nothing but Python's standard library (3.9 or newer).

Ed25519 (RFC 8032), ECDSA on P-256 (FIPS 186-5), RSA PKCS #1 v1.5 (RFC 8017), and what wraps them: WebAuthn assertions and OpenSSH's
SSHSIG. `pack` writes this file into the pack's verifier, in place of the line that imports it.
"""

import base64
import hashlib
import json
from typing import Any, Optional

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
Point = tuple[int, int, int, int]


# Ed25519 verification, RFC 8032 section 5.1.7; points in extended coordinates (section 5.1.4).


def _add(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _multiply(scalar: int, point: Point) -> Point:
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point = _add(point, point)
        scalar >>= 1
    return result


def _equal(p: Point, q: Point) -> bool:
    return (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0


def _decompress(data: bytes) -> Optional[Point]:  # noqa: UP045
    """The point of 32 bytes, or None (section 5.1.3)."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


BASE = _decompress((4 * pow(5, P - 2, P) % P).to_bytes(32, "little")) or (0, 1, 1, 0)


def ed25519_verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` (64 bytes) of `message` is of `public_key` (32 bytes)."""
    if len(public_key) != 32 or len(signature) != 64:
        return False
    key, r = _decompress(public_key), _decompress(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if key is None or r is None or s >= L:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public_key + message).digest(), "little") % L
    return _equal(_multiply(s, BASE), _add(r, _multiply(k, key)))


# ECDSA on P-256 with SHA-256, FIPS 186-5 section 6.4.2; points in affine coordinates, None is the neutral one.

P256_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
P256_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
P256_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
P256_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
Affine = Optional[tuple[int, int]]  # noqa: UP045


def _plus(p: Affine, q: Affine) -> Affine:
    if p is None or q is None:
        return p or q
    if p[0] == q[0]:
        if (p[1] + q[1]) % P256_P == 0:
            return None
        slope = (3 * p[0] * p[0] - 3) * pow(2 * p[1], -1, P256_P)
    else:
        slope = (q[1] - p[1]) * pow(q[0] - p[0], -1, P256_P)
    x = (slope * slope - p[0] - q[0]) % P256_P
    return x, (slope * (p[0] - x) - p[1]) % P256_P


def p256_verify(x: int, y: int, message: bytes, signature: bytes) -> bool:
    """Whether the DER `signature` of SHA-256(message) is of the public key (x, y)."""
    try:
        r, s = _der_integers(signature)
    except (IndexError, ValueError):
        return False
    on_curve = 0 <= x < P256_P and 0 <= y < P256_P and (y * y - (x * x * x - 3 * x + P256_B)) % P256_P == 0
    if not on_curve or not 0 < r < P256_N or not 0 < s < P256_N:
        return False
    inverse = pow(s, -1, P256_N)
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    u, v = digest * inverse % P256_N, r * inverse % P256_N
    both, point = _plus(P256_G, (x, y)), None  # type: Affine, Affine
    for bit in range(255, -1, -1):
        point = _plus(point, point)
        point = _plus(point, ((None, P256_G), ((x, y), both))[v >> bit & 1][u >> bit & 1])
    return point is not None and point[0] % P256_N == r


def _der_integers(data: bytes) -> tuple[int, int]:
    """The two numbers of a DER SEQUENCE that holds exactly these, positive and as short as they can be."""
    found, rest = [], data[2:]
    if data[0] != 0x30 or data[1] != len(rest):
        raise ValueError("not a signature")
    while rest:
        kind, size, number = rest[0], rest[1], rest[2 : 2 + rest[1]]
        if (
            kind != 2
            or not number
            or size != len(number)
            or number[0] & 0x80
            or (size > 1 and not number[0] and not number[1] & 0x80)
        ):
            raise ValueError("not a number in DER")
        found.append(int.from_bytes(number, "big"))
        rest = rest[2 + size :]
    r, s = found
    return r, s


def rsa_verify(n: int, e: int, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is PKCS #1 v1.5 with SHA-256 (RFC 8017 section 8.2.2)."""
    size = (n.bit_length() + 7) // 8
    if size < 256 or len(signature) != size:
        return False
    info = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(message).digest()
    expected = b"\x00\x01" + b"\xff" * (size - 3 - len(info)) + b"\x00" + info
    return pow(int.from_bytes(signature, "big"), e, n).to_bytes(size, "big") == expected


# What people sign, and the three forms in which they do.

AGREEMENT = b"keyvault-portal agreement v1\n"
SSH_NAMESPACE = "keyvault-portal-agreement"


def statement(act: bytes) -> bytes:
    """What is signed offline, byte for byte: a label that no other signature begins with, and the canonical act."""
    return AGREEMENT + act


def unbase64(text: str) -> bytes:
    """Base64 in its usual or its URL-safe alphabet, padded or not."""
    return base64.b64decode(
        text + "=" * (-len(text) % 4), altchars=b"-_" if set(text) & set("-_") else None, validate=True
    )


def signed(evidence: dict[str, Any], act: bytes) -> bool:
    """Whether `evidence` is a signature of its own key over `act`; KeyError for a method that is not checked here."""
    message = statement(act)
    if evidence["method"] == "passkey":
        return _assertion_fits(evidence, hashlib.sha256(message).digest())
    if evidence["method"] == "ed25519":
        return ed25519_verify(bytes.fromhex(evidence["key"]), message, unbase64(evidence["signature"]))
    if evidence["method"] == "ssh":
        return _sshsig_fits(bytes.fromhex(evidence["key"]), message, evidence["signature"])
    raise KeyError(evidence["method"])


def _assertion_fits(evidence: dict[str, Any], challenge: bytes) -> bool:
    """WebAuthn level 3, section 7.2: type, challenge, relying party, presence, verification, signature."""
    client, data = unbase64(evidence["client_data"]), unbase64(evidence["authenticator_data"])
    said = json.loads(client)
    fits = (
        said["type"] == "webauthn.get"
        and unbase64(said["challenge"]) == challenge
        and said["origin"] == evidence["origin"]
        and data[:32] == hashlib.sha256(evidence["rp_id"].encode()).digest()
        and data[32] & 0b101 == 0b101
    )
    return fits and jwk_verify(evidence["jwk"], data + hashlib.sha256(client).digest(), unbase64(evidence["signature"]))


def jwk_verify(jwk: dict[str, str], message: bytes, signature: bytes) -> bool:
    """Whether the signature is of this public key (RFC 7517): ES256, EdDSA with Ed25519, or RS256."""
    part = {name: unbase64(jwk[name]) for name in ("x", "y", "n", "e") if name in jwk}
    if (jwk["kty"], jwk.get("crv")) == ("EC", "P-256"):
        return p256_verify(int.from_bytes(part["x"], "big"), int.from_bytes(part["y"], "big"), message, signature)
    if (jwk["kty"], jwk.get("crv")) == ("OKP", "Ed25519"):
        return ed25519_verify(part["x"], message, signature)
    if jwk["kty"] == "RSA":
        return rsa_verify(int.from_bytes(part["n"], "big"), int.from_bytes(part["e"], "big"), message, signature)
    return False


def _sshsig_fits(key: bytes, message: bytes, armored: str) -> bool:
    """OpenSSH's PROTOCOL.sshsig: an Ed25519 signature over namespace and hash of the message."""
    blob = unbase64("".join(line.strip() for line in armored.splitlines() if not line.startswith("-----")))
    if blob[:6] != b"SSHSIG" or blob[6:10] != b"\0\0\0\1":
        return False
    public, namespace, reserved, digest, signature = _strings(blob[10:])
    kind, raw = _strings(signature)
    hashed = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}[digest](message).digest()
    to_sign = b"SSHSIG" + b"".join(
        len(item).to_bytes(4, "big") + item for item in (namespace, reserved, digest, hashed)
    )
    fits = public == b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + key and kind == b"ssh-ed25519"
    return fits and namespace == SSH_NAMESPACE.encode() and ed25519_verify(key, to_sign, raw)


def _strings(data: bytes) -> list[bytes]:
    """The length-prefixed strings that `data` consists of; ValueError when they do not fill it."""
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        if len(data) < 4 + size:
            raise ValueError("truncated")
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found
