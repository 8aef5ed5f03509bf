"""What a TLS 1.3 server says of its certificate (RFC 8446, section 4.4.2): the list of SCTs that no library hands out.

The message is encrypted, so the key agreement and the key schedule of the first flight are carried out here, and the
handshake is left there. Nothing is believed because of it: an SCT is a log's signature over the certificate itself.
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certificates.tls import hello
from certificates.tls.suites import GROUPS
from certificates.tls.wire import MAXIMUM_ANSWER, Line

_CERTIFICATE, _APPLICATION_DATA = 11, 23
_SUITES: dict[int, tuple[Callable[[bytes], AESGCM | ChaCha20Poly1305 | AESCCM], int, hashes.HashAlgorithm]] = {
    0x1301: (AESGCM, 16, hashes.SHA256()), 0x1302: (AESGCM, 32, hashes.SHA384()), 0x1303: (ChaCha20Poly1305, 32, hashes.SHA256()),
    0x1304: (AESCCM, 16, hashes.SHA256()), 0x1305: (lambda key: AESCCM(key, 8), 16, hashes.SHA256()),
}  # fmt: skip
_CURVES: dict[int, ec.EllipticCurve] = {GROUPS["P-256"]: ec.SECP256R1(), GROUPS["P-384"]: ec.SECP384R1()}


def timestamps(line: Line, name: str) -> bytes:
    """The SignedCertificateTimestampList of one handshake over TLS 1.3; empty when there is none, or for a group we lack.

    Raises OSError and ScanEnded as the line does.
    """
    keys: dict[int, x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey] = {
        GROUPS["X25519"]: x25519.X25519PrivateKey.generate()
    }
    keys |= {group: ec.generate_private_key(curve) for group, curve in _CURVES.items()}
    shares = {group: _public(key) for group, key in keys.items()}
    question = hello.client_hello(hello.TLS13, _SUITES, keys, name, shares)
    with line, suppress(ValueError, InvalidTag, IndexError, struct.error):  # it speaks no TLS 1.3 that we know
        line.send(question)
        records = _records(line)
        _, answer = next(records)
        choice = hello.read_answer(_record(hello.HANDSHAKE, answer))
        if not isinstance(choice, hello.Choice) or not choice.share or choice.group not in keys:
            return b""
        shared = _agree(keys[choice.group], choice.share)
        opened = _opened(records, choice.cipher, shared, question[5:] + answer)
        return _listed(_certificate(opened))
    return b""


def _public(key: x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    if isinstance(key, x25519.X25519PrivateKey):
        return key.public_key().public_bytes_raw()
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _agree(key: x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey, share: bytes) -> bytes:
    if isinstance(key, x25519.X25519PrivateKey):
        return key.exchange(x25519.X25519PublicKey.from_public_bytes(share))
    return key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(key.curve, share))


def _record(kind: int, body: bytes) -> bytes:
    return struct.pack("!BHH", kind, 0x0303, len(body)) + body


def _records(line: Line) -> Iterator[tuple[int, bytes]]:
    """The records of the server by content type, but those that only mean to look like TLS 1.2; ends with its end."""
    received, read = b"", 0
    while True:
        while len(received) >= 5:
            kind, _, length = struct.unpack_from("!BHH", received)
            if len(received) < 5 + length:
                break
            if kind in {hello.HANDSHAKE, _APPLICATION_DATA}:
                yield kind, received[5 : 5 + length]
            elif kind == hello.ALERT:
                raise ValueError("an alert")
            received = received[5 + length :]
        piece = line.receive()
        read += len(piece)
        if not piece or read > MAXIMUM_ANSWER:
            raise ValueError("no certificate")
        received += piece


def _opened(records: Iterator[tuple[int, bytes]], cipher: int, shared: bytes, said: bytes) -> Iterator[bytes]:
    """The handshake bytes of the encrypted records (RFC 8446, sections 5.2 and 7.1 to 7.3)."""
    aead, size, digest = _SUITES[cipher]
    empty, zeros = _digest(digest, b""), bytes(digest.digest_size)
    early = HKDF.extract(digest, zeros, zeros)
    handshake = HKDF.extract(digest, _expand(early, b"derived", empty, digest.digest_size, digest), shared)
    secret = _expand(handshake, b"s hs traffic", _digest(digest, said), digest.digest_size, digest)
    key = aead(_expand(secret, b"key", b"", size, digest))
    start = int.from_bytes(_expand(secret, b"iv", b"", 12, digest))
    for number, (kind, body) in enumerate(records):
        if kind != _APPLICATION_DATA:
            raise ValueError("what is to be encrypted is not")
        head = struct.pack("!BHH", _APPLICATION_DATA, 0x0303, len(body))
        inner = key.decrypt((start ^ number).to_bytes(12), body, head).rstrip(b"\0")
        if inner[-1] != hello.HANDSHAKE:
            raise ValueError("not a handshake")
        yield inner[:-1]


def _digest(algorithm: hashes.HashAlgorithm, content: bytes) -> bytes:
    digest = hashes.Hash(algorithm)
    digest.update(content)
    return digest.finalize()


def _expand(secret: bytes, label: bytes, context: bytes, size: int, digest: hashes.HashAlgorithm) -> bytes:
    """HKDF-Expand-Label (RFC 8446, section 7.1)."""
    label = b"tls13 " + label
    info = struct.pack("!HB", size, len(label)) + label + bytes([len(context)]) + context
    return HKDFExpand(digest, size, info).derive(secret)


def _certificate(opened: Iterator[bytes]) -> bytes:
    """The body of the Certificate message."""
    messages = b""
    for piece in opened:
        messages += piece
        while len(messages) >= 4:
            kind, length = messages[0], int.from_bytes(messages[1:4])
            if len(messages) < 4 + length:
                break
            if kind == _CERTIFICATE:
                return messages[4 : 4 + length]
            messages = messages[4 + length :]
    raise ValueError("no certificate")


def _listed(body: bytes) -> bytes:
    """The list of SCTs in the entry of the first certificate, the server's own."""
    at = 1 + body[0] + 3
    at += 3 + int.from_bytes(body[at : at + 3])
    (size,) = struct.unpack_from("!H", body, at)
    extensions, at = body[at + 2 : at + 2 + size], 0
    while at < len(extensions):
        kind, size = struct.unpack_from("!HH", extensions, at)
        if kind == hello.TIMESTAMPS:
            return extensions[at + 4 : at + 4 + size]
        at += 4 + size
    return b""
