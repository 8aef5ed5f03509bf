"""Walks that begin again: for what arrives late, after a cancellation, and when the version they go to is compromised."""

from typing import Any

import pytest
from django.utils import timezone

from keys.datastores.base import Page
from keys.models import Key, KeyVersion, Rotation
from keys.services import census, lifecycle, rotation
from keys.services.recoding import VaultTextRecoder
from keys.tasks import reencrypt
from keyvault_portal.errors import ApprovalRequired, Conflict, WrongState
from tests.shop import register_customers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("celery_eager")]


@pytest.fixture
def idle(settings: Any) -> Any:
    """No worker takes up what is sent."""
    settings.REENCRYPTION_WORKERS = 0
    return settings


def begin(organisation: Any, name: str = "pii") -> Rotation:
    return rotation.request_rotation(
        actor=organisation.actor("ada"), key_id=organisation.keys[name].pk, reason="for a test"
    )


def compromise(organisation: Any, version: KeyVersion) -> Rotation | None:
    return rotation.rotate_compromised(
        actor=organisation.actor("ada"), version_id=version.pk, reason_code="key_compromise", occurred_at=timezone.now()
    )


def standing(key: Key) -> dict[int, int]:
    """Items by version number, counted now; versions that hold none are left out."""
    counted = {version.key_version: census.live_items(version) for version in key.versions.all()}
    return {number: items for number, items in counted.items() if items}


def test_what_arrives_late_on_the_old_version_is_moved_by_beginning_again(organisation, customers, shop):
    key, late = organisation.keys["pii"], shop.cells()[7][0]
    found = begin(organisation)
    shop.connection.execute("UPDATE customers SET email = %s WHERE id = 7", [late])
    assert standing(key) == {1: 1, 2: 4999}

    rotation.retry_failed(actor=organisation.actor("dana"), rotation_id=found.pk)

    found.refresh_from_db()
    assert (found.state, standing(key)) == ("re_encrypted", {2: 5000})
    assert found.old_version.re_encrypt_done
    with pytest.raises(ApprovalRequired):
        rotation.request_decommission(actor=organisation.actor("ada"), rotation_id=found.pk, reason="census zero")


def test_a_store_registered_since_is_walked_as_well(organisation, customers, shop, idle):
    key = organisation.keys["pii"]
    first = begin(organisation)
    shop.connection.execute("CREATE TABLE archive AS SELECT * FROM customers WHERE id <= 100")
    shop.connection.execute("ALTER TABLE archive ADD PRIMARY KEY (id)")
    idle.REENCRYPTION_WORKERS = 1
    rotation.cancel(actor=organisation.actor("dana"), rotation_id=first.pk, reason="too much load")
    register_customers(organisation, shop, name="archive", table_name="archive")
    rotation.retry_failed(actor=organisation.actor("dana"), rotation_id=first.pk)
    first.refresh_from_db()
    stores_walked = sorted(job.store.name for job in first.jobs.select_related("store"))
    assert (first.state, standing(key), stores_walked) == ("re_encrypted", {2: 5200}, ["archive", "customers"])


def test_a_cancelled_walk_is_taken_up_again_and_goes_to_the_version_active_by_then(organisation, customers, idle):
    key = organisation.keys["pii"]
    first = begin(organisation)
    rotation.cancel(actor=organisation.actor("dana"), rotation_id=first.pk, reason="too much load")
    second = begin(organisation)
    with pytest.raises(Conflict, match="being rotated already"):
        rotation.retry_failed(actor=organisation.actor("dana"), rotation_id=first.pk)
    idle.REENCRYPTION_WORKERS = 1
    for job in second.jobs.all():
        reencrypt.delay(str(job.pk))
    assert standing(key) == {1: 5000}, "the second walk leaves version 2, on which nothing stands"

    rotation.retry_failed(actor=organisation.actor("dana"), rotation_id=first.pk)

    first.refresh_from_db()
    assert (first.state, first.new_version.key_version, standing(key)) == ("re_encrypted", 3, {3: 5000})


def test_beginning_again_beside_another_rotation_is_a_conflict(organisation, customers, idle):
    idle.REENCRYPTION_WORKERS = 1
    first = begin(organisation)
    idle.REENCRYPTION_WORKERS = 0
    begin(organisation)
    with pytest.raises(Conflict, match="being rotated already"):
        rotation.retry_failed(actor=organisation.actor("dana"), rotation_id=first.pk)
    first.refresh_from_db()
    assert first.state == "re_encrypted"


def test_there_must_be_another_version_to_go_to(organisation, customers, active, idle):
    found = begin(organisation)
    rotation.cancel(actor=organisation.actor("dana"), rotation_id=found.pk, reason="no")
    lifecycle.suspend_version(
        actor=organisation.actor("ada"), version_id=active(organisation.keys["pii"]).pk, reason="a test"
    )
    with pytest.raises(WrongState, match="no version to move to"):
        rotation.retry_failed(actor=organisation.actor("dana"), rotation_id=found.pk)


def test_the_version_a_walk_goes_to_is_compromised_on_the_way(organisation, customers, active, idle):
    key = organisation.keys["pii"]
    first = begin(organisation)
    idle.REENCRYPTION_WORKERS = 1

    replaced = compromise(organisation, active(key))

    first.refresh_from_db()
    assert (first.state, replaced.trigger, active(key).key_version) == ("cancelled", "compromise", 3)
    assert [version.status for version in key.versions.order_by("key_version")] == [
        "decrypt_only",
        "compromised",
        "active",
    ]
    rotation.retry_failed(actor=organisation.actor("dana"), rotation_id=first.pk)
    assert standing(key) == {3: 5000}, "and nothing went to the compromised one"


def test_a_signing_key_is_replaced_at_once_although_its_next_version_waits_to_be_known(organisation, active):
    organisation.key("tokens", "token_signing", "kek", algorithm="Ed25519")
    key, first = organisation.keys["tokens"], active(organisation.keys["tokens"])
    waiting = begin(organisation, "tokens")
    assert waiting.state == "introducing"

    compromise(organisation, first)

    waiting.refresh_from_db()
    assert (waiting.state, active(key).key_version) == ("cancelled", 3)
    with pytest.raises(WrongState, match="nothing that could be moved"):
        rotation.retry_failed(actor=organisation.actor("dana"), rotation_id=waiting.pk)


@pytest.mark.parametrize("state", ["suspended", "compromised", "decrypt_only"])
def test_no_text_is_written_under_a_version_that_may_protect_nothing(organisation, active, state):
    version = active(organisation.keys["pii"])
    version.status = state
    walker = VaultTextRecoder(None, version, version)
    with pytest.raises(WrongState, match="nothing may be moved to it"):
        walker.reserve(Page(("1",), [("vault:v1:AAAA",)], [(None,)]))
