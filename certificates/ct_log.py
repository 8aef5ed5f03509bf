"""Logs of certificates as their monitors see them: signed tree heads and entries (RFC 6962, section 4), over HTTP."""

import json
import struct
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from urllib3 import PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError

from certificates.transparency import PRECERT_ENTRY, X509_ENTRY, verify
from keyvault_portal.audit.merkle import leaf_hash
from keyvault_portal.errors import PortalError

MAX_ANSWER = 16_000_000
_TIMEOUT = Timeout(connect=5, read=20)


class LogUnavailable(PortalError):
    status, code, title = 503, "log_unavailable", "The log does not answer"


class LogUntrue(PortalError):
    """The log contradicts itself or its key: that is more than a fault of the network."""

    status, code, title = 502, "log_untrue", "The log is not true to its promises"


@dataclass(frozen=True, slots=True)
class TreeHead:
    """A signed tree head (section 3.5)."""

    size: int
    milliseconds: int
    root: bytes
    algorithms: tuple[int, int]
    signature: bytes

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.milliseconds / 1000, UTC)

    def is_signed_by(self, public_key: bytes) -> bool:
        message = struct.pack("!BBQQ", 0, 1, self.milliseconds, self.size) + self.root  # v1, tree_hash
        return verify(public_key, self.algorithms, self.signature, message)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: what it hashes to, and the certificate or precertificate in it (None when it cannot be read)."""

    index: int
    leaf: bytes
    milliseconds: int
    precertificate: bool
    certificate: x509.Certificate | None

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.milliseconds / 1000, UTC)


class Log(Protocol):
    """What a monitor needs of a log; every method raises LogUnavailable, and LogUntrue for what makes no sense."""

    def tree_head(self) -> TreeHead: ...

    def entries(self, start: int, end: int) -> list[Entry]:
        """Entries from `start` to `end`, both included; a log may answer with fewer, but with one at least."""
        ...

    def last_leaf(self, size: int) -> tuple[bytes, list[bytes]]:
        """The hash of the last leaf of a tree of `size` and its audit path."""
        ...


class Rfc6962Log:
    """A log below a URL such as https://ct.example.org/2027/; `manager` decides which addresses may be met."""

    def __init__(self, url: str, manager: PoolManager) -> None:
        self._url, self._manager = url.rstrip("/"), manager

    def tree_head(self) -> TreeHead:
        found = self._get("get-sth")
        try:
            signed = b64decode(found["tree_head_signature"], validate=True)
            (length,) = struct.unpack_from("!H", signed, 2)
            if len(signed) != 4 + length:
                raise ValueError
            root = b64decode(found["sha256_root_hash"], validate=True)
            size, at = int(found["tree_size"]), int(found["timestamp"])
            if len(root) != 32 or not 0 <= size < 2**63 or not 0 <= at < 2**50:
                raise ValueError
        except (KeyError, ValueError, TypeError, IndexError, struct.error):
            raise LogUntrue("Its tree head cannot be read.") from None
        return TreeHead(size, at, root, (signed[0], signed[1]), signed[4:])

    def entries(self, start: int, end: int) -> list[Entry]:
        found = self._get(f"get-entries?start={start}&end={end}")
        try:
            listed = found["entries"][: end - start + 1]
            raws = [(b64decode(item["leaf_input"]), b64decode(item["extra_data"])) for item in listed]
            read = [_entry(start + number, *raw) for number, raw in enumerate(raws)]
        except (KeyError, ValueError, TypeError, IndexError, struct.error):
            raise LogUntrue(f"Its entries from {start} on cannot be read.") from None
        if not read:
            raise LogUnavailable(f"It has no entry {start} yet.")
        return read

    def last_leaf(self, size: int) -> tuple[bytes, list[bytes]]:
        found = self._get(f"get-entry-and-proof?leaf_index={size - 1}&tree_size={size}")
        try:
            return leaf_hash(b64decode(found["leaf_input"])), [b64decode(node) for node in found["audit_path"]]
        except (KeyError, ValueError, TypeError):
            raise LogUntrue("Its proof of the last entry cannot be read.") from None

    def _get(self, what: str) -> Mapping[str, Any]:
        try:
            answer = self._manager.request(
                "GET", f"{self._url}/ct/v1/{what}", timeout=_TIMEOUT, retries=Retry(0, redirect=False),
                preload_content=False,
            )  # fmt: skip
            try:
                content = answer.read(MAX_ANSWER + 1)
            finally:
                answer.close()
        except (HTTPError, OSError) as error:
            raise LogUnavailable(f"The log does not answer ({type(error).__name__}).") from None
        if answer.status != 200:
            raise LogUnavailable(f"The log answers with status {answer.status}.")
        if len(content) > MAX_ANSWER:
            raise LogUntrue(f"The log sends more than {MAX_ANSWER:,} bytes at a time.")
        try:
            found = json.loads(content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise LogUntrue("The log's answer is no JSON object.")
        return found


def _entry(index: int, leaf: bytes, extra: bytes) -> Entry:
    """A MerkleTreeLeaf (section 3.4); the precertificate itself stands in the extra data (section 4.6)."""
    version, kind, at, entry_type = struct.unpack_from("!BBQH", leaf)
    if (version, kind) != (0, 0) or entry_type not in {X509_ENTRY, PRECERT_ENTRY} or at >= 2**50:
        raise ValueError
    raw = _opaque(leaf[12:]) if entry_type == X509_ENTRY else _opaque(extra)
    try:
        certificate = x509.load_der_x509_certificate(raw)
    except (ValueError, UnsupportedAlgorithm):
        certificate = None
    return Entry(index, leaf_hash(leaf), at, entry_type == PRECERT_ENTRY, certificate)


def _opaque(raw: bytes) -> bytes:
    length = int.from_bytes(raw[:3])
    if len(raw) < 3 + length:
        raise ValueError
    return raw[3 : 3 + length]
