"""Checking the whole record against its own hashes, tiles and checkpoints, and naming the first bad event.

Free of Django: several light processes share the work, each with its own connection.
"""

import multiprocessing
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import psycopg

from keyvault_portal.audit import checkpoint
from keyvault_portal.audit.merkle import Frontier
from keyvault_portal.audit.pages import PAGE, Finding, Page, Request, covered
from keyvault_portal.audit.tiles import StoredTree, TreeDamaged

SHARE = 1 << 15  # events given to a process at a time: whole pages


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked: events [start, size), `checkpoints` roots, and the first finding if there is one."""

    start: int
    size: int
    root: bytes
    checkpoints: int
    finding: Finding | None


@dataclass(frozen=True, slots=True)
class _Share:
    """One process's part, and what it found there."""

    before: Frontier
    after: Frontier
    checkpoints: int
    finding: Finding | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """`connection`: keyword arguments of psycopg.connect; `keys`: raw Ed25519 public keys, from outside that database."""

    connection: Mapping[str, Any] = field(repr=False)
    keys: Collection[bytes]
    every_signature: bool = False


def verify(
    settings: Settings,
    *,
    start: int = 0,
    processes: int = 1,
    progress: Callable[[int, int], None] = lambda done, size: None,
    external: str | None = None,
) -> Report:
    """Check all events from `start` (rounded down to a page; what is before is taken from the tiles) to the head.

    `external` is a checkpoint note kept outside: the record must contain it. `progress(done, size)` is called as the
    work goes on. Checks the body of every checkpoint and the signature of the last one on each page, or of every one
    with `settings.every_signature`. Never raises for a damaged record; psycopg.Error for a database that fails.
    """
    with psycopg.connect(**settings.connection) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        head = connection.execute("SELECT size, frontier, root FROM audit_head WHERE id = 1").fetchone()
        if head is None:
            return Report(0, 0, b"", 0, Finding(0, "head_missing", "The head row is missing."))
        size, packed, root = head
        start = min(start, size) // PAGE * PAGE
        finding, frontier, checkpoints = None, None, 0
        for share in _shares(settings, start, size, processes):
            if frontier is not None and frontier != share.before:
                finding = Finding(
                    share.before.size, "tile_altered", f"The tiles before event {share.before.size} differ."
                )
            finding = finding or share.finding
            if finding:
                break
            frontier, checkpoints = share.after, checkpoints + share.checkpoints
            progress(frontier.size - start, size - start)
        finding = finding or _check_head(connection, frontier or Frontier(), size, bytes(packed), bytes(root))
        if external is not None and (finding is None or finding.problem != "head_missing"):
            finding = finding or _check_external(connection, settings, external, size)
        return Report(start, size, bytes(root), checkpoints, finding)


def _shares(settings: Settings, start: int, size: int, processes: int) -> Iterator[_Share]:
    """The findings part by part, in order; this process works too, while the others are still starting."""
    parts = [(begin, min(begin + SHARE, size)) for begin in range(start, size, SHARE)]
    others = min(processes, len(parts)) - 1
    context = multiprocessing.get_context("spawn")  # forked processes would share the parent's connections
    with ExitStack() as stack:
        connection = stack.enter_context(_connect(settings))
        given: dict[int, Future[_Share]] = {}
        if others > 0:
            pool = stack.enter_context(ProcessPoolExecutor(others, context, _begin, (settings,)))
            given = {n: pool.submit(_check_part, *part) for n, part in enumerate(parts) if n}
            stack.callback(lambda: [future.cancel() for future in given.values()])
        mine: dict[int, _Share] = {}
        for number in range(len(parts)):
            while number not in mine and not (number in given and given[number].done()):
                # What nobody has begun is done here rather than waited for: the others start late and work unevenly.
                free = next((n for n in range(number, len(parts)) if n not in mine and _take_back(given.get(n))), None)
                if free is None:
                    break
                mine[free] = _check_share(connection, settings, *parts[free])
            yield mine.pop(number) if number in mine else given[number].result()


def _take_back(future: Future[_Share] | None) -> bool:
    """Whether a part is this process's to do: no other one has begun it, nor will."""
    return future is None or future.cancelled() or future.cancel()


_process: dict[str, Any] = {}


def _connect(settings: Settings) -> psycopg.Connection[Any]:
    connection = psycopg.connect(**settings.connection, autocommit=True)
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET DateStyle = 'ISO'")
    return connection


def _begin(settings: Settings) -> None:
    _process.update(settings=settings, connection=_connect(settings))


def _check_part(start: int, end: int) -> _Share:
    return _check_share(_process["connection"], _process["settings"], start, end)


def _check_share(connection: psycopg.Connection[Any], settings: Settings, start: int, end: int) -> _Share:
    try:
        before = frontier = StoredTree(connection).frontier(start)
    except TreeDamaged as damage:
        empty = Frontier()
        return _Share(empty, empty, 0, Finding(0, "tile_missing", f"Before event {start}: {damage}"))
    checkpoints, last_covered = 0, covered(connection, start)
    bounds = [(begin, min(begin + PAGE, end)) for begin in range(start, end, PAGE)]
    with connection.pipeline():
        waiting = Request(connection, *bounds[0])
        for following in [*bounds[1:], None]:
            stored = waiting.read()
            if following:
                waiting = Request(connection, *following)
            page = Page(connection, stored, frontier, last_covered)
            if finding := page.check(settings.keys, every_signature=settings.every_signature):
                return _Share(before, frontier, checkpoints, finding)
            frontier, checkpoints = page.after, checkpoints + len(page.checkpoints)
            if page.checkpoints:
                last_covered = page.checkpoints[-1][0]
    return _Share(before, frontier, checkpoints)


def _check_head(
    connection: psycopg.Connection[Any], frontier: Frontier, size: int, packed: bytes, root: bytes
) -> Finding | None:
    """Whether the head row, the newest checkpoint and the last event agree on where the record ends."""
    beyond = _one(connection, "SELECT seq FROM audit_event WHERE seq >= %s ORDER BY seq LIMIT 1", [size])
    if beyond:
        return Finding(
            beyond[0], "head_set_back", f"Event {beyond[0]} stands beyond the head, which says {size} events."
        )
    newest = _one(connection, "SELECT tree_size FROM audit_checkpoint ORDER BY tree_size DESC LIMIT 1", [])
    if size and (newest is None or newest[0] < size):
        return Finding(size - 1, "checkpoint_missing", f"No checkpoint covers the last of {size} events.")
    if newest and newest[0] > size:
        return Finding(size, "tail_missing", f"A checkpoint of {newest[0]} events exists; the head says {size}.")
    if frontier.size == size and (frontier.pack() != packed or frontier.root() != root):
        return Finding(size, "head_altered", "The head's root does not follow from the events.")
    return None


def _check_external(connection: psycopg.Connection[Any], settings: Settings, note: str, size: int) -> Finding | None:
    try:
        known = checkpoint.verify(note, settings.keys)
    except checkpoint.CheckpointError as error:
        return Finding(0, error.problem, f"The given checkpoint: {error}")
    if known.size > size:
        return Finding(size, "tail_missing", f"The given checkpoint covers {known.size} events, the record has {size}.")
    if StoredTree(connection).frontier(known.size).root() != known.root:
        return Finding(0, "history_differs", f"The first {known.size} events are not those of the given checkpoint.")
    return None


def _one(connection: psycopg.Connection[Any], query: str, values: list[Any]) -> tuple[Any, ...] | None:
    with psycopg.Cursor(connection) as cursor:
        return cursor.execute(query, values).fetchone()
