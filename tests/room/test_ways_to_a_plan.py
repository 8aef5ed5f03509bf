"""Links to the planning form choose what they are about: from a duty, a key, the seal, and from the master key that was made on the way."""

import html
import re
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from ceremonies.models import ShareGeneration
from ceremonies.services import custody
from ceremonies.states import GenerationState
from keys.models import Key, RootSeal
from tests.api.conftest import sign_in
from tests.keys.conftest import officer, tree
from tests.room.cast import plan

__all__ = ["officer", "tree"]
pytestmark = pytest.mark.django_db
NEW = "/ceremonies/new/"


@pytest.fixture
def window(people: Any) -> Client:
    return sign_in(people["lena"])


def chosen(window: Client, url: str) -> tuple[str, str]:
    """Which script and which key the form shows as chosen."""
    form = window.get(url).content.decode()
    fields = (re.search(rf'<select name="{name}".*?</select>', form, re.S) for name in ("script", "key"))
    values = [re.search(r'<option value="([^"]*)" selected', field[0]) for field in fields if field]
    script, key = (found[1] if found else "" for found in values)
    return script, key


def set_of(planner: Any, **more: Any) -> ShareGeneration:
    """A set in force that nobody proved for long."""
    found = ShareGeneration.objects.create(
        ceremony=plan(planner), number=1, set_id=7, record={}, threshold=2, share_count=3, state=GenerationState.ACTIVE.value,
        activated_at=timezone.now(), package_bag="B-1", **more,
    )  # fmt: skip
    for index in (1, 2, 3):
        found.shares.create(
            index=index,
            custodian=f"C{index}",
            email=f"c{index}@example.org",
            state="held",
            bag=f"TB-{index}",
            confirmed_at=timezone.now(),
        )
    return found


def test_a_roll_call_that_is_due_is_planned_for_its_key(tree: Any, planner: Any, window: Client) -> None:
    found = set_of(planner, key=tree.master)
    (row,) = custody.due()
    assert chosen(window, row.plan_url) == ("roll-call:1", str(tree.master.pk))
    page = html.unescape(window.get("/ceremonies/").content.decode())
    assert f'href="{row.plan_url}"' in page
    found.shares.filter(index=1).update(state="lost")
    assert chosen(window, custody.due()[0].plan_url) == ("refresh:2", str(tree.master.pk))


def test_shares_of_the_seal_that_nobody_knows_of_are_made_anew(db: None, window: Client) -> None:
    RootSeal.objects.create(
        kind="shares", name="Custodians", check_value=b"12345678", identifier=7, threshold=2, shares=3, wrapped=b"x", created_by="Lena",
    )  # fmt: skip
    (row,) = custody.due()
    assert chosen(window, row.plan_url) == ("rekey:2", "")
    assert f"{NEW}?script=rekey" in window.get("/keys/seals/").content.decode()


def test_a_duty_without_a_ceremony_leads_nowhere() -> None:
    assert custody.Due("warn", "Acknowledge your duty.").plan_url == ""


def test_a_master_key_leads_to_its_own_plan(tree: Any, planner: Any, window: Client) -> None:
    link = f"{NEW}?key={tree.master.pk}"
    assert link in window.get(f"/keys/{tree.master.pk}/").content.decode()
    assert f"{NEW}?key" not in window.get(f"/keys/{tree.kek.pk}/").content.decode()
    assert chosen(window, link) == ("escrow:1", str(tree.master.pk))
    set_of(planner, key=tree.master)
    assert chosen(window, link) == ("roll-call:1", str(tree.master.pk)), "an escrow is in force"


@pytest.mark.parametrize("query", ["?key=no-uuid&script=no-script", "?key=3f1a0d7e-0000-4000-8000-000000000000"])
def test_what_does_not_exist_is_not_chosen(window: Client, query: str) -> None:
    assert window.get(NEW + query).status_code == 200
    assert chosen(window, NEW + query)[1] == ""


def test_a_master_key_is_made_on_the_way_and_comes_back_chosen(tree: Any, window: Client) -> None:
    page = html.unescape(window.get(NEW).content.decode())
    way = re.search(r'href="(/keys/new/\?[^"]*)"', page)
    assert way
    form = window.get(way[1]).content.decode()
    assert '<option value="master" selected>' in form
    assert re.search(r'name="exportable"[^>]* checked', form)
    assert f'href="{NEW}"' in form, "and one may go back without a key"
    values = {
        "ring": str(tree.ring.pk), "name": "vault-root", "title": "Vault root", "kind": "master", "algorithm": "AES-256-GCM", "provider": "local",
        "exportable": "on",
    }  # fmt: skip
    assert window.post(way[1], values | {"name": ""}).status_code == 422
    answer = window.post(way[1], values)
    made = Key.objects.get(name="vault-root")
    assert (answer.status_code, answer.headers["Location"]) == (302, f"{NEW}?key={made.pk}")
    assert chosen(window, answer.headers["Location"]) == ("escrow:1", str(made.pk))
    assert "/keys/new/?" not in window.get(answer.headers["Location"]).content.decode(), (
        "with a key chosen none is lacking"
    )


@pytest.mark.parametrize(
    "back",
    ["https://elsewhere.example/", "//elsewhere.example/", "elsewhere", "javascript:alert(1)", "/\\elsewhere.example"],
)
def test_nobody_is_sent_elsewhere_with_a_new_key(tree: Any, window: Client, back: str) -> None:
    values = {
        "ring": str(tree.ring.pk),
        "name": "x",
        "title": "X",
        "kind": "master",
        "algorithm": "AES-256-GCM",
        "provider": "local",
    }
    answer = window.post("/keys/new/", values, query_params={"next": back})
    assert answer.headers["Location"] == f"/keys/{Key.objects.get(name='x').pk}/"
