"""The list benchmark: the inventory has the size it claims, and a page that takes a shortcut is refused."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection

from keys.benchmarks import inventory, lists
from keys.models import Key, KeyPolicy, KeyVersion
from keyvault_portal.accounts.models import Person
from keyvault_portal.audit.models import AuditEvent, AuditHead


class Page:
    """A client whose every page asks the database one thing."""

    def __init__(self, ask: Callable[[], Any], status: int = 200) -> None:
        self.ask, self.status = ask, status

    def get(self, url: str) -> SimpleNamespace:
        self.ask()
        return SimpleNamespace(status_code=self.status)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "ask",
    [
        lambda: list(Key.objects.order_by("name")[50:100]),
        KeyVersion.objects.count,
        lambda: AuditEvent.objects.filter(action="key.rotate").count(),
    ],
    ids=["offset", "count of everything", "count without a bound"],
)
def test_a_page_whose_cost_grows_is_refused(ask):
    with pytest.raises(lists.ForbiddenQuery):
        lists.check_queries(Page(ask), "/keys/")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "ask",
    [
        lambda: list(Key.objects.order_by("name")[:51]),
        Key.objects.all()[:1001].count,
        Person.objects.count,
    ],
    ids=["first rows", "bounded count", "small table"],
)
def test_a_page_of_constant_cost_passes(ask):
    assert len(lists.check_queries(Page(ask), "/keys/")) == 1


@pytest.mark.django_db
def test_a_page_that_does_not_answer_is_no_measurement():
    with pytest.raises(RuntimeError, match="/keys/ answered 302"):
        lists.check_queries(Page(lambda: None, status=302), "/keys/?cursor=x")


@pytest.mark.django_db(transaction=True)
def test_the_inventory_has_the_size_it_claims():
    inventory.fill(200, lambda step: None)
    assert Key.objects.count() == KeyPolicy.objects.count() == 200
    assert KeyVersion.objects.count() == 200 * inventory.VERSIONS_A_KEY + 10  # the long key has 20 instead of 10
    assert not Key.objects.filter(current=None).exists()
    assert AuditEvent.objects.count() == 2000
    assert AuditHead.objects.get().size == 2000
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM audit_event WHERE leaf_hash <> sha256('\\x00'::bytea || leaf)")
        assert cursor.fetchone() == (0,)
    assert AuditEvent.objects.earliest("seq").seq == 0


@pytest.mark.parametrize(
    ("total", "share", "place"), [(1000, 0.5, 500), (1000, 0.99, 949), (60, 0.99, 9), (20, 0.5, 0)]
)
def test_a_deep_page_is_a_full_page(total, share, place):
    assert lists._place(total, share) == place
