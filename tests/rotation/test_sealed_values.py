"""The key of the portal's own values is rotated: every value opens afterwards, and is counted where it stands."""

from typing import Any

import pytest

from keys.models import DataStore, FailedItem, SealedValue
from keys.services import census, rotation, sealing, stores
from keys.services.opening import open_store
from keys.services.recoding import CompactRecoder, recode_page
from keys.services.rotation.ending import StillInUse, verify

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("celery_eager")]


@pytest.fixture
def own(organisation: Any) -> DataStore:
    """The store of sealed values; five values stand in it."""
    for number in range(5):
        sealing.seal_value(
            organisation.actor("ada"), purpose=f"credential {number}", plaintext=b"secret %d" % number,
            key=organisation.keys["portal"],
        )  # fmt: skip
    return DataStore.objects.get(kind=DataStore.Kind.SEALED_VALUES)


def opened() -> dict[str, bytes]:
    return {sealed.purpose: sealing.open_value(sealed).reveal() for sealed in SealedValue.objects.all()}


def rotate(organisation: Any) -> Any:
    found = rotation.request_rotation(
        actor=organisation.actor("dana"), key_id=organisation.keys["portal"].pk, reason="yearly"
    )
    found.refresh_from_db()
    assert found.state == "re_encrypted", found.last_error
    return found


def test_every_value_opens_after_its_key_was_rotated_and_stands_on_the_new_version(
    organisation, own, customers, active
):
    before = opened()
    found = rotate(organisation)
    assert opened() == before
    assert census.count_store(own) == {("ciphertext", active(organisation.keys["portal"]).pk): len(before)}
    assert census.live_items(found.old_version) == 0
    assert found.jobs.get().items_done == verify(found.pk) == len(before)
    stores.check_store(actor=organisation.actor("ada"), store_id=customers[0].pk)  # opens its DSN


def test_values_that_were_moved_to_segments_are_read_counted_and_brought_back(organisation, own, active):
    """An earlier release wrote them so."""
    before, version = opened(), active(organisation.keys["portal"])
    # What it did on its way from one version to the next; here from a version to itself.
    adapter, moving = open_store(own), CompactRecoder(own, version, version)
    page, new, aside, moved = recode_page(moving, adapter.columns, adapter.ask_page(None, None, 100)())
    adapter.ask_write(page, new)()
    moving.close()
    assert (aside, moved) == ([], len(before))
    assert {bytes(sealed.ciphertext)[0] for sealed in SealedValue.objects.all()} == {2}

    assert opened() == before
    assert census.count_store(own) == {("ciphertext", version.pk): len(before)}
    rotate(organisation)
    assert opened() == before
    assert {bytes(sealed.ciphertext)[0] for sealed in SealedValue.objects.all()} == {1}
    assert census.count_store(own) == {("ciphertext", active(organisation.keys["portal"]).pk): len(before)}


@pytest.mark.parametrize(
    "damage",
    [b"", b"\x02", b"\x02" + bytes(60), b"\x01" + bytes(60), b"\x09 no such form"],
    ids=["empty", "cut", "unknown segment", "unknown key", "unknown form"],
)
def test_a_value_that_names_no_key_is_counted_and_in_the_way_until_it_is_given_up(organisation, own, active, damage):
    sealed = SealedValue.objects.get(purpose="credential 3")
    SealedValue.objects.filter(pk=sealed.pk).update(ciphertext=damage)
    assert census.count_store(own)["ciphertext", None] == 1

    found = rotate(organisation)

    item = FailedItem.objects.get()
    assert item.item == str(sealed.pk)
    with pytest.raises(StillInUse, match=r"waits? for a decision"):
        verify(found.pk)
    rotation.decide_failed(actor=organisation.actor("ada"), rotation_id=found.pk, item_id=item.pk, reason="lost")
    assert verify(found.pk) == 4
    assert bytes(SealedValue.objects.get(pk=sealed.pk).ciphertext) == damage
