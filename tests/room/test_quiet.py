"""Polls of a room in which nothing happens cost no query, and none of them hides what did happen."""

import re
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from ceremonies import quiet
from ceremonies.models import Participant
from ceremonies.services import room
from tests.api.conftest import sign_in
from tests.room.cast import Cast, plan

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def made(planner: Any, people: Any) -> Cast:
    cast = Cast(planner, plan(planner))
    cast.seat_staff()
    cast.seat_holders("hana", "igor", "jane", "karl", "gus")
    return cast.open()


@pytest.fixture(autouse=True)
def _nothing_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is here is kept for two seconds, which may pass between two requests of a test; what it lost is taken away by hand."""
    for name in ("VERSION_SECONDS", "HERE_SECONDS", "SEEN_SECONDS"):
        monkeypatch.setattr(quiet, name, 600)


def live_of(page: str) -> str:
    found = re.search(r'hx-get="([^"]*/room/live/[^"]*)"', page)
    assert found is not None
    return found[1].replace("&amp;", "&")


def enter(client: Client, made: Cast) -> str:
    """The address that the page polls, after its first poll: by then everything is in the cache."""
    url = live_of(client.get(reverse("ceremonies:room", args=[made.id])).content.decode())
    answer = client.get(url)
    return live_of(answer.content.decode()) if answer.status_code == 200 else url


def test_a_quiet_poll_asks_nobody(made, people, django_assert_num_queries):
    hana, igor = sign_in(people["hana"]), sign_in(people["igor"])
    enter(hana, made)
    enter(igor, made)
    url = enter(hana, made)
    with django_assert_num_queries(0):
        assert hana.get(url).status_code == 204
    room.confirm_script(actor=made.actor("igor"), ceremony_id=made.id, read_back=made.now.script_hash[:8])
    changed = hana.get(url)
    assert changed.status_code == 200
    url = live_of(changed.content.decode())
    with django_assert_num_queries(0):
        assert hana.get(url).status_code == 204


@pytest.mark.parametrize("lost", ["room-version:{}", "room-here:{}", "room-seen:{}:{}"])
def test_what_the_cache_lost_is_asked_the_long_way(made, people, lost):
    hana = sign_in(people["hana"])
    url = enter(hana, made)
    Participant.objects.filter(pk=made.seat("hana").pk).update(seen_at=None)
    cache.delete(lost.format(made.id, made.seat("hana").pk))
    assert hana.get(url).status_code == 204
    assert made.seat("hana").seen_at is not None


def test_a_ticket_is_for_one_browser_and_a_minute(made, people, monkeypatch):
    hana = sign_in(people["hana"])
    url = enter(hana, made)
    stranger = Client()
    assert stranger.get(url).status_code in {302, 401}
    assert stranger.get(url, headers={"HX-Request": "true"}).headers["HX-Refresh"] == "true"
    other = Cast(made.planner, plan(made.planner, title="Another"))
    assert hana.get(url.replace(str(made.id), str(other.id), 1)).status_code != 204  # a ticket of another room
    assert hana.get(url[:-1] + "x").status_code == 200  # a bad ticket: the page gets another
    monkeypatch.setattr(quiet, "TICKET_SECONDS", -1)
    renewed = hana.get(url)
    assert (renewed.status_code, b"room-part" in renewed.content) == (200, False)  # what is being typed stays
