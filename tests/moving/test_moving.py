"""The way of a key from one place to another, step by step, with everything that was ever protected opened at the end."""

from datetime import timedelta

import pytest
from django.utils import timezone

from keys.models import DataKey, KeyVersion
from keys.services import census, lifecycle, moving, rotation, two_places
from keyvault_portal.audit.models import AuditEvent
from tests.moving.conftest import drive, fresh

pytestmark = pytest.mark.usefixtures("far", "sealing")


def wrapped_at(version):
    return KeyVersion.objects.filter(wrapped_by=version).count() + DataKey.objects.filter(wrapped_by=version).count()


@pytest.mark.parametrize("with_material", [False, True])
def test_a_key_moves_and_everything_before_during_and_after_opens(
    kek, start, holdings, officer, with_material, there, service
):
    held = holdings(kek)
    held.add()
    old = kek.current
    move = start(kek, with_material=with_material)
    held.add()
    move = drive(move)
    held.add()
    held.check()

    kek.refresh_from_db()
    assert (kek.provider, kek.current, kek.current.provider) == ("far", move.new_version, "far")
    assert wrapped_at(old) == 0
    assert census.live_items(old) == 0
    assert next(iter(there.keys.values())).imported == with_material
    held.renew()
    moving.drop_old(actor=officer, move_id=move.pk, reason="at zero")
    assert fresh(move).state == "dropping"
    held.add()
    held.check()
    KeyVersion.objects.filter(pk=old.pk).update(deletion_due_at=timezone.now() - timedelta(seconds=1))
    assert lifecycle.tick_deletions() == 1
    rotation.tick_completions()
    moving.follow(move.pk)
    move = fresh(move)
    assert (move.state, move.old_version.status) == ("completed", "destroyed")
    held.add()
    held.check()
    stored = [bytes(row.wrapped) for row in DataKey.objects.filter(wrapped_by=move.new_version)]
    assert not any(wrapped.startswith(two_places.MAGIC) for wrapped in stored)
    said = set(AuditEvent.objects.values_list("action", flat=True))
    assert {
        "key.move",
        "move.dual_wrapping",
        "move.comparing",
        "move.switch",
        "move.re_wrapped",
        "move.completed",
    } <= said
