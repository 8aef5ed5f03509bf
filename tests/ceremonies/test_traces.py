"""After a whole escrow and recovery no share, word sequence or key is anywhere; and a planted one is found everywhere."""

import base64
import json
import logging
import os

import psutil
import pytest
from django.conf import settings
from redis import Redis

from ceremonies import packages, shamir
from keys.crypto.secret import SecretBytes
from keys.models import Key, KeyVersion
from keys.provider_tasks import provider_work
from keys.services import materials
from keyvault_portal.accounts.actors import system_actor
from keyvault_portal.audit import services as audit
from tests.ceremonies.test_process import Ceremony, fresh_caches, hsm, organisation
from tests.ceremonies.traces import Places, Secrets, found, in_memory

__all__ = ["fresh_caches", "hsm", "organisation"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.needs_softhsm]


@pytest.fixture
def aftermath(organisation, hsm, start_process, caplog):
    """An escrow and a recovery, looked at before its end, too; the secrets, and where they might be."""
    caplog.set_level(logging.DEBUG)
    person = organisation.people["ada"].pk
    root = materials.active_version(organisation.keys["root"])
    running = start_process(**hsm)
    first = Ceremony(running.client)
    record, package, cards = first.escrow(root.pk, person)
    escrow_key = shamir.recover([SecretBytes(cards[who].encode()) for who in ("ann", "ben", "cleo")])
    assert packages.read(package).open(escrow_key) == materials.material(root)
    secrets = Secrets(cards, {"escrow key": escrow_key.reveal(), "master key": materials.material(root).reveal()})
    running.client.destroy(ceremony_id=first.id)
    second = Ceremony(running.client)
    second.recover(record, package, cards)
    places = lambda: Places([running.log], [running.temporary], caplog.text, running.process.pid)  # noqa: E731
    midway = found(secrets, places())
    handed = running.client.hand_over(**second.session, provider="hsm", person_id=person)
    assert Key.objects.get(pk=handed.key_id).current is not None
    waiting = found(secrets, places())
    running.client.destroy(ceremony_id=second.id)
    return secrets, places, midway | waiting, running


def test_nothing_is_left(aftermath):
    secrets, places, before, _ = aftermath
    assert before == set()
    assert found(secrets, places()) == set()
    seen = {place.split()[0] for place, _ in places()}
    assert {"table", "broker", "log", "process", "task"} <= seen


def test_a_planted_secret_is_found_everywhere(aftermath, organisation):
    secrets, places, _, running = aftermath
    card, escrow_key = secrets.cards["dan"], secrets.keys["escrow key"]
    some_words = card.split()[10:15]
    with audit.atomic(actor=system_actor("test"), action="test.plant", target=("test", "", "")) as act:
        act.record({"typed": ", ".join(some_words)})
    organisation.ring.title = f"x{base64.b64encode(b'ab' + escrow_key).decode()}x"
    organisation.ring.save()
    KeyVersion.objects.filter(key=organisation.keys["kek"]).update(public_key=b"prefix" + escrow_key)
    provider_work.apply_async(args=[escrow_key.hex()])
    with Redis.from_url(settings.BROKER_URL) as store:
        store.set("kvp:planted", json.dumps(some_words))
    logging.getLogger("ceremonies").warning("took %s", secrets.keys["master key"].hex().upper())
    with running.log.open("a") as log:
        log.write(f"traceback: {escrow_key!r}\n")
    (running.temporary / "swap").write_bytes(b"\0" * 100 + escrow_key)
    reported = found(secrets, places())
    for place in (
        "words of dan in table audit_event", "escrow key in table accounts_keyring", "escrow key in table encryption_keys",
        "escrow key in task arguments", "words of dan in broker kvp:planted", "master key in log of this process",
        f"escrow key in log {running.log.name}", "escrow key in file swap",
    ):  # fmt: skip
        assert place in reported, reported


def test_an_ended_ceremony_is_in_nobodys_memory(organisation, start_process):
    """Not even as the copies that Python makes: the ceremony's own process is gone, and the doorkeeper never had it."""
    if os.geteuid() != 0:
        pytest.skip("only root can read another process's memory")
    root = materials.active_version(organisation.keys["root"])
    running = start_process()
    doorkeeper = psutil.Process(running.process.pid)
    first = Ceremony(running.client)
    record, package, cards = first.escrow(root.pk, organisation.people["ada"].pk)
    escrow_key = shamir.recover([SecretBytes(cards[who].encode()) for who in ("ann", "ben", "cleo")])
    secrets = Secrets(cards, {"escrow key": escrow_key.reveal(), "master key": materials.material(root).reveal()})
    (own,) = doorkeeper.children()
    assert "escrow key" in in_memory(secrets, own.pid)  # so this way of looking finds what is there
    running.client.destroy(ceremony_id=first.id)
    assert doorkeeper.children() == []
    second = Ceremony(running.client)
    second.recover(record, package, cards)
    (own,) = doorkeeper.children()
    assert {"escrow key", "master key"} <= in_memory(secrets, own.pid)
    running.client.destroy(ceremony_id=second.id)
    assert not own.is_running()
    assert in_memory(secrets, doorkeeper.pid) == set()
