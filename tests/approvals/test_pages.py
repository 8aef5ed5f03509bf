"""The pages and the endpoints: who sees what, what a form must hold, and how many queries a list takes."""

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.services import create_token
from keyvault_portal.approvals.models import Notice
from tests.api.conftest import sign_in

from .conftest import at_rest

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser():
    return lambda actor: sign_in(Person.objects.get(pk=actor.id))


def url(name, request):
    return reverse(f"approvals:{name}", args=[request.pk])


def test_the_page_shows_the_act_its_hash_and_the_votes(ask, browser, oskar):
    request = ask()
    page = browser(oskar).get(url("detail", request))
    for shown in (request.act_hash, request.act_hash[:8], "The ring reads otherwise.", "0 of 2", "It is wrong", "Olga"):
        assert shown in page.content.decode()
    live = browser(oskar).get(url("detail", request), headers={"HX-Request": "true"}).content.decode()
    assert "0 of 2" in live
    assert "<html" not in live


def test_a_page_that_polls_is_opened_anew_when_its_buttons_no_longer_fit(ask, browser, olga, oskar):
    request = ask()
    client, page = browser(olga), url("detail", request)
    poll = re.search(r'hx-get="([^"]+)"', client.get(page).content.decode())[1]
    assert "HX-Redirect" not in client.get(poll, headers={"HX-Request": "true"})
    browser(oskar).post(url("reject", request), {"reject-reason": "no"})
    assert client.get(poll, headers={"HX-Request": "true"})["HX-Redirect"] == page, "Withdraw would be refused"
    assert url("withdraw", request) not in client.get(page).content.decode()


def test_agreeing_by_form(ask, browser, oskar):
    request = ask()
    client = browser(oskar)
    assert client.post(url("approve", request), {"act_hash": request.act_hash}).status_code == 422, (
        "the box says it was read"
    )
    assert not request.decisions.exists()
    assert client.post(url("approve", request), {"act_hash": "0" * 64, "read": "on"}).status_code == 409
    assert client.post(url("approve", request), {"act_hash": request.act_hash, "read": "on"}).status_code == 302
    assert [decision.person_id for decision in request.decisions.all()] == [oskar.id]
    assert "1 of 2" in client.get(url("detail", request)).content.decode()


def test_a_rejection_without_reason_keeps_the_request_open(ask, browser, oskar):
    request = ask()
    client = browser(oskar)
    assert client.post(url("reject", request), {"reject-reason": ""}).status_code == 422
    assert client.post(url("reject", request), {"reject-reason": "no"}).status_code == 302
    request.refresh_from_db()
    assert request.state == "rejected"


def test_the_requester_can_withdraw_and_not_agree(ask, browser, olga):
    request = ask()
    client = browser(olga)
    page = client.get(url("detail", request)).content.decode()
    assert url("approve", request) not in page
    assert url("withdraw", request) in page
    assert client.post(url("approve", request), {"act_hash": request.act_hash, "read": "on"}).status_code == 403
    assert client.post(url("withdraw", request)).status_code == 302


def test_breaking_the_glass_asks_on_a_page_of_its_own(ask, browser, oskar, otto):
    request = ask()
    client = browser(oskar)
    assert "alarm" in client.get(url("break-glass", request)).content.decode()
    assert client.post(url("break-glass", request), {"reason": ""}).status_code == 422
    with at_rest():
        assert client.post(url("break-glass", request), {"reason": "fire"}).status_code == 302
    inbox = browser(otto).get(reverse("approvals:inbox")).content.decode()
    assert "Glass broken" in inbox, "an alarm is seen where people look"


def test_nobody_else_sees_it(ask, browser, make):
    request = ask()
    stranger = browser(make("sven", "service"))
    assert stranger.get(url("detail", request)).status_code in {403, 404}
    assert Client().get(url("detail", request)).status_code == 302


@pytest.mark.parametrize("tab", ["waiting", "asked", "all"])
def test_the_inbox_takes_the_same_queries_for_any_number(ask, browser, oskar, olga, tab):
    client = browser(olga if tab == "asked" else oskar)

    def queries():
        with CaptureQueriesContext(connection) as captured:
            page = client.get(reverse("approvals:inbox"), {"tab": tab})
        return len(captured), page.content.decode().count("Describe a ring")

    ask(text="0")
    queries()
    few, shown = queries()
    assert shown == 1
    for number in range(1, 12):
        ask(text=str(number))
    assert queries() == (few, 12)


def test_notices_are_read(ask, browser, oskar):
    ask()
    client = browser(oskar)
    assert "your agreement is asked" in client.get(reverse("approvals:notices")).content.decode()
    client.post(reverse("approvals:notices"))
    assert not Notice.objects.filter(person_id=oskar.id, read_at=None).exists()
    assert Notice.objects.filter(read_at=None).exists(), "other people's stay new"


def test_notices_are_in_no_tokens_scope(ask, oskar):
    ask()
    person = Person.objects.get(pk=oskar.id)
    _, text = create_token(actor=actor_for_person(person), owner=person, name="t", scopes=["approval.view"])
    client = Client(headers={"Authorization": f"Bearer {text}"})
    for refused in (client.get("/api/v1/notices"), client.post("/api/v1/notices/read")):
        assert (refused.status_code, refused.json()["code"]) == (403, "permission_refused")
    assert Notice.objects.filter(person_id=oskar.id, read_at=None).exists()


def api(request, act=""):
    return f"/api/v1/approvals/{request.pk}" + (f"/{act}" if act else "")


def test_the_endpoints_do_the_same(ask, browser, oskar, olga):
    request = ask()
    client = browser(oskar)
    assert client.get("/api/v1/approvals").json()["results"][0]["act_hash"] == request.act_hash
    answer = client.post(api(request, "approve"), {"act_hash": "0" * 64}, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (409, "act_changed")
    answer = client.post(api(request, "approve"), {"act_hash": request.act_hash}, content_type="application/json")
    assert (answer.status_code, len(answer.json()["decisions"])) == (200, 1)
    answer = client.post(api(request, "approve"), {"act_hash": request.act_hash}, content_type="application/json")
    assert answer.json()["code"] == "already_counted"
    answer = client.post(api(request, "reject"), {}, content_type="application/json")
    assert answer.status_code == 422
    answer = browser(olga).post(api(request, "withdraw"), {}, content_type="application/json")
    assert answer.json()["state"] == "withdrawn"


@pytest.mark.parametrize("wrong", ["-" * 36, "0" * 36, "../../etc", "%00"])
def test_an_id_that_is_none(browser, olga, wrong):
    assert browser(olga).get(f"/api/v1/approvals/{wrong}").status_code == 404


def test_there_is_a_button_for_unread_notices_only(ask, browser, oskar):
    client, page, button = browser(oskar), reverse("approvals:notices"), "Mark all as read"
    assert button not in client.get(page).content.decode()
    ask()
    assert button in client.get(page).content.decode()
    client.post(page)
    assert button not in client.get(page).content.decode()


def test_opening_a_request_reads_what_was_said_about_it(ask, browser, oskar, otto):
    first, second = ask(text="1"), ask(text="2")
    client = browser(oskar)
    client.get(url("detail", first), headers={"HX-Request": "true"})
    assert Notice.objects.filter(person_id=oskar.id, read_at=None).count() == 2, "a poll is no reading"
    client.get(url("detail", first))
    unread = Notice.objects.filter(read_at=None)
    assert [row.path for row in unread.filter(person_id=oskar.id)] == [url("detail", second)]
    assert unread.filter(person_id=otto.id).count() == 2


def test_the_record_of_a_request_begins_with_its_asking(ask, browser, olga, oskar):
    first = ask()
    browser(oskar).post(url("reject", first), {"reject-reason": "no"})
    second = ask()
    for request, told in ((first, ["approval.reject", "approval.request"]), (second, ["approval.request"])):
        page = browser(olga).get(url("detail", request)).content.decode()
        assert re.findall(r">(approval\.\w+)</a>", page) == told
