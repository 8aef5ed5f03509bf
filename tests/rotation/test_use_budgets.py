"""A key whose safe uses are nearly or wholly gone is seen where people look, not on its own page only."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from keys.benchmarks import inventory
from keys.crypto.algorithms import ALGORITHMS
from keys.models import Key, KeyPolicy, KeyVersion
from keys.services import budget, overview, rotation
from keys.services.rotation import schedule
from keyvault_portal.accounts.models import KeyRing, RoleBinding
from keyvault_portal.accounts.permissions import Role
from tests.rotation.test_pages import text
from tests.shop import Organisation

LIMIT = 2**32


@pytest.fixture
def worn(organisation: Organisation, active: Any) -> Organisation:
    """Pii has reached the half that its policy asks for; portal has no use left. Neither is rotated by itself."""
    for name, used in (("pii", LIMIT // 2), ("portal", LIMIT)):
        KeyVersion.objects.filter(pk=active(organisation.keys[name]).pk).update(uses_reserved=used)
    return organisation


def due_names() -> set[str]:
    return set(budget.due_versions().values_list("key__name", flat=True))


def test_what_is_due_for_one_version_is_due_in_the_list(organisation: Organisation, active: Any) -> None:
    version = active(organisation.keys["pii"])
    for algorithm, row in ALGORITHMS.items():
        Key.objects.filter(pk=version.key_id).update(algorithm=algorithm)
        for percent in (1, 33, 95):
            KeyPolicy.objects.filter(key_id=version.key_id).update(use_share_due=percent)
            from_here = min(row.use_limit or LIMIT, 2**62) * percent // 100
            for used in (from_here - 1, from_here):
                KeyVersion.objects.filter(pk=version.pk).update(uses_reserved=used)
                now = KeyVersion.objects.select_related("key__policy").get(pk=version.pk)
                assert budget.status(now).due == (due_names() == {"pii"}) == bool(row.use_limit and used == from_here)


def test_only_the_version_in_use_is_due(worn: Organisation, active: Any) -> None:
    version = active(worn.keys["pii"])
    assert due_names() == {"pii", "portal"}
    KeyVersion.objects.filter(pk=version.pk).update(status="suspended")
    assert due_names() == {"portal"}
    version.refresh_from_db()
    assert not budget.status(version).due


def test_the_dashboard_the_list_and_the_calendar_say_so(worn: Organisation, browser: Callable[[str], Client]) -> None:
    ada = browser("ada")
    shown = text(ada.get("/"))
    assert "1 use budget exhausted" in shown
    assert "1 use budget due" in shown
    assert "/keys/?due=uses" in shown
    listed = ada.get("/keys/?due=uses")
    assert [row["key"].name for row in listed.context["object_list"]] == ["pii", "portal"]
    assert "Uses exhausted" in text(listed)
    assert "Uses due" in text(listed)
    today = overview.calendar(worn.actor("ada"))[0]
    assert [key.name for key in today.keys] == ["pii", "portal"]
    assert overview.posture(worn.actor("ada")).uses_due == 2
    RoleBinding.objects.filter(person=worn.people["boris"]).update(
        ring=KeyRing.objects.create(name="other", title="Other"), role=Role.OPERATOR
    )
    assert "use budget exhausted" not in text(browser("boris").get("/")), "not on a ring he does not see"


def test_a_key_stands_once_in_the_calendar(worn: Organisation) -> None:
    Key.objects.filter(name="pii").update(next_rotation_at=timezone.now() + timezone.timedelta(days=3))
    days = overview.calendar(worn.actor("ada"))
    assert [key.name for day in days for key in day.keys].count("pii") == 1


def test_the_api_tells_the_budget_and_finds_by_it(worn: Organisation, browser: Callable[[str], Client]) -> None:
    ada, key = browser("ada"), worn.keys["portal"]
    spent = {"reserved": LIMIT, "limit": LIMIT, "due_uses": LIMIT // 2, "due": True, "exhausted": True}
    assert ada.get(f"/api/v1/keys/{key.pk}").json()["current"]["budget"] == spent
    assert ada.get(f"/api/v1/keys/{key.pk}/versions/1").json()["budget"] == spent
    assert ada.get(f"/api/v1/keys/{key.pk}/versions").json()["results"][0]["budget"] == spent
    half = ada.get(f"/api/v1/keys/{worn.keys['pii'].pk}").json()["current"]["budget"]
    assert (half["due"], half["exhausted"]) == (True, False)
    found = {value: ada.get(f"/api/v1/keys?uses_due={value}").json()["results"] for value in ("true", "false")}
    assert [row["name"] for row in found["true"]] == ["pii", "portal"]
    assert [row["name"] for row in found["false"]] == ["kek", "root"]


def test_lists_ask_the_same_of_many_keys(organisation: Organisation, browser: Callable[[str], Client]) -> None:
    def asked(path: str) -> int:
        ada.get(path)
        with CaptureQueriesContext(connection) as queries:
            assert ada.get(path).status_code == 200
        return len(queries)

    ada, paths = browser("ada"), ("/", "/keys/", "/keys/?due=uses", "/api/v1/keys", "/api/v1/dashboard")
    few = [asked(path) for path in paths]
    for number in range(9):
        organisation.key(f"more-{number}", "dek", "kek")
    KeyVersion.objects.filter(status="active").update(uses_reserved=LIMIT)
    assert [asked(path) for path in paths] == few


def test_what_is_due_is_found_by_an_index(transactional_db: None) -> None:
    inventory.fill(300, lambda said: None)
    sql, values = budget.due_versions().values("key_id").query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}", values)
        assert "keys_version_used_much" in "".join(line for (line,) in cursor.fetchall())


def test_the_schedule_takes_up_what_is_due(worn: Organisation) -> None:
    KeyPolicy.objects.filter(key=worn.keys["pii"]).update(auto_rotate=True)
    assert [key_id for key_id, _ in schedule._used_up()] == [worn.keys["pii"].pk]
    rotation.tick_schedules()
    assert worn.keys["pii"].versions.count() == 2
    assert worn.keys["portal"].versions.count() == 1
