"""The three phases over real rows: introduced at once, walked to a census of zero, decommissioned by agreement."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from keys.crypto.envelope import context_aad
from keys.models import DataKey, FailedItem, KeyVersion, Rotation
from keys.services import census, lifecycle, materials, reencryption, rotation, segments
from keys.services.opening import open_store
from keys.services.recoding import recoder
from keyvault_portal.approvals import services as approvals
from keyvault_portal.approvals.models import ApprovalRequest
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import ApprovalRequired, Conflict, PermissionRefused
from tests.shop import seal_customers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("celery_eager")]


def read_all(store: Any, version: KeyVersion) -> dict[int, tuple[bytes, ...]]:
    """Every row of the store, opened."""
    adapter, reader = open_store(store), recoder(store, version, version)
    try:
        rows = adapter.ask_page(None, None, 100_000)()
        reader.prepare(rows)
        return {
            int(row.pk): tuple(
                reader.open(cell, context) for cell, context in zip(row.cells, row.contexts, strict=True)
            )
            for row in rows
        }
    finally:
        adapter.close()


def test_a_data_key_rotation_moves_every_cell_and_loses_none(organisation, customers, active):
    store, plain = customers
    old = active(organisation.keys["pii"])

    found = rotation.request_rotation(
        actor=organisation.actor("dana"), key_id=organisation.keys["pii"].pk, reason="yearly"
    )

    found.refresh_from_db()
    assert found.state == "re_encrypted", found.last_error
    new = active(organisation.keys["pii"])
    assert new.key_version == old.key_version + 1
    assert census.count_store(store) == {("email", new.pk): 2500, ("card", new.pk): 2500}
    assert read_all(store, new) == plain
    old.refresh_from_db()
    assert old.status == "decrypt_only"
    assert old.re_encrypt_done
    job = found.jobs.get()
    assert (job.items_total, job.items_done, job.items_failed) == (5000, 5000, 0)


def test_segments_never_hold_more_than_their_bound(organisation, active, monkeypatch):
    monkeypatch.setattr(segments, "SEGMENT_RECORDS", 10)
    version = active(organisation.keys["pii"])
    with segments.SegmentWriter(version, "test") as writer:
        for _ in range(21):
            writer.seal(b"x", b"")
        reserved = DataKey.objects.filter(version=version).values_list("records", flat=True)
        assert sorted(reserved) == [10, 10, 10]  # never an under-count while the last one is open
    assert sorted(reserved.all()) == [1, 10, 10]


def test_the_quorum_of_the_policy_has_to_agree_first(organisation, customers):
    key = organisation.keys["pii"]
    lifecycle.update_policy(
        actor=organisation.actor("ada"),
        key_id=key.pk,
        changes={"rotate_groups": [{"role": "security_officer", "threshold": 2}]},
    )
    with pytest.raises(ApprovalRequired) as waiting:
        rotation.request_rotation(actor=organisation.actor("ada"), key_id=key.pk, reason="agreed")
    assert not Rotation.objects.exists()
    request = ApprovalRequest.objects.get(pk=waiting.value.request_id)

    with pytest.raises(PermissionRefused):
        approvals.approve(actor=organisation.actor("ada"), request_id=request.pk, act_hash=request.act_hash)
    approvals.approve(actor=organisation.actor("boris"), request_id=request.pk, act_hash=request.act_hash)
    assert not Rotation.objects.exists()
    approvals.approve(actor=organisation.actor("chen"), request_id=request.pk, act_hash=request.act_hash)

    request.refresh_from_db()
    assert request.state == "executed", request.failure_detail
    assert Rotation.objects.get().state == "re_encrypted"
    assert Rotation.objects.get().approval_id == request.pk


def test_decommissioning_needs_agreement_and_ends_in_destruction(organisation, customers, active):
    key = organisation.keys["pii"]
    old = active(key)
    found = rotation.request_rotation(actor=organisation.actor("ada"), key_id=key.pk, reason="yearly")
    with pytest.raises(ApprovalRequired) as waiting:
        rotation.request_decommission(actor=organisation.actor("ada"), rotation_id=found.pk, reason="census is zero")
    request = ApprovalRequest.objects.get(pk=waiting.value.request_id)
    approvals.approve(actor=organisation.actor("boris"), request_id=request.pk, act_hash=request.act_hash)
    request.refresh_from_db()
    assert request.state == "executed", request.failure_detail

    old.refresh_from_db()
    found.refresh_from_db()
    assert (old.status, found.state) == ("pending_deletion", "decommissioned")
    assert old.deletion_due_at - timezone.now() > timedelta(days=29)

    KeyVersion.objects.filter(pk=old.pk).update(deletion_due_at=timezone.now() - timedelta(seconds=1))
    lifecycle.tick_deletions()
    rotation.tick_completions()
    old.refresh_from_db()
    found.refresh_from_db()
    assert (old.status, found.state) == ("destroyed", "completed")
    assert old.wrapped_material is None
    actions = list(AuditEvent.objects.order_by("seq").values_list("action", flat=True))
    assert [name for name in actions if name in {"key.rotate", "rotation.decommission", "key.destroy_version"}][
        -1
    ] == "key.destroy_version"


def test_decommissioning_is_refused_while_one_cell_stands_on_the_old_version(organisation, customers, shop, active):
    key = organisation.keys["pii"]
    old_cell = shop.cells()[7][0]
    found = rotation.request_rotation(actor=organisation.actor("ada"), key_id=key.pk, reason="yearly")
    shop.connection.execute("UPDATE customers SET email = %s WHERE id = 7", [old_cell])

    with pytest.raises(Conflict, match="1 item still stands on version 1"):
        rotation.request_decommission(actor=organisation.actor("ada"), rotation_id=found.pk, reason="too early")


def test_two_rotations_at_once_are_refused(organisation, customers, settings):
    key = organisation.keys["pii"]
    found = rotation.request_rotation(actor=organisation.actor("ada"), key_id=key.pk, reason="one")
    Rotation.objects.filter(pk=found.pk).update(state="re_encrypting")
    with pytest.raises(Conflict, match="being rotated already"):
        rotation.request_rotation(actor=organisation.actor("ada"), key_id=key.pk, reason="two")


def test_an_unreadable_cell_is_set_aside_untouched_and_blocks_the_end(organisation, customers, shop, active):
    store, plain = customers
    key = organisation.keys["pii"]
    broken = bytearray(shop.cells()[42][1])
    broken[-1] ^= 1
    shop.connection.execute("UPDATE customers SET card = %s WHERE id = 42", [bytes(broken)])

    found = rotation.request_rotation(actor=organisation.actor("ada"), key_id=key.pk, reason="yearly")

    found.refresh_from_db()
    item = FailedItem.objects.get()
    assert (item.item, item.column, item.reason, item.resolution) == ("42", "card", "decrypt_failed", "open")
    assert shop.cells()[42][1] == bytes(broken)
    assert found.state == "re_encrypted"
    with pytest.raises(Conflict, match=r"waits? for a decision"):
        rotation.request_decommission(actor=organisation.actor("ada"), rotation_id=found.pk, reason="done")

    rotation.decide_failed(
        actor=organisation.actor("ada"), rotation_id=found.pk, item_id=item.pk, reason="the customer is gone"
    )
    with pytest.raises(ApprovalRequired):
        rotation.request_decommission(actor=organisation.actor("ada"), rotation_id=found.pk, reason="done")
    moved = {number: values for number, values in plain.items() if number != 42}
    shop.connection.execute("DELETE FROM customers WHERE id = 42")
    assert read_all(store, active(key)) == moved


def test_a_repaired_cell_is_moved_by_a_retry(organisation, customers, shop, active):
    store, plain = customers
    good = shop.cells()[42][1]
    shop.connection.execute("UPDATE customers SET card = %s WHERE id = 42", [good[:-1] + bytes([good[-1] ^ 1])])
    found = rotation.request_rotation(
        actor=organisation.actor("ada"), key_id=organisation.keys["pii"].pk, reason="yearly"
    )
    assert FailedItem.objects.count() == 1
    shop.connection.execute("UPDATE customers SET card = %s WHERE id = 42", [good])

    rotation.retry_failed(actor=organisation.actor("dana"), rotation_id=found.pk)

    found.refresh_from_db()
    assert found.state == "re_encrypted"
    assert not FailedItem.objects.exists()
    assert read_all(store, active(organisation.keys["pii"])) == plain


def test_a_swapped_cell_is_noticed(organisation, customers, shop):
    one, two = shop.cells()[1][0], shop.cells()[2][0]
    shop.connection.execute(
        "UPDATE customers SET email = CASE id WHEN 1 THEN %s ELSE %s END WHERE id IN (1, 2)", [two, one]
    )
    rotation.request_rotation(actor=organisation.actor("ada"), key_id=organisation.keys["pii"].pk, reason="yearly")
    assert set(FailedItem.objects.values_list("item", "reason")) == {("1", "decrypt_failed"), ("2", "decrypt_failed")}


def test_a_kek_rotation_wraps_the_keys_again_and_touches_no_data(organisation, customers, shop, active):
    store, plain = customers
    before = shop.cells()
    old = active(organisation.keys["kek"])

    found = rotation.request_rotation(
        actor=organisation.actor("ada"), key_id=organisation.keys["kek"].pk, reason="half-yearly"
    )

    found.refresh_from_db()
    assert found.state == "re_encrypted", found.last_error
    new = active(organisation.keys["kek"])
    assert not KeyVersion.objects.filter(wrapped_by=old).exists()
    assert not DataKey.objects.filter(wrapped_by=old).exists()
    assert DataKey.objects.filter(wrapped_by=new).exists()
    assert shop.cells() == before
    materials.forget()
    assert read_all(store, active(organisation.keys["pii"])) == plain
    assert census.live_items(old) == 0


def test_a_master_rotation_wraps_the_keks_again(organisation, customers, active):
    store, plain = customers
    old = active(organisation.keys["root"])
    rotation.request_rotation(actor=organisation.actor("ada"), key_id=organisation.keys["root"].pk, reason="yearly")
    assert not KeyVersion.objects.filter(wrapped_by=old).exists()
    materials.forget()
    assert read_all(store, active(organisation.keys["pii"])) == plain


def test_a_compromised_version_is_replaced_at_once_without_agreement(organisation, customers, active):
    store, plain = customers
    key = organisation.keys["pii"]
    lifecycle.update_policy(
        actor=organisation.actor("ada"),
        key_id=key.pk,
        changes={"rotate_groups": [{"role": "security_officer", "threshold": 2}]},
    )
    old = active(key)
    found = rotation.rotate_compromised(
        actor=organisation.actor("ada"),
        version_id=old.pk,
        reason_code="key_compromise",
        occurred_at=timezone.now(),
        note="seen in a log",
    )
    old.refresh_from_db()
    found.refresh_from_db()
    assert (old.status, found.trigger, found.state) == ("compromised", "compromise", "re_encrypted")
    assert read_all(store, active(key)) == plain


def test_the_schedule_rotates_what_is_due_by_policy_only(organisation, customers):
    from keys.models import Key, KeyPolicy

    Key.objects.update(next_rotation_at=timezone.now() - timedelta(days=1))
    KeyPolicy.objects.filter(key=organisation.keys["pii"]).update(auto_rotate=True)
    assert rotation.tick_schedules() == 1
    assert Rotation.objects.get().trigger == "scheduled"
    assert rotation.tick_schedules() == 0


def test_the_dry_run_counts_and_changes_nothing(organisation, customers, shop):
    before = shop.cells()
    estimate = rotation.dry_run(actor=organisation.actor("dana"), key_id=organisation.keys["pii"].pk)
    assert estimate.items == 5000
    assert estimate.provider_calls == 2
    assert shop.cells() == before
    assert not Rotation.objects.exists()


def test_an_auditor_may_look_but_not_rotate(organisation, customers):
    refusals = AuditEvent.objects.filter(action="key.rotate", outcome="refused", actor_label__icontains="fay")
    before = refusals.count()
    with pytest.raises(PermissionRefused):
        rotation.request_rotation(actor=organisation.actor("fay"), key_id=organisation.keys["pii"].pk, reason="no")
    assert refusals.count() == before + 1


def test_rows_written_by_the_application_meanwhile_are_not_lost(organisation, customers, shop, active, monkeypatch):
    """An application overwrites cells between the read and the write of a page: its value stays."""
    from keys.datastores.postgresql import PostgresTable

    store, plain = customers
    version = active(organisation.keys["pii"])
    fresh = materials.new_data_key(version, "app")
    from keys.crypto.aead import Aead
    from keys.crypto.compact import seal_compact, segment_header

    cell = seal_compact(
        Aead("AES-256-GCM", fresh[1]), segment_header(version_algorithm(version), fresh[0].pk), b"new@example.org",
        context_aad({"table": "customers", "column": "email", "id": "5"}),
    )  # fmt: skip
    write, raced = PostgresTable.ask_write, []

    def write_after_the_application(self, page, new):
        if not raced:
            raced.append(1)
            shop.connection.execute("UPDATE customers SET email = %s WHERE id = 5", [cell])
        return write(self, page, new)

    monkeypatch.setattr(PostgresTable, "ask_write", write_after_the_application)
    found = rotation.request_rotation(
        actor=organisation.actor("ada"), key_id=organisation.keys["pii"].pk, reason="race"
    )
    found.refresh_from_db()
    job = found.jobs.get()
    assert found.state == "re_encrypted"
    assert job.items_changed_meanwhile == 1
    assert job.passes == 2
    assert read_all(store, active(organisation.keys["pii"])) == plain | {5: (b"new@example.org", plain[5][1])}


def version_algorithm(version):
    from keys.crypto.algorithms import ALGORITHMS

    return ALGORITHMS[version.key.algorithm]


@pytest.mark.parametrize(("age", "counts"), [(59, 1), (61, 2)])
def test_a_late_census_serves_to_begin_with_and_the_end_counts(
    organisation, customers, shop, active, monkeypatch, age, counts
):
    """What an application wrote since the census moves, too, and the job says in the end how many there were."""
    store, _ = customers
    census.take(store)
    type(store).objects.filter(pk=store.pk).update(census_at=timezone.now() - timedelta(minutes=age))
    seal_customers(shop, active(organisation.keys["pii"]), range(2501, 2601))
    counted, inside = [], reencryption.census.count_store
    monkeypatch.setattr(census, "count_store", lambda *a, **k: counted.append(1) or inside(*a, **k))
    monkeypatch.setattr(census, "take", lambda store: None)  # the one after the walk, for the pages

    found = rotation.request_rotation(
        actor=organisation.actor("dana"), key_id=organisation.keys["pii"].pk, reason="yearly"
    )

    job = found.jobs.get()
    assert (job.state, job.items_total, job.items_done) == ("done", 5200, 5200)
    assert len(counted) == counts
    assert inside(store) == dict.fromkeys(
        [("email", active(organisation.keys["pii"]).pk), ("card", active(organisation.keys["pii"]).pk)], 2600
    )
