"""The root sealed under keys of real providers: opened by itself, followed through rotation, and lost without being lost."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.utils import timezone

from keys.crypto.secret import SecretBytes
from keys.keyholder.client import Keyholder
from keys.models import KeyVersion, Move, ReEncryptionJob, RootSeal, Rotation
from keys.providers.base import KeyHandle
from keys.providers.registry import provider
from keys.seal_tasks import seal_tick, seal_work
from keys.services import deletion, keyholders, materials, moving, provider_seals, rewrap, rotation, seals
from keys.services.operations import unwrap_data_key
from keys.services.overview import attention
from keys.services.providers import breaker, registration
from keys.tasks import reencrypt
from keyvault_portal.accounts.permissions import Role
from keyvault_portal.approvals.models import Notice
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import Conflict, PermissionRefused, ValidationFailed
from tests.keyholder.sealing import PATIENCE, eventually, far_seal, retired, sealed_under
from tests.keys.conftest import actor_of
from tests.moving.conftest import turn
from tests.providers.grounds import KINDS, Ground

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.needs_softhsm]


@pytest.fixture(params=KINDS)
def ground(lay: Any, request: pytest.FixtureRequest) -> Ground:
    return lay(request.param)


def recorded(action: str) -> list[dict[str, Any]]:
    """The details of the events of an action, oldest first."""
    events = AuditEvent.objects.filter(action=action).order_by("seq")
    return [json.loads(bytes(event.leaf))["details"] for event in events]


def secret_of(organisation: Any) -> tuple[KeyVersion, bytes]:
    version = materials.active_version(organisation.keys["pii"])
    return version, materials.cipher(version).encrypt(b"data", b"{}")


def test_it_opens_by_itself_with_the_providers_key_alone(organisation, ground, portal):
    portal(ground)
    officer = organisation.actor("ada")
    seal = sealed_under(organisation, ground)
    assert (seal.version, seal.provider) == (seal.key.current, ground.alias)
    version, payload = secret_of(organisation)
    retired(organisation)
    with pytest.raises(Conflict):
        seals.retire_seal(actor=officer, seal_id=seal.pk, reason="r")
    with pytest.raises(Conflict, match="only thing that opens"):
        registration.disable_provider(actor=officer, alias=ground.alias, reason="r")
    assert not portal(ground).status()["sealed"]
    assert materials.cipher(version).decrypt(payload, b"{}") == b"data"
    (opened,) = recorded("portal.unseal")
    assert (opened["provider"], opened["machine"]) == (ground.alias, keyholders.machine())


def test_the_root_follows_the_rotation_of_its_key(organisation, ground, portal, celery_eager):
    portal(ground)
    officer = organisation.actor("ada")
    seal = sealed_under(organisation, ground)
    old, wrapped, sealed = seal.version, bytes(seal.wrapped), secret_of(organisation)
    lost = deletion.consequences_of_destroying(old)
    assert (lost.root_seals, lost.harmless) == (1, False)
    assert any("seal of the portal's root" in sentence for sentence in lost.sentences())
    moving = rotation.request_rotation(actor=officer, key_id=seal.key_id, reason="Its year is over.")
    reencrypt(str(ReEncryptionJob.objects.get(rotation=moving).pk))  # as the sweep sends it again
    seal.refresh_from_db()
    assert seal.version == Rotation.objects.get(pk=moving.pk).new_version != old
    assert bytes(seal.wrapped) != wrapped
    assert (Rotation.objects.get(pk=moving.pk).state, rewrap.count(old.pk)) == ("re_encrypted", 0)
    retired(organisation)
    assert not portal(ground).status()["sealed"]
    assert materials.cipher(sealed[0]).decrypt(sealed[1], b"{}") == b"data"
    assert [event["to"] for event in recorded("seal.wrap")] == [1, 2]


def test_the_root_follows_its_key_to_another_place_and_back(organisation, lay, portal, monkeypatch):
    """While the key moves the root is under its old version or its new one, never under none; undone, it is back."""
    monkeypatch.setattr("keys.services.moving.requesting.need_agreement", lambda *_, **__: None)
    first, second = lay("vault_transit"), lay("pkcs11")
    portal(first, second)
    officer = organisation.actor("ada")
    seal = sealed_under(organisation, first)
    second.register(organisation)
    old, sealed = seal.version, secret_of(organisation)
    with pytest.raises(ValidationFailed) as caught:
        moving.request_move(actor=officer, key_id=seal.key_id, target="local", reason="Home")
    assert "seals the portal's root" in caught.value.errors["target"][0]
    move = moving.request_move(actor=officer, key_id=seal.key_id, target=second.alias, reason="To the HSM")

    def until(state: str) -> None:
        for _ in range(20):
            turn(move)
            seal_work(str(seal.pk))
            if Move.objects.get(pk=move.pk).state == state:
                seal.refresh_from_db()
                return
        raise AssertionError(Move.objects.get(pk=move.pk).last_error)

    until("re_wrapped")
    assert (seal.provider, seal.version.moved_from, seal.state) == (second.alias, old, "in_use")
    assert rewrap.count(old.pk) == 0, "nothing keeps the old version from being dropped"
    retired(organisation)
    first.take_away()
    assert not portal(first, second).status()["sealed"], "the new place opens it alone"
    assert materials.cipher(sealed[0]).decrypt(sealed[1], b"{}") == b"data"
    first.give_back()
    breaker.answered(first.alias)
    moving.undo_move(actor=officer, move_id=move.pk, reason="The HSM goes back")
    until("undone")
    assert (seal.provider, seal.version, seal.state) == (first.alias, old, "in_use")
    second.take_away()
    assert not portal(first, second).status()["sealed"]
    assert materials.cipher(sealed[0]).decrypt(sealed[1], b"{}") == b"data"


def test_the_second_seal_is_there_for_the_day_the_first_is_lost(organisation, lay, portal):
    first, second = lay("vault_transit"), lay("pkcs11")
    portal(first, second)
    officer = organisation.actor("ada")
    seal, other = (sealed_under(organisation, one, one.kind) for one in (first, second))
    version, payload = secret_of(organisation)
    retired(organisation)
    first.take_away()
    assert not portal(first, second).status()["sealed"]
    assert materials.cipher(version).decrypt(payload, b"{}") == b"data"
    assert [event["seal"] for event in recorded("portal.unseal")] == [other.name]

    mail.outbox.clear()
    for lost in ("in_use", "in_use", "lost"):  # nobody there three times in a row
        seal_work(str(seal.pk))
        seal.refresh_from_db()
        assert seal.state == lost
    told = Notice.objects.filter(text__contains="does not open the portal")
    assert {notice.person_id for notice in told} == {organisation.people[name].pk for name in ("ada", "boris", "chen")}
    assert all(notice.alarm for notice in told)
    assert f"The seal {seal} does not open the portal" in [row.title for row in attention(officer)]
    with pytest.raises(Conflict):
        seals.retire_seal(actor=officer, seal_id=other.pk, reason="r")
    first.give_back()
    breaker.answered(first.alias)
    seal_work(str(seal.pk))
    seal.refresh_from_db()
    assert (seal.state, seal.failures, seal.last_error) == ("in_use", 0, "")
    assert Notice.objects.filter(text__contains="opens the portal again").exists()
    retired(organisation, seal)
    seal.refresh_from_db()
    assert (seal.state, seal.wrapped) == ("retired", None)


def test_a_provider_that_comes_back_after_the_start_opens_it(organisation, lay, portal):
    ground = lay("vault_transit")
    portal(ground)
    sealed_under(organisation, ground)
    retired(organisation)
    ground.take_away()
    keyholder = portal(ground)
    assert keyholder.status()["sealed"]
    eventually(lambda: [one.state for one in keyholders.seen()] == ["sealed"])
    assert "Far" in keyholders.seen()[0].detail
    ground.give_back()
    eventually(lambda: not keyholder.status()["sealed"])
    eventually(lambda: [one.state for one in keyholders.seen()] == ["unsealed"])
    assert keyholders.seen()[0].here


def test_a_key_deleted_behind_our_back_is_told_at_once(organisation, lay, portal, places):
    ground = lay("vault_transit")
    portal(ground)
    seal = sealed_under(organisation, ground)
    places["vault_transit"].delete_behind_our_back(seal.handle)
    seal_work(str(seal.pk))
    seal.refresh_from_db()
    assert seal.state == "lost"
    assert AuditEvent.objects.filter(action="seal.lost", outcome="failed").exists()


def test_another_root_under_the_right_key_is_found_out(organisation, lay, portal):
    ground = lay("aws_kms")
    portal(ground)
    seal = sealed_under(organisation, ground)
    handle = KeyHandle(seal.algorithm, seal.handle)
    false = provider(ground.alias).cipher(handle).encrypt(bytes(32), provider_seals.seal_context(seal.pk))
    RootSeal.objects.filter(pk=seal.pk).update(wrapped=false)
    seal_work(str(seal.pk))
    seal.refresh_from_db()
    assert seal.state == "lost"
    RootSeal.objects.filter(kind="file").update(state="retired", retired_at=timezone.now())
    assert portal(ground).status()["sealed"]


def test_a_key_file_that_is_gone_is_told(organisation, portal):
    portal()
    file = RootSeal.objects.get(kind="file")
    seal_work(str(file.pk))
    file.refresh_from_db()
    assert (file.state, file.checked_at is None) == ("in_use", False)
    portal()
    seal_work(str(file.pk))
    file.refresh_from_db()
    assert (file.state, file.last_error) == ("lost", "The root key file is missing.")


def test_nothing_is_asked_of_a_provider_inside_a_transaction(organisation, lay, portal, monkeypatch):
    asked = []

    def spy(name: str) -> Any:
        real = getattr(Keyholder, name)

        def call(self: Keyholder, *arguments: Any) -> Any:
            asked.append((name, connection.in_atomic_block))
            return real(self, *arguments)

        return call

    for name in ("wrap_root", "check_seal"):
        monkeypatch.setattr(Keyholder, name, spy(name))
    ground = lay("aws_kms")
    portal(ground)
    seal = sealed_under(organisation, ground)
    seal_work(str(seal.pk))
    assert asked == [("wrap_root", False), ("check_seal", False)]


def test_an_effect_that_was_overtaken_changes_nothing(organisation, lay, portal, monkeypatch):
    ground = lay("aws_kms")
    portal(ground)
    ground.register(organisation)
    seal = far_seal(organisation, ground.master(organisation))
    real = Keyholder.wrap_root

    def overtaken(self: Keyholder, *arguments: Any) -> Any:
        monkeypatch.setattr(Keyholder, "wrap_root", real)
        answer = real(self, *arguments)
        seal_work(str(seal.pk))
        return answer

    monkeypatch.setattr(Keyholder, "wrap_root", overtaken)
    seal_work(str(seal.pk))
    seal.refresh_from_db()
    assert (seal.state, seal.revision) == ("in_use", 2)
    assert AuditEvent.objects.filter(action="seal.wrap").count() == 1


def test_a_provider_that_is_down_is_waited_for(organisation, lay, portal, celery_eager):
    ground = lay("vault_transit")
    portal(ground)
    ground.register(organisation)
    key = ground.master(organisation)
    ground.take_away()
    seal = far_seal(organisation, key)
    seal.refresh_from_db()
    assert (seal.state, seal.failures, bool(seal.last_error), seal.wrapped) == ("preparing", 1, True, None)
    assert seal.next_try_at > timezone.now()
    ground.give_back()
    RootSeal.objects.filter(pk=seal.pk).update(next_try_at=timezone.now() - timedelta(seconds=1))
    seal_tick()
    seal.refresh_from_db()
    assert seal.state == "in_use"


def test_which_keys_can_seal_it(organisation, lay, portal):
    ground = lay("aws_kms")
    portal(ground)
    row = ground.register(organisation)
    officer = organisation.actor("ada")
    master = ground.master(organisation)
    kek = organisation.key("far-kek", "kek", "root", provider=ground.alias)
    waiting = organisation.key("waiting", "master", provider=ground.alias)
    assert set(provider_seals.sealing_keys()) == {master}
    for key, why in (
        (kek, "master key"),
        (organisation.keys["root"], "under the root itself"),
        (waiting, "no version"),
    ):
        with pytest.raises(ValidationFailed) as caught:
            seals.register_provider(actor=officer, name="Far", key=key, reason="r")
        assert why in caught.value.errors["key"][0]
    for name, who, reason, error in (
        ("Far", "dana", "r", PermissionRefused),
        ("", "ada", "r", ValidationFailed),
        ("Far", "ada", " ", ValidationFailed),
        ("x" * 151, "ada", "r", ValidationFailed),
    ):
        with pytest.raises(error):
            seals.register_provider(actor=organisation.actor(who), name=name, key=master, reason=reason)
    far_seal(organisation, master)
    assert not provider_seals.sealing_keys().exists()
    with pytest.raises(Conflict):
        seals.register_provider(actor=officer, name="Again", key=master, reason="r")
    with pytest.raises(ValidationFailed, match="opens the portal's root"):
        registration.update_provider(
            actor=officer, alias=row.alias, title="AWS",
            values=ground.values | {"access_key_id": "typed", "secret_access_key": "typed"},
        )  # fmt: skip


def test_credentials_under_the_root_cannot_open_it(organisation, lay, portal):
    ground = lay("vault_transit")
    portal(ground)
    token = Path(ground.values.pop("token_file")).read_text()
    ground.values["token"] = token
    row = ground.register(organisation)
    assert row.sealed_settings is not None
    with pytest.raises(ValidationFailed) as caught:
        seals.register_provider(
            actor=organisation.actor("ada"), name="Far", key=ground.master(organisation), reason="r"
        )
    assert "ambient identity" in caught.value.errors["key"][0]


def test_no_service_can_ask_for_the_root(organisation, keyholder):
    """Whatever key it is sealed under, its context is nobody's to name."""
    seal = RootSeal.objects.get(kind="file")
    context = {"purpose": "portal-root", "seal": str(seal.pk)}
    version = materials.active_version(organisation.keys["kek"])
    wrapped = materials.wrap_under(version, SecretBytes(bytes(range(32))), context=context)
    for order in (context, dict(reversed(context.items()))):
        with pytest.raises(ValidationFailed, match="reserved"):
            unwrap_data_key(actor_of(Role.SERVICE, "shop"), version.kms_key_arn, wrapped, order)


def test_sealing_does_not_wait_for_a_slow_provider():
    from threading import Event, Thread

    from keys.keyholder.holder import Holder

    holder, entered, leave = Holder(), Event(), Event()
    holder.unseal(SecretBytes(bytes(range(32))))

    def slow(root: SecretBytes) -> None:
        entered.set()
        assert leave.wait(PATIENCE)
        assert root.reveal() == bytes(range(32))

    thread = Thread(target=holder.with_root, args=(slow,))
    thread.start()
    assert entered.wait(PATIENCE)
    holder.seal()
    assert holder.sealed
    leave.set()
    thread.join(PATIENCE)
