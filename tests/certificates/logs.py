"""A small real log of certificates (RFC 6962) over HTTP, on the Merkle tree of the record; it can be made to lie."""

import json
import struct
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certificates import transparency
from keyvault_portal.audit import merkle
from tests.tls.servers import http_server


class SmallLog:
    """Entries in memory; `page` is how many it gives at a time, `tamper` changes answers on their way out."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.spki = self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.entries: list[tuple[bytes, bytes]] = []
        self.page, self.url = 3, ""
        self.tamper: Any = lambda what, answer: answer

    @property
    def log_id(self) -> bytes:
        return sha256(self.spki).digest()

    def sign(self, message: bytes) -> bytes:
        signature = self.private.sign(message, ec.ECDSA(hashes.SHA256()))
        return b"\x04\x03" + struct.pack("!H", len(signature)) + signature

    def add(self, certificate: x509.Certificate, issuer_key: bytes | None = None, *, at: int = 0) -> bytes:
        """Log a certificate, or a precertificate when its issuer's key is given; returns the SCT."""
        at = at or int(time.time() * 1000)
        raw, tbs = certificate.public_bytes(Encoding.DER), certificate.tbs_certificate_bytes
        entry = transparency.entry_of(certificate, None, embedded=False)
        if issuer_key is not None:
            entry = b"\0\x01" + sha256(issuer_key).digest() + len(tbs).to_bytes(3) + tbs
        assert entry is not None
        extra = len(raw).to_bytes(3) + raw + b"\0\0\0" if issuer_key else b"\0\0\0"
        self.entries.append((struct.pack("!BBQ", 0, 0, at) + entry + b"\0\0", extra))
        signature = self.sign(struct.pack("!BBQ", 0, 0, at) + entry + b"\0\0")
        return b"\0" + self.log_id + struct.pack("!Q", at) + b"\0\0" + signature

    def answer(self, what: str, query: dict[str, list[str]]) -> dict[str, Any]:
        hashes_ = [merkle.leaf_hash(leaf) for leaf, _ in self.entries]
        match what:
            case "get-sth":
                size, at = len(hashes_), int(time.time() * 1000)
                root = merkle.fold(hashes_)
                signed = self.sign(struct.pack("!BBQQ", 0, 1, at, size) + root)
                return {
                    "tree_size": size, "timestamp": at, "sha256_root_hash": b64encode(root).decode(),
                    "tree_head_signature": b64encode(signed).decode(),
                }  # fmt: skip
            case "get-entries":
                start, end = int(query["start"][0]), int(query["end"][0])
                found = self.entries[start : min(end + 1, start + self.page)]
                plain = [(b64encode(leaf).decode(), b64encode(extra).decode()) for leaf, extra in found]
                return {"entries": [{"leaf_input": leaf, "extra_data": extra} for leaf, extra in plain]}
            case "get-entry-and-proof":
                index, size = int(query["leaf_index"][0]), int(query["tree_size"][0])
                path = merkle.inclusion_path(index, size, lambda start, end: merkle.fold(hashes_[start:end]))
                leaf, extra = self.entries[index]
                return {
                    "leaf_input": b64encode(leaf).decode(), "extra_data": b64encode(extra).decode(),
                    "audit_path": [b64encode(node).decode() for node in path],
                }  # fmt: skip
        raise KeyError(what)


@contextmanager
def small_log() -> Iterator[SmallLog]:
    log = SmallLog()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            what = parts.path.rpartition("/")[2]
            answer = log.tamper(what, log.answer(what, parse_qs(parts.query)))
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    with http_server(Handler) as port:
        log.url = f"http://127.0.0.1:{port}/2027"
        yield log
