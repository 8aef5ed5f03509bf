"""No page cursor breaks a list, whatever stands in it: all that comes of a bad one is a refusal."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db.models import Model, QuerySet
from hypothesis import HealthCheck, given
from hypothesis import settings as examined
from hypothesis import strategies as st

from keys.models import CensusCount, Key, KeyVersion
from keyvault_portal.accounts.models import Person
from keyvault_portal.api_urls import router
from keyvault_portal.errors import ValidationFailed
from keyvault_portal.paging import KeysetPagination, keyset_page

LISTS = {
    prefix: view
    for prefix, view, _ in router.registry
    if hasattr(view, "list") and getattr(view, "pagination_class", None) is KeysetPagination
}


def cursor_of(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


SOME = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    "cursor",
    ["[false,1e400]", "[false,1e400,1]", rf'[false,"\ud800","{SOME}"]', rf'[false,"a\u0000","{SOME}"]', "[" * 20_000, "[false,null]"],
)  # fmt: skip
@pytest.mark.parametrize(
    "path", ["/api/v1/audit-events", "/api/v1/checkpoints", "/api/v1/sessions", "/api/v1/keys", "/audit/", "/keys/"]
)
def test_hostile_cursors_are_refused(reader, path, cursor):
    answer = reader.get(path, {"cursor": cursor_of(cursor)})
    assert answer.status_code == 422


ORDERS: list[tuple[type[Model], tuple[str, ...]]] = [
    *((view.queryset.model, view.keyset_order) for view in LISTS.values()),
    (Key, ("ring__title", "name", "id")),
    (KeyVersion, ("-key_version",)),
    (CensusCount, ("-id",)),
    (Person, ("-email", "-id")),
]


def fields_of(model: type[Model], order: tuple[str, ...]) -> Iterator[str]:
    for path in order:
        found: Any = model
        *relations, name = path.lstrip("-").split("__")
        for relation in relations:
            found = found._meta.get_field(relation).related_model
        yield type(found._meta.get_field(name)).__name__


# One list for each combination of field types: what else they differ in, no cursor reaches.
KINDS = {tuple(fields_of(model, order)): (model, order) for model, order in ORDERS}
TEXTS = st.one_of(
    st.text(st.characters(), max_size=10),
    st.sampled_from(
        ["None", "null", "NaN", "Infinity", "1e400", "2026-02-30", "2026-01-01T24:00:00+00:00", "a\0", "\ud800"]
    ),
    st.builds("{}T{}{}".format, st.dates(), st.times(), st.sampled_from(["", "Z", "+23:59", "-15:59:59", "+00:00:01"])),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.just(float("inf")), TEXTS)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2))
# What a field writes, so that a strange value beside it is reached.
WRITTEN = {
    "UUIDField": st.uuids().map(str),
    "DateTimeField": st.datetimes().map(lambda at: f"{at.isoformat()}+00:00"),
    "BigIntegerField": st.integers(), "BigAutoField": st.integers(), "PositiveIntegerField": st.integers(),
    "CharField": st.text(), "SlugField": st.text(), "EmailField": st.text(), "OneToOneField": st.uuids().map(str),
}  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
@examined(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_cursor_breaks_a_list(kind, data):
    model, order = KINDS[kind]
    rows: QuerySet[Any] = model._default_manager.all()
    whole = st.tuples(st.booleans(), *(WRITTEN[field] | VALUES for field in kind))
    cursor = cursor_of(json.dumps(data.draw(whole | VALUES)))
    try:
        page = keyset_page(rows, order, cursor=cursor)
    except ValidationFailed:
        return
    assert isinstance(page.rows, list)
