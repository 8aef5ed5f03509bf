"""Challenges: looked for a few times, in order, by one worker at a time."""

import pytest
from django.utils import timezone

from certificates.acme.errors import AcmeError
from certificates.acme.services import challenges, orders
from certificates.models import AcmeChallenge, AcmeOrder
from keyvault_portal.audit.models import AuditEvent
from tests.acme.conftest import World


def test_a_proof_is_looked_for_a_few_times(world: World, monkeypatch):
    client = world.client()
    order = client.order("a.example.org", "b.example.org")
    challenge = client.challenge(order, "http-01")
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now)
    answer = client.post(challenge["url"], {})
    assert (answer.json()["status"], answer["Retry-After"]) == ("processing", "2")
    assert f'<{order.json()["authorizations"][0]}>;rel="up"' in answer["Link"]
    row = AcmeChallenge.objects.get(kind="http-01", attempts=1)
    assert client.post(challenge["url"], {}).json()["status"] == "processing"  # said again, nothing is done again
    assert challenges.look(row.pk) is None  # it is not time yet
    monkeypatch.undo()
    for attempt in (2, 3):
        assert (world.look(challenge["url"]).attempts, world.look(challenge["url"]).state)[
            1
        ] == "processing" or attempt == 3
    found = world.look(challenge["url"])
    assert found.state == "invalid"
    assert found.attempts == 4
    body = client.post(order["Location"]).json()
    assert (body["status"], body["error"]["identifier"]["value"]) == ("invalid", "a.example.org")
    assert client.post(order.json()["authorizations"][0]).json()["status"] == "invalid"
    assert client.post(challenge["url"]).json()["error"]["type"].endswith(":dns")
    assert AuditEvent.objects.filter(action="acme.challenge.look", outcome="failed").count() == 4
    # The other name of the order: its proof comes too late.
    late = client.challenge(order, "dns-01", 1)
    world.zone[("_acme-challenge.b.example.org", "TXT")] = [f'"{client.digest_of(late["token"])}"']
    client.post(late["url"], {})
    assert client.post(order["Location"]).json()["status"] == "invalid"


def test_a_proof_that_comes_a_little_later_counts(world: World):
    client = world.client()
    order = client.order("a.example.org")
    challenge = client.challenge(order, "http-01")
    client.post(challenge["url"], {})
    world.zone[("a.example.org", "A")] = ["127.0.0.1"]
    world.web.pages[f"/.well-known/acme-challenge/{challenge['token']}"] = client.authorization_of(
        challenge["token"]
    ).encode()
    assert world.look(challenge["url"]).state == "valid"
    found = client.post(order.json()["authorizations"][0]).json()
    assert (found["status"], [item["type"] for item in found["challenges"]]) == ("valid", ["http-01"])
    assert client.post(order["Location"]).json()["status"] == "ready"


def test_a_lost_message_is_found_by_the_tick(world: World, monkeypatch):
    from certificates.acme import tasks

    client = world.client()
    order = client.order("a.example.org")
    challenge = client.challenge(order, "dns-01")
    world.zone[("_acme-challenge.a.example.org", "TXT")] = [f'"{client.digest_of(challenge["token"])}"']
    with monkeypatch.context() as patched:
        patched.setattr(challenges, "_look_later", lambda row: None)
        client.post(challenge["url"], {})
    assert client.post(challenge["url"]).json()["status"] == "processing"
    tasks.tick()
    assert client.post(order["Location"]).json()["status"] == "ready"


def test_an_inside_address_ends_the_challenge_at_once(world: World):
    client = world.client()
    world.rules(networks=[])
    world.zone[("a.example.org", "A")] = ["127.0.0.1"]
    order = client.order("a.example.org")
    challenge = client.challenge(order, "http-01")
    client.post(challenge["url"], {})
    row = AcmeChallenge.objects.get(pk=challenge["url"][-36:])
    assert (row.state, row.attempts) == ("invalid", 1)
    assert not world.web.asked
    assert AcmeOrder.objects.get().failure.startswith("a.example.org: The name a.example.org leads to an address where")


def test_two_proofs_at_once_end_in_one_ready_order(world: World):
    """A worker that comes back after its lease finds that another one looked, and changes nothing."""
    client = world.client()
    order = client.order("a.example.org")
    challenge = client.challenge(order, "dns-01")
    client.post(challenge["url"], {})
    row = AcmeChallenge.objects.get(pk=challenge["url"][-36:])
    AcmeChallenge.objects.filter(pk=row.pk).update(attempts=2)
    assert challenges._failed(row, AcmeError("dns", "late")) is None
    challenges._proved(row)
    row.refresh_from_db()
    assert (row.state, row.attempts) == ("processing", 2)
    assert orders.locked(order["Location"][-36:]).state == "pending"


def test_a_worker_that_always_breaks_is_not_asked_for_ever(world: World, monkeypatch):
    client = world.client()
    order = client.order("a.example.org")
    challenge = client.challenge(order, "dns-01")
    client.post(challenge["url"], {})

    def broken(_):
        raise RuntimeError

    monkeypatch.setattr(challenges, "_prove", broken)
    AcmeChallenge.objects.filter(pk=challenge["url"][-36:]).update(attempts=challenges._MOST - 1)
    with pytest.raises(RuntimeError):
        world.look(challenge["url"])
    found = world.look(challenge["url"])
    assert (found.state, found.error["type"][-14:]) == ("invalid", "serverInternal")


def test_two_replacements_at_once_are_one(world: World, monkeypatch):
    from certificates.acme.services import renewal

    client = world.client()
    row = world.issue(client, "a.example.org").certificate
    assert client.order("a.example.org", replaces=renewal.identifier(row)).status_code == 201
    monkeypatch.setattr(renewal, "replaced", lambda *_: row)  # as if both had looked before either was written
    late = client.order("a.example.org", replaces=renewal.identifier(row))
    assert (late.status_code, late.json()["type"][-15:]) == (409, "alreadyReplaced")
