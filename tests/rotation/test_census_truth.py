"""Decommissioning waits for every item that stands on the old version, or that may: nothing hides another."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from keys.crypto.envelope import seal_envelope
from keys.crypto.secret import SecretBytes
from keys.datastores.postgresql import PostgresTable
from keys.models import DataStore, FailedItem, KeyVersion, Rotation
from keys.serializers import RotationSerializer
from keys.services import census, deletion, lifecycle, materials, reencryption, rotation
from keys.services.rotation.ending import StillInUse, verify
from keyvault_portal.audit.models import AuditEvent
from tests.shop import Organisation, Shop, register_customers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("celery_eager")]
ROWS = 30


def php(text: str) -> str:
    """As PHP writes it: a solidus is escaped."""
    return text.replace("/", "\\/")


def unicode(text: str) -> str:
    """With names in escapes."""
    return text.replace('"kms_key_id"', '"\\u006bms_key_id"')


def begin(organisation: Organisation, name: str) -> Rotation:
    found = rotation.request_rotation(
        actor=organisation.actor("ada"), key_id=organisation.keys[name].pk, reason="yearly"
    )
    found.refresh_from_db()
    assert found.state == "re_encrypted", found.last_error
    return found


def give_up(organisation: Organisation, found: Rotation) -> None:
    for item in FailedItem.objects.filter(resolution="open"):
        rotation.decide_failed(
            actor=organisation.actor("ada"), rotation_id=found.pk, item_id=item.pk, reason="it is lost"
        )


@pytest.fixture
def envelope(organisation: Organisation, active: Any) -> Callable[..., str]:
    """An envelope under the active version of a key when it is made."""

    def make(number: int, key: str = "kek", **more: str) -> str:
        version, data_key = active(organisation.keys[key]), SecretBytes(bytes([number]) * 32)
        context = {"id": str(number), **more}
        wrapped = materials.wrap_under(version, data_key, context=context)
        return seal_envelope(b"note", context, version.kms_key_arn, data_key, wrapped).to_json()

    return make


@pytest.fixture
def notes(organisation: Organisation, shop: Shop, envelope: Any) -> Callable[..., DataStore]:
    """A store of envelopes in a column of a type, spelt in a way."""

    def register(spelt: Callable[[str], str] = str, kind: str = "text") -> DataStore:
        shop.connection.execute(f"CREATE TABLE notes (id bigint PRIMARY KEY, body {kind})")
        for number in range(1, ROWS + 1):
            shop.connection.execute("INSERT INTO notes VALUES (%s, %s)", [number, spelt(envelope(number))])
        return register_customers(
            organisation, shop, name="notes", table_name="notes", columns=["body"], format="envelope_json",
            context_template={}, key=organisation.keys["kek"],
        )  # fmt: skip

    return register


def write_note(shop: Shop, body: str) -> None:
    shop.connection.execute("UPDATE notes SET body = %s WHERE id = 7", [body])


@pytest.mark.parametrize("kind", ["text", "json", "jsonb"])
@pytest.mark.parametrize("spelt", [php, unicode])
def test_envelopes_are_moved_however_they_are_spelt(organisation, notes, active, spelt, kind):
    store, old = notes(spelt, kind), active(organisation.keys["kek"])
    assert census.count_store(store) == {("body", old.pk): ROWS}
    found = begin(organisation, "kek")
    assert census.count_store(store) == {("body", active(organisation.keys["kek"]).pk): ROWS}
    assert found.jobs.get(store=store).items_done == verify(found.pk) == ROWS


@pytest.mark.parametrize("spelt", [str, php, unicode])
@pytest.mark.parametrize("context", [{}, {"kms_key_id": "nobody"}])
def test_an_envelope_that_arrives_late_is_in_the_way_however_it_is_spelt(
    organisation, notes, shop, envelope, spelt, context
):
    notes()
    late = spelt(envelope(7, **context))
    found = begin(organisation, "kek")
    write_note(shop, late)
    with pytest.raises(StillInUse, match="1 item still stands on version 1"):
        verify(found.pk)
    rotation.retry_failed(actor=organisation.actor("dana"), rotation_id=found.pk)
    assert verify(found.pk) == ROWS


@pytest.mark.parametrize("before", [True, False])
def test_what_names_no_version_is_in_the_way_until_it_is_given_up(organisation, notes, shop, active, before):
    """Whether it was there when the walk began or came later."""
    store, old = notes(), active(organisation.keys["kek"])
    if before:
        write_note(shop, "no envelope")
    found = begin(organisation, "kek")
    if not before:
        write_note(shop, "no envelope")
        with pytest.raises(StillInUse, match="1 item names no version"):
            verify(found.pk)
        assert any("may stand on it" in said for said in deletion.consequences(old))
        rotation.retry_failed(actor=organisation.actor("dana"), rotation_id=found.pk)
    assert FailedItem.objects.values_list("item", "reason").get() == ("7", "malformed")
    with pytest.raises(StillInUse, match=r"waits? for a decision"):
        verify(found.pk)
    give_up(organisation, found)
    assert verify(found.pk) == ROWS - 1
    shop.connection.execute("UPDATE notes SET body = 'neither' WHERE id = 8")
    with pytest.raises(StillInUse, match="1 item names no version"):
        verify(found.pk)
    assert found.jobs.get(store=store).passes == 1


@pytest.mark.parametrize("form", ["envelope_json", "vault_text"])
def test_an_item_of_another_key_or_of_no_version_is_set_aside(organisation, notes, shop, envelope, active, form):
    organisation.key("other", "kek", "root")
    if form == "envelope_json":
        notes()
        write_note(shop, envelope(7, key="other"))
        name = "kek"
    else:
        name, version = "pii", active(organisation.keys["pii"])
        shop.connection.execute("CREATE TABLE notes (id bigint PRIMARY KEY, body text)")
        register_customers(
            organisation, shop, name="notes", table_name="notes", columns=["body"], format=form,
            context_template={}, key=organisation.keys[name],
        )  # fmt: skip
        shop.connection.execute("INSERT INTO notes VALUES (7, 'vault:v77:AAAA')")
        assert version.key_version == 1
    found = begin(organisation, name)
    assert FailedItem.objects.values_list("item", "reason").get() == ("7", "unknown_version")
    give_up(organisation, found)
    verify(found.pk)


def test_items_on_other_versions_of_the_key_are_no_trouble(organisation, notes, shop, envelope, active):
    store, first = notes(), active(organisation.keys["kek"])
    late = envelope(7)
    begin(organisation, "kek")
    write_note(shop, late)
    found = begin(organisation, "kek")
    assert not FailedItem.objects.exists()
    assert census.count_store(store) == {("body", first.pk): 1, ("body", found.new_version_id): ROWS - 1}


def test_an_item_that_was_given_up_hides_no_other(organisation, customers, shop):
    good, broken = shop.cells()[7][0], bytearray(shop.cells()[42][1])
    broken[-1] ^= 1
    shop.connection.execute("UPDATE customers SET card = %s WHERE id = 42", [bytes(broken)])
    found = begin(organisation, "pii")
    give_up(organisation, found)
    assert verify(found.pk) > 0
    shop.connection.execute("DELETE FROM customers WHERE id = 42")
    shop.connection.execute("UPDATE customers SET email = %s WHERE id = 7", [good])
    with pytest.raises(StillInUse, match="1 item still stands on version 1"):
        verify(found.pk)


def test_an_item_that_was_given_up_and_is_readable_again_is_in_the_way(organisation, customers, shop):
    good = shop.cells()[42][1]
    broken = good[:-1] + bytes([good[-1] ^ 1])
    shop.connection.execute("UPDATE customers SET card = %s WHERE id = 42", [broken])
    found = begin(organisation, "pii")
    give_up(organisation, found)
    shop.connection.execute("UPDATE customers SET card = %s WHERE id = 42", [good])
    with pytest.raises(StillInUse, match="1 item still stands on version 1"):
        verify(found.pk)


def test_an_item_set_aside_does_not_end_the_walk_for_another(organisation, customers, shop, monkeypatch):
    good, broken = shop.cells()[7][0], bytearray(shop.cells()[42][1])
    broken[-1] ^= 1
    shop.connection.execute("UPDATE customers SET card = %s WHERE id = 42", [bytes(broken)])
    write, raced = PostgresTable.ask_write, []

    def write_after_the_application(self: PostgresTable, page: Any, new: Any) -> Any:
        if not raced:
            raced.append(1)
            shop.connection.execute("DELETE FROM customers WHERE id = 42")
            shop.connection.execute("UPDATE customers SET email = %s, card = NULL WHERE id = 7", [good])
        return write(self, page, new)

    monkeypatch.setattr(PostgresTable, "ask_write", write_after_the_application)
    found = begin(organisation, "pii")
    assert found.jobs.get().passes == 2
    assert census.live_items(found.old_version) == 0


def test_the_record_says_at_least_and_what_the_census_counts(organisation, customers, settings, monkeypatch, browser):
    """A worker dies between writing a page and counting it."""
    settings.REENCRYPTION_WORKERS, settings.REENCRYPTION_LEASE_SECONDS = 0, 0
    found = rotation.request_rotation(
        actor=organisation.actor("ada"), key_id=organisation.keys["pii"].pk, reason="yearly"
    )
    job = found.jobs.get()

    class Died(Exception):
        pass

    def die(self: Any, step: Any, *, now: bool = False) -> bool:
        raise Died

    with monkeypatch.context() as killed, pytest.raises(Died):
        killed.setattr(reencryption._Walker, "_save", die)
        reencryption.work(job.pk, 600)
    while reencryption.work(job.pk, 600):
        pass
    rotation.settle(found.pk)

    job.refresh_from_db()
    assert (job.state, job.items_failed) == ("done", 0)
    recorded = json.loads(bytes(AuditEvent.objects.get(action="rotation.re_encrypted").leaf))["details"]
    assert recorded["items_on_new_version"] == 5000
    assert recorded["items_at_least"] == job.items_done < 5000
    gone = 5000 - job.items_done
    assert (job.items_total, job.items_gone) == (5000, gone), "what people see adds up"
    (shown,) = RotationSerializer(found).data["jobs"]
    assert (shown["items_done"], shown["items_total"], shown["items_gone"]) == (5000 - gone, 5000, gone)
    for page in (reverse("keys:rotation-detail", args=[found.pk]), reverse("keys:store-detail", args=[job.store_id])):
        text = " ".join(browser("fay").get(page).content.decode().split())
        assert f"{5000 - gone:,} of 5,000" in text
        assert f"{gone:,} gone otherwise" in text
        assert "100 %</strong>" in text or page.startswith("/keys/stores/")


def test_what_a_cancelled_walk_moved_is_not_counted_again(organisation, customers, settings, monkeypatch):
    """The last census is from before it."""
    settings.REENCRYPTION_WORKERS = 0
    found = rotation.request_rotation(
        actor=organisation.actor("ada"), key_id=organisation.keys["pii"].pk, reason="yearly"
    )
    job = found.jobs.get()
    save = reencryption._Walker._save

    def once(self: Any, step: Any, *, now: bool = False) -> bool:
        saved, self.state = save(self, step, now=True), "paused"
        return saved

    with monkeypatch.context() as patch:
        patch.setattr(reencryption._Walker, "_save", once)
        reencryption.work(job.pk, 600)
    rotation.cancel(actor=organisation.actor("dana"), rotation_id=found.pk, reason="Not now.")
    job.refresh_from_db()
    assert 0 < job.items_done < 5000
    rotation.retry_failed(actor=organisation.actor("dana"), rotation_id=found.pk)
    reencryption.prepare(job)
    job.refresh_from_db()
    assert job.items_total == 5000
    while reencryption.work(job.pk, 600):
        pass
    job.refresh_from_db()
    assert (job.state, job.items_total, job.items_done, job.items_gone) == ("done", 5000, 5000, 0)


def test_a_sample_that_finds_the_old_version_is_believed_before_the_count(organisation, customers, shop, monkeypatch):
    good = shop.cells()
    found = begin(organisation, "pii")
    for number, (email, _) in good.items():
        shop.connection.execute("UPDATE customers SET email = %s WHERE id = %s", [email, number])
    monkeypatch.setattr(PostgresTable, "count_by_version", lambda self: [])
    with pytest.raises(StillInUse, match=r"sampled items? still stands? on version 1"):
        verify(found.pk)


def test_what_was_given_up_on_a_version_that_is_gone_does_not_stop_the_next_rotation(organisation, customers, shop):
    shop.connection.execute("DELETE FROM customers WHERE id > 50")  # few enough that the sample is all of them
    store, broken = customers[0], bytearray(shop.cells()[42][1])
    broken[-1] ^= 1
    shop.connection.execute("UPDATE customers SET card = %s WHERE id = 42", [bytes(broken)])
    found = begin(organisation, "pii")
    give_up(organisation, found)
    policy = found.key.policy
    policy.destroy_groups = []
    policy.save()
    rotation.request_decommission(actor=organisation.actor("ada"), rotation_id=found.pk, reason="it is over")
    KeyVersion.objects.filter(pk=found.old_version_id).update(deletion_due_at=timezone.now())
    lifecycle.tick_deletions()
    assert rotation.tick_completions() == 1
    second = begin(organisation, "pii")
    assert not FailedItem.objects.filter(job__rotation=second).exists()
    assert census.count_store(store)["card", found.old_version_id] == 1
    assert verify(second.pk) == 99
    assert shop.cells()[42][1] == bytes(broken)
