"""A guest's passkey: made with link and code, opens that one seat again, and nothing else opens with it."""

import json
import re
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from ceremonies.models import Participant
from ceremonies.services import invitations, plans
from keyvault_portal.audit.evidence.signatures import unbase64
from tests.authenticator import SoftPasskey

pytestmark = pytest.mark.django_db(transaction=True)


def invite(cast: Any, name: str) -> Any:
    made = invitations.invite_guest(actor=cast.planner, ceremony_id=cast.id, participant_id=cast.seat(name).pk)
    return made._replace(link=made.link.removeprefix("http://localhost:8000"))


def challenge(client: Client, link: str) -> bytes:
    """What the page asks the browser to sign, or to bind the new passkey to."""
    html = client.get(link).content.decode()
    return unbase64(json.loads(unescape(re.search(r'data-options="([^"]+)"', html)[1]))["challenge"])


def enrol(cast: Any, name: str, passkey: SoftPasskey) -> tuple[Any, Client]:
    made, client = invite(cast, name), Client()
    answer = json.dumps(passkey.create(challenge(client, made.link)))
    assert client.post(made.link, {"code": made.code, "passkey": answer}).status_code == 302
    return made, client


def room(client: Client, cast: Any) -> Any:
    return client.get(reverse("ceremonies:room", args=[cast.id]))


def test_a_guest_comes_back_with_the_passkey_and_the_seat_moves(cast):
    passkey = SoftPasskey()
    made, first = enrol(cast, "karl", passkey)
    assert "You are Karl" in room(first, cast).content.decode()
    second = Client()
    answer = passkey.sign(challenge(second, made.link))
    assert second.post(made.link, {"passkey": answer}).status_code == 302
    assert "You are Karl" in room(second, cast).content.decode()
    assert room(first, cast).status_code == 302
    third = Client()
    challenge(third, made.link)
    assert third.post(made.link, {"passkey": answer}).status_code == 403  # signed for another visit
    assert third.post(made.link, {"passkey": ""}).status_code == 422
    assert third.post(made.link, {"code": made.code, "passkey": "{}"}).status_code == 403


def test_another_passkey_a_copied_one_and_another_s_link_are_refused(cast):
    passkey = SoftPasskey()
    made, _ = enrol(cast, "karl", passkey)
    other, _ = enrol(cast, "lucy", SoftPasskey(identifier=b"of lucy"))
    client = Client()
    assert client.post(made.link, {"passkey": SoftPasskey().sign(challenge(client, made.link))}).status_code == 403
    assert client.post(other.link, {"passkey": passkey.sign(challenge(client, other.link))}).status_code == 403
    passkey.count = 0
    passkey.sign(b"elsewhere")
    passkey.count = 0
    refused = client.post(made.link, {"passkey": passkey.sign(challenge(client, made.link))})
    assert refused.status_code == 403
    assert "may be a copy" in refused.content.decode()


def test_without_the_code_no_passkey_is_taken(cast):
    made, client = invite(cast, "karl"), Client()
    wrong = "00000000" if made.code != "00000000" else "11111111"
    answer = json.dumps(SoftPasskey().create(challenge(client, made.link)))
    assert client.post(made.link, {"code": wrong, "passkey": answer}).status_code == 403
    stale = client.post(made.link, {"code": made.code, "passkey": answer})  # its challenge was used
    assert stale.status_code == 403
    assert Participant.objects.get(pk=made.seat.pk).passkey is None


def test_a_new_invitation_and_the_end_of_the_ceremony_end_it(cast, planner):
    passkey = SoftPasskey()
    made, _ = enrol(cast, "karl", passkey)
    invite(cast, "karl")
    assert Client().get(made.link).status_code == 404
    made, client = enrol(cast, "karl", passkey)
    plans.call_off(actor=planner, ceremony_id=cast.id, reason="A test.")
    assert client.get(made.link).status_code == 404
    assert client.post(made.link, {"passkey": passkey.sign(b"x")}).status_code == 404
