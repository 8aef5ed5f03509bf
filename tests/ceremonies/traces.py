"""Looking for secrets in everything a ceremony may leave behind: tables, broker, task arguments, logs, files, process."""

import base64
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from django.conf import settings
from django.db import connection
from redis import Redis
from shamir_mnemonic.share import Share

from tests.boot.processes import wait_until

RUN = 4  # so many words of one card in a row are no accident
METADATA = 4  # the first words of all cards of a set are alike


@dataclass
class Secrets:
    """What must be found nowhere: cards by name, keys by name."""

    cards: dict[str, str]
    keys: dict[str, bytes]
    _patterns: list[tuple[str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        values = {f"share value of {who}": Share.from_mnemonic(card).value for who, card in self.cards.items()}
        for name, secret in {**self.keys, **values}.items():
            self._patterns += [(name, form) for form in forms(secret)]
        for who, card in self.cards.items():
            words = card.split()
            for start in range(METADATA, len(words) - RUN + 1):
                self._patterns.append((f"words of {who}", " ".join(words[start : start + RUN]).encode()))

    def within(self, data: bytes) -> str:
        """The name of a secret in `data`, as it is or as words with anything between them; empty if there is none."""
        as_words = b" ".join(re.findall(rb"[a-z]+", data.lower()))
        for name, pattern in self._patterns:
            if pattern in data or pattern in as_words:
                return name
        return ""


def forms(secret: bytes) -> Iterator[bytes]:
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    yield repr(secret)[2:-1].encode()
    for shift in range(
        3
    ):  # base64 at any place within something longer, without the letters that the neighbours change
        text = base64.b64encode(bytes(shift) + secret).decode().rstrip("=")
        middle = text[(0, 2, 3)[shift] : len(text) - 1]
        yield middle.encode()
        yield middle.replace("+", "-").replace("/", "_").encode()


@dataclass
class Places:
    """Where to look."""

    logs: list[Path]
    folders: list[Path]
    log_text: str
    pid: int | None = None
    passed: list[bytes] = field(default_factory=list)  # through the web process: what it was sent, what it answered

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        yield from _tables()
        yield from _broker()
        for log in self.logs:
            yield f"log {log.name}", log.read_bytes()
        yield "log of this process", self.log_text.encode()
        for folder in self.folders:
            for path in folder.rglob("*"):
                if path.is_file():
                    yield f"file {path.name}", path.read_bytes()
        for piece in self.passed:
            yield "the web process", re.sub(rb"<[^>]*>", b" ", piece)
        if self.pid is not None:
            for name in ("cmdline", "environ"):
                yield f"process {name}", Path(f"/proc/{self.pid}/{name}").read_bytes()


def found(secrets: Secrets, places: Places) -> set[str]:
    """What is where, each as 'secret in place'."""
    return {f"{name} in {place}" for place, data in places if (name := secrets.within(data))}


def _tables() -> Iterator[tuple[str, bytes]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT t.* FROM "{table}" AS t')
            for row in cursor.fetchall():
                yield (
                    f"table {table}",
                    b"\n".join(bytes(v) if isinstance(v, bytes | memoryview) else str(v).encode() for v in row),
                )


def _broker() -> Iterator[tuple[str, bytes]]:
    readers = {
        b"string": lambda store, key: [store.get(key)], b"list": lambda store, key: store.lrange(key, 0, -1),
        b"set": lambda store, key: list(store.smembers(key)), b"zset": lambda store, key: store.zrange(key, 0, -1),
        b"hash": lambda store, key: [part for pair in store.hgetall(key).items() for part in pair],
        b"stream": lambda store, key: [repr(entry).encode() for entry in store.xrange(key)],
        b"none": lambda store, key: [],  # its time was over just now, as that of who is here is after two seconds
    }  # fmt: skip
    with Redis.from_url(settings.BROKER_URL) as store:
        for key in store.scan_iter():
            for value in readers[store.type(key)](store, key):
                yield f"broker {key.decode(errors='replace')}", key + b"\n" + (value or b"")
                yield "task arguments", _body(value or b"")


def _body(message: bytes) -> bytes:
    """The decoded body of a Celery message; empty for anything else."""
    try:
        return base64.b64decode(json.loads(message)["body"])
    except (ValueError, KeyError, TypeError, UnicodeDecodeError):
        return b""


def in_memory(secrets: Secrets, pid: int) -> set[str]:
    """Which secrets the process has anywhere in its memory; only root can read it.

    The process stands still meanwhile: a running one gives memory back between the list and the reading of it.
    """
    patterns = dict(secrets.keys)
    for who, card in secrets.cards.items():
        patterns[f"words of {who}"] = " ".join(card.split()[10:20]).encode()
        patterns[f"share value of {who}"] = Share.from_mnemonic(card).value
    seen: set[str] = set()
    with _standing_still(pid), Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            start, end = (int(edge, 16) for edge in span.split("-"))
            if "r" not in rights or line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            memory.seek(start)
            content = memory.read(end - start)
            assert len(content) == end - start, line  # nothing that was not looked at counts as clean
            seen |= {name for name, pattern in patterns.items() if pattern in content}
    return seen


@contextmanager
def _standing_still(pid: int) -> Iterator[None]:
    process = psutil.Process(pid)
    process.suspend()
    try:
        wait_until(lambda: _stopped(pid), "every thread of the process to stop")
        yield
    finally:
        process.resume()


def _stopped(pid: int) -> bool:
    try:
        states = [each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/status")]
    except (FileNotFoundError, ProcessLookupError):  # a thread that ended meanwhile
        return False
    return all("\nState:\tT" in state for state in states)
