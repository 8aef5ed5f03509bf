"""List pages and their API at the first, middle and deep page of a large inventory: time, queries, and no shortcuts.

A page that uses OFFSET, or counts a large table without a bound, ends the job with an error: such a page only looks
fast while the table is small.
"""

import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext, override_settings

from keys.benchmarks import Tell
from keys.benchmarks.inventory import VERSIONS_A_KEY, fill
from keys.benchmarks.scratch import scratch
from keys.models import Key, KeyVersion
from keyvault_portal.accounts.models import RoleBinding
from keyvault_portal.accounts.permissions import Role
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.measure import Measurement
from keyvault_portal.paging import PAGE_SIZE, cursor_after

LARGE_TABLES = ("keys_key", "encryption_keys", "audit_event", "keys_keypolicy")
BUDGET_MS = 100
DEEP_RATIO = 1.3
REQUESTS = 7  # of each page in a round
_OFFSET = re.compile(r"\bOFFSET\b", re.IGNORECASE)
_COUNT = re.compile(r"\bcount\s*\(", re.IGNORECASE)
_LIMIT = re.compile(r"\bLIMIT\b", re.IGNORECASE)


class ForbiddenQuery(AssertionError):
    """A list page asked the database for something whose cost grows with the table."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A list: where it is, its order, and the row after which a page begins at a share (0 to 1) of its depth."""

    name: str
    path: str
    order: tuple[str, ...]
    row_at: Callable[[float], Model]

    def url(self, share: float) -> str:
        if share == 0:
            return self.path
        return f"{self.path}{'&' if '?' in self.path else '?'}cursor={cursor_after(self.row_at(share), self.order)}"


PAGES = {"first": 0.0, "middle": 0.5, "deep": 0.99}


def run(size: int, rounds: int, tell: Tell) -> list[Measurement]:
    """Lists over `size` keys, ten times as many versions and events; raises ForbiddenQuery."""
    # The test client's host, and no other part of the settings, differs from production.
    with scratch(tell), override_settings(ALLOWED_HOSTS=["testserver"], SECURE_SSL_REDIRECT=False):
        client = signed_in()
        fill(size, tell)
        rows: list[Measurement] = []
        for listing in listings(size):
            tell(listing.name)
            urls = {page: listing.url(share) for page, share in PAGES.items()}
            queries = {page: len(check_queries(client, url)) for page, url in urls.items()}
            rows += _rows(listing.name, _times(client, urls, rounds), queries)
        return rows


def listings(keys: int) -> list[Listing]:
    """Every list page and list endpoint that grows with the inventory."""
    long_key = Key.objects.get(name=_name(1))
    long_versions = KeyVersion.objects.filter(key=long_key).count()
    newest_event = AuditEvent.objects.values_list("seq", flat=True)[0]
    events = keys * VERSIONS_A_KEY

    def key_at(share: float) -> Model:
        return Key.objects.get(name=_name(_place(keys, share) + 1))

    def due_at(share: float) -> Model:
        # Due dates repeat every 1,000 keys, so the order by date is not the order by name.
        return Key.objects.order_by("next_rotation_at", "id")[_place(keys, share)]

    def version_at(share: float) -> Model:
        return KeyVersion.objects.get(key=long_key, key_version=long_versions - _place(long_versions, share))

    def event_at(share: float) -> Model:
        return AuditEvent.objects.get(seq=newest_event - _place(events, share))

    return [
        Listing("Keys, page", "/keys/", ("name", "id"), key_at),
        Listing("Keys by due date, page", "/keys/?sort=due", ("next_rotation_at", "id"), due_at),
        Listing("Keys, API", "/api/v1/keys", ("name", "id"), key_at),
        Listing("Versions of a key, API", f"/api/v1/keys/{long_key.pk}/versions", ("-key_version",), version_at),
        Listing("Audit events, page", "/audit/", ("-seq",), event_at),
        Listing("Audit events, API", "/api/v1/audit-events", ("-seq",), event_at),
    ]


def check_queries(client: Client, url: str) -> list[str]:
    """The queries of one page; raises ForbiddenQuery for an OFFSET or an unbounded count over a large table."""
    with CaptureQueriesContext(connection) as captured:
        answer = client.get(url)
    if answer.status_code != 200:
        raise RuntimeError(f"{url.split('?', maxsplit=1)[0]} answered {answer.status_code}")
    statements = [query["sql"] for query in captured.captured_queries]
    for statement in statements:
        refuse(statement)
    return statements


def refuse(statement: str) -> None:
    """Raise ForbiddenQuery if the cost of `statement` grows with the depth of the page or the size of a large table."""
    if _OFFSET.search(statement):
        raise ForbiddenQuery(f"OFFSET: {statement[:500]}")
    large = any(f'"{table}"' in statement for table in LARGE_TABLES)
    if large and _COUNT.search(statement) and not _LIMIT.search(statement):
        raise ForbiddenQuery(f"unbounded count: {statement[:500]}")


def _times(client: Client, urls: dict[str, str], rounds: int) -> dict[str, float]:
    """Median milliseconds of each page, all pages in turn."""
    samples: dict[str, list[float]] = {page: [] for page in urls}
    for _ in range(rounds * REQUESTS):
        for page, url in urls.items():
            start = time.perf_counter()
            client.get(url)
            samples[page].append((time.perf_counter() - start) * 1000)
    return {page: statistics.median(values) for page, values in samples.items()}


def _rows(name: str, times: dict[str, float], queries: dict[str, int]) -> list[Measurement]:
    first = times["first"]
    slowest = max(times.values())
    rows = [Measurement(f"{name}: first", first, "ms")]
    rows += [
        Measurement(f"{name}: {page}", times[page], "ms", "first page", times[page] / first, DEEP_RATIO, at_most=True)
        for page in ("middle", "deep")
    ]
    most = max(queries.values())
    return [
        *rows,
        Measurement(f"{name}: slowest", slowest, "ms", f"{BUDGET_MS} ms", slowest / BUDGET_MS, 1, at_most=True),
        Measurement(f"{name}: queries", most, "queries", "first page", most / queries["first"], 1, at_most=True),
    ]


def signed_in() -> Client:
    """A client with the session of an operator, who sees every ring and the record."""
    person = get_user_model().objects.create_person(email="benchmark@localhost", name="Benchmark")  # type: ignore[attr-defined]
    RoleBinding.objects.create(person=person, role=Role.OPERATOR, created_by="benchmark")
    client = Client()
    client.force_login(person)
    return client


def _place(total: int, share: float) -> int:
    """How many rows stand before the one at `share`, so that a whole page follows it where there are so many."""
    return max(0, min(int(total * share), total - PAGE_SIZE - 1))


def _name(number: int) -> str:
    return f"key-{number:09d}"
