"""What was set aside is decided one by one or all at once, however many there are, by those who may destroy the key."""

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from django.test import Client

from keys.models import FailedItem, KeyPolicy, KeyVersion, Rotation
from keys.services import census, rotation
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import Conflict, PermissionRefused, ValidationFailed, WrongState
from tests.rotation.test_pages import text
from tests.shop import Organisation

MANY = 71


@pytest.fixture
def walked(organisation: Organisation, customers: Any, celery_eager: None) -> Rotation:
    """A rotation whose walk is over, with MANY items set aside."""
    found = rotation.request_rotation(
        actor=organisation.actor("ada"), key_id=organisation.keys["pii"].pk, reason="yearly"
    )
    set_aside(found, MANY)
    KeyVersion.objects.filter(pk=found.old_version_id).update(re_encrypt_done=False)
    found.refresh_from_db()
    return found


def set_aside(found: Rotation, number: int, start: int = 0) -> None:
    job = found.jobs.exclude(store=None).get()
    FailedItem.objects.bulk_create(
        FailedItem(job=job, store_id=job.store_id, item=f"{start + n:04}", column="email", reason="malformed")
        for n in range(number)
    )


def test_open_ones_come_first_page_by_page(
    organisation: Organisation, walked: Rotation, browser: Callable[[str], Client]
) -> None:
    for item in FailedItem.objects.order_by("id")[:60]:
        rotation.decide_failed(
            actor=organisation.actor("ada"), rotation_id=walked.pk, item_id=item.pk, reason="gone for good"
        )
    ada, page = browser("ada"), f"/keys/rotations/{walked.pk}/"
    shown = ada.get(page)
    listed = shown.context["failed_items"]
    assert [item.resolution for item in listed] == ["open"] * 11 + ["given_up"] * 39
    assert text(shown).count("Why it is given up") == 11
    assert "11 items set aside" in text(shown)
    assert text(shown).count("not in the format of its store") == 50, "a code says nothing to whoever decides"
    further = ada.get(page + shown.context["older_url"]).context["failed_items"]
    assert len(further) == 21
    assert len({item.pk for item in [*listed, *further]}) == MANY
    api = ada.get(f"/api/v1/rotations/{walked.pk}/failed-items").json()
    assert [row["resolution"] for row in api["results"][:12]] == ["open"] * 11 + ["given_up"]


def test_only_who_may_destroy_is_offered_the_decision(walked: Rotation, browser: Callable[[str], Client]) -> None:
    page, all_of_them = f"/keys/rotations/{walked.pk}/", f"/keys/rotations/{walked.pk}/items/give-up/"
    dana = text(browser("dana").get(page))
    assert "Read them again" in dana, "an operator may do that"
    assert "Give up" not in dana
    assert all_of_them not in dana
    assert "Whoever may destroy the key decides" in dana
    assert browser("dana").get(all_of_them).status_code == 403
    assert all_of_them in text(browser("ada").get(page))


def test_the_roles_of_the_policy_decide_on_what_is_given_up_too(
    organisation: Organisation, walked: Rotation, browser: Callable[[str], Client]
) -> None:
    KeyPolicy.objects.filter(key=walked.key).update(destroy_roles=["operator"])
    ada, item = organisation.actor("ada"), FailedItem.objects.order_by("pk").first()
    assert item
    with pytest.raises(PermissionRefused, match="The policy of Pii does not let Ada"):
        rotation.decide_failed(actor=ada, rotation_id=walked.pk, item_id=item.pk, reason="gone")
    with pytest.raises(PermissionRefused, match="The policy of Pii does not let Ada"):
        rotation.give_up_open(actor=ada, rotation_id=walked.pk, items=MANY, reason="gone")
    assert rotation.open_items(walked).count() == MANY
    shown = text(browser("ada").get(f"/keys/rotations/{walked.pk}/"))
    assert "Give up" not in shown
    assert "Whoever may destroy the key decides" in shown


def test_all_are_given_up_at_once_by_page(
    organisation: Organisation, walked: Rotation, browser: Callable[[str], Client]
) -> None:
    ada, page = browser("ada"), f"/keys/rotations/{walked.pk}/items/give-up/"
    asked = text(ada.get(page))
    assert f"{MANY} items wait for a decision." in asked
    assert f"email: {MANY} (not in the format of its store)." in asked
    assert ada.post(page, {"items": MANY}).status_code == 422, "with a reason only"
    refused = ada.post(page, {"items": 21, "reason": "gone"})
    assert refused.status_code == 422
    assert f"{MANY} items wait for a decision, not 21." in text(refused)
    assert rotation.open_items(walked).count() == MANY
    assert ada.post(page, {"items": MANY, "reason": "gone"})["Location"] == f"/keys/rotations/{walked.pk}/"
    assert not rotation.open_items(walked).exists()
    walked.old_version.refresh_from_db()
    assert walked.old_version.re_encrypt_done
    assert ada.post(page, {"items": MANY, "reason": "gone"}).status_code == 422, "none is left"


def test_the_record_binds_which_ones_were_given_up(organisation: Organisation, walked: Rotation) -> None:
    ada = organisation.actor("ada")
    one = FailedItem.objects.order_by("id")[0]
    rotation.decide_failed(actor=ada, rotation_id=walked.pk, item_id=one.pk, reason="looked at by itself")
    given = list(rotation.open_items(walked).values_list("store_id", "item", "column", "reason"))
    assert rotation.give_up_open(actor=ada, rotation_id=walked.pk, items=MANY - 1, reason=" the disk broke ") == 70
    event = AuditEvent.objects.get(action="rotation.give_up_items")
    lines = sorted(json.dumps([str(store), *rest], separators=(",", ":")).encode() + b"\n" for store, *rest in given)
    assert json.loads(bytes(event.leaf))["details"] == {
        "items": 70, "stores": {str(one.store_id): 70}, "digest": sha256(b"".join(lines)).hexdigest(),
        "reason": "the disk broke",
    }  # fmt: skip
    assert set(FailedItem.objects.exclude(pk=one.pk).values_list("resolution", "resolved_by", "resolution_note")) == {
        ("given_up", "Ada", "the disk broke")
    }
    one.refresh_from_db()
    assert one.resolution_note == "looked at by itself", "decided before, it stays as it was"


def test_what_cannot_be_given_up(organisation: Organisation, walked: Rotation) -> None:
    ada = organisation.actor("ada")
    with pytest.raises(PermissionRefused):
        rotation.give_up_open(actor=organisation.actor("dana"), rotation_id=walked.pk, items=MANY, reason="gone")
    with pytest.raises(ValidationFailed):
        rotation.give_up_open(actor=ada, rotation_id=walked.pk, items=MANY, reason="  ")
    set_aside(walked, 1, start=MANY)
    with pytest.raises(Conflict, match=f"{MANY + 1} items wait for a decision, not {MANY}"):
        rotation.give_up_open(actor=ada, rotation_id=walked.pk, items=MANY, reason="gone")
    assert rotation.open_items(walked).count() == MANY + 1, "nothing is decided by halves"
    rotation.give_up_open(actor=ada, rotation_id=walked.pk, items=MANY + 1, reason="gone")
    with pytest.raises(WrongState):
        rotation.give_up_open(actor=ada, rotation_id=walked.pk, items=1, reason="gone")


def test_all_are_given_up_by_api(walked: Rotation, browser: Callable[[str], Client]) -> None:
    ada, path = browser("ada"), f"/api/v1/rotations/{walked.pk}/failed-items/give-up"
    sent = {"content_type": "application/json"}
    assert ada.post(path, {"items": 70, "reason": "gone"}, **sent).status_code == 409
    assert ada.post(path, {"reason": "gone"}, **sent).status_code == 422
    assert ada.post(path, {"items": MANY, "reason": "gone"}, **sent).status_code == 200
    assert not rotation.open_items(walked).exists()


def test_what_was_given_up_is_nobody_s_late_write(
    organisation: Organisation, customers: Any, shop: Any, browser: Callable[[str], Client], celery_eager: None
) -> None:
    old = shop.cells()
    damaged = old[42][1][:-1] + bytes([old[42][1][-1] ^ 1])
    shop.connection.execute("UPDATE customers SET card = %s WHERE id = 42", [damaged])
    found = rotation.request_rotation(
        actor=organisation.actor("ada"), key_id=organisation.keys["pii"].pk, reason="yearly"
    )
    rotation.give_up_open(actor=organisation.actor("ada"), rotation_id=found.pk, items=1, reason="gone")
    census.take(customers[0])
    ada, page = browser("ada"), f"/keys/rotations/{found.pk}/"
    shown = text(ada.get(page))
    assert "still stands on version 1 but what was given up: it can be decommissioned" in shown
    assert "more on version 1" not in shown
    assert "Read everything again" in shown, "somebody may have mended it"
    shop.connection.execute("UPDATE customers SET email = %s WHERE id = 7", [old[7][0]])
    census.take(customers[0])
    shown = text(ada.get(page))
    assert "The last count found 1 more on version 1" in shown
    assert "Move them" in shown


def test_the_store_s_page_says_how_many_of_a_job_were_set_aside(
    walked: Rotation, browser: Callable[[str], Client]
) -> None:
    job = walked.jobs.exclude(store=None).get()
    page = f"/keys/stores/{job.store_id}/"
    assert "· 0 set aside" not in text(browser("ada").get(page))
    walked.jobs.filter(pk=job.pk).update(items_failed=MANY)
    assert f"· {MANY} set aside" in text(browser("ada").get(page))
