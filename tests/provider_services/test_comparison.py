"""What the provider has against what the inventory says, and what people may do about each difference."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from keys.crypto import keymaterial
from keys.models import Key, KeyVersion, ProviderFinding, RootSeal
from keys.providers.base import RemoteState
from keys.services import lifecycle, materials
from keys.services.policies import PolicyValues
from keys.services.providers import comparison, findings
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import Conflict, PermissionRefused, ProviderUnavailable, ValidationFailed, WrongState
from tests.provider_services.conftest import intent_of, work
from tests.provider_services.stand_in import Held

ALONE = PolicyValues(cryptoperiod_days=90, rotate_roles=["security_officer"], destroy_roles=["security_officer"])


@pytest.fixture
def key(far, remote_key):
    key = remote_key(policy=ALONE)
    work(key)
    return key


def held(there, key):
    return there.keys[key.versions.get().handle]


def found(far):
    comparison.compare(far.pk)
    return {(row.kind, row.state) for row in ProviderFinding.objects.all()}


def stranger(there, algorithm="AES-256-GCM", name="stand-in/stranger"):
    made = keymaterial.generate(algorithm)
    there.keys[name] = Held(algorithm, made.private, made.public, "")


def test_where_all_agree_nothing_is_found(key, far, there):
    stranger(there, name="stand-in/seal")
    RootSeal.objects.create(
        kind="provider", name="Far", provider="far", handle="stand-in/seal", wrapped=b"w", check_value=b"12345678", created_by="test"
    )  # fmt: skip
    assert found(far) == set()
    far.refresh_from_db()
    assert far.compared_at is not None


def test_every_kind_of_difference(key, far, there, remote_key):
    missing = remote_key("missing")
    work(missing)
    del there.keys[missing.versions.get().handle]
    stranger(there)
    held(there, key).state = RemoteState.DISABLED
    held(there, key).rotation_days = 365
    held(there, key).tag = ""
    assert found(far) == {
        (kind, "open") for kind in ("unknown_key", "missing_key", "state_drift", "rotation_drift", "tags_drift")
    }
    before = list(ProviderFinding.objects.order_by("pk").values("pk", "first_seen_at", "state"))
    found(far)
    assert list(ProviderFinding.objects.order_by("pk").values("pk", "first_seen_at", "state")) == before
    assert AuditEvent.objects.filter(action="provider.differences").count() == 1, "nothing new, nothing recorded"


def test_what_is_gone_is_resolved_and_may_come_back(key, far, there):
    stranger(there)
    assert found(far) == {("unknown_key", "open")}
    taken = there.keys.pop("stand-in/stranger")
    assert found(far) == {("unknown_key", "resolved")}
    there.keys["stand-in/stranger"] = taken
    assert found(far) == {("unknown_key", "open")}


def test_keys_on_their_way_are_no_difference(far, there, remote_key):
    there.lose_answer = True
    key = remote_key()
    work(key)
    assert len(there.keys) == 1
    assert found(far) == set()
    next(iter(there.keys.values())).state = RemoteState.PENDING_DELETION
    assert found(far) == set()


def test_two_portals_on_one_device_tell_their_keys_apart(key, far, there):
    stranger(there)
    there.keys["stand-in/stranger"].tag = "7d1a0f2e-0000-4000-8000-000000000001"
    lost = there.keys["stand-in/lost"] = replace(held(there, key))
    found(far)
    details = {row.opaque: row.detail for row in ProviderFinding.objects.all()}
    assert lost.tag
    assert "Another portal made it." in details["stand-in/stranger"]
    assert "This portal made it and lost it." in details["stand-in/lost"]


def test_a_list_that_is_behind_is_asked_again(key, far, there, monkeypatch):
    monkeypatch.setattr("tests.provider_services.stand_in.StandIn.list_keys", lambda self: iter(()))
    assert found(far) == set()


def test_a_provider_that_is_down_changes_nothing(key, far, there):
    stranger(there)
    found(far)
    there.down = True
    with pytest.raises(ProviderUnavailable):
        comparison.compare(far.pk)
    assert ProviderFinding.objects.get().state == "open"


def test_ignored_with_a_reason_it_stays_ignored(key, far, there, officer, auditor):
    stranger(there)
    found(far)
    finding = ProviderFinding.objects.get()
    for actor, reason, error in ((auditor, "theirs", PermissionRefused), (officer, " ", ValidationFailed)):
        with pytest.raises(error):
            findings.ignore_finding(actor=actor, alias="far", finding_id=finding.pk, reason=reason)
    findings.ignore_finding(actor=officer, alias="far", finding_id=finding.pk, reason="belongs to the web shop")
    assert found(far) == {("unknown_key", "ignored")}


@pytest.mark.parametrize(
    ("suspended", "there_now", "acts"),
    [
        (False, RemoteState.DISABLED, ["enable"]),
        (False, RemoteState.PENDING_DELETION, ["cancel_deletion"]),
        (True, RemoteState.ENABLED, ["disable"]),
        (True, RemoteState.PENDING_DELETION, ["cancel_deletion", "disable"]),
    ],
)
def test_states_are_mended(key, far, there, officer, suspended, there_now, acts):
    if suspended:
        lifecycle.suspend_version(actor=officer, version_id=key.versions.get().pk, reason="r")
        work(key, "disable")
    held(there, key).state = there_now
    assert found(far) == {("state_drift", "open")}
    finding = ProviderFinding.objects.get()
    assert findings.can_mend(finding)
    findings.mend_finding(actor=officer, alias="far", finding_id=finding.pk)
    for act in acts:
        assert work(key, act).state == "done"
    assert found(far) == {("state_drift", "resolved")}
    with pytest.raises(WrongState):
        findings.mend_finding(actor=officer, alias="far", finding_id=finding.pk)


def test_a_deletion_behind_our_back_is_scheduled_as_ours(key, far, there, officer):
    version = key.versions.get()
    lifecycle.suspend_version(actor=officer, version_id=version.pk, reason="r")
    work(key, "disable")
    lifecycle.schedule_deletion(actor=officer, version_id=version.pk, grace_days=10)
    work(key, "schedule_deletion")
    held(there, key).state = RemoteState.ENABLED
    assert found(far) == {("state_drift", "open")}
    findings.mend_finding(actor=officer, alias="far", finding_id=ProviderFinding.objects.get().pk)
    assert work(key, "schedule_deletion").state == "done"
    assert held(there, key).state is RemoteState.PENDING_DELETION


def test_what_is_lost_cannot_be_mended_only_its_end_written_down(key, far, there, officer):
    there.keys.clear()
    found(far)
    finding = ProviderFinding.objects.get()
    with pytest.raises(Conflict):
        findings.mend_finding(actor=officer, alias="far", finding_id=finding.pk)
    KeyVersion.objects.filter(key=key).update(
        status="pending_deletion", deletion_from="suspended", deletion_due_at=timezone.now() - timedelta(days=1)
    )
    findings.mend_finding(actor=officer, alias="far", finding_id=finding.pk)
    assert key.versions.get().status == "destroyed"


def test_a_key_is_adopted(key, far, there, officer, auditor, tree):
    stranger(there)
    found(far)
    finding = ProviderFinding.objects.get()
    values = {"ring": tree.ring, "name": "taken-in", "title": "Taken in", "kind": "kek", "parent": tree.master}
    with pytest.raises(PermissionRefused):
        findings.adopt_key(actor=auditor, alias="far", finding_id=finding.pk, **values)
    with pytest.raises(ValidationFailed):
        findings.adopt_key(actor=officer, alias="far", finding_id=finding.pk, **(values | {"kind": "nonsense"}))
    adopted = findings.adopt_key(actor=officer, alias="far", finding_id=finding.pk, **values)
    assert adopted.current.handle == "stand-in/stranger"
    assert found(far) == {("unknown_key", "resolved")}
    tree.make("below", "dek", "AES-256-GCM", adopted)
    version = KeyVersion.objects.select_related(*materials.CHAIN).get(key=adopted)
    assert materials.cipher(version).decrypt(materials.cipher(version).encrypt(b"x", b"a"), b"a") == b"x"
    with pytest.raises(WrongState):
        findings.adopt_key(actor=officer, alias="far", finding_id=finding.pk, **(values | {"name": "again"}))
    assert Key.objects.filter(provider="far").count() == 2


def test_a_key_whose_public_half_is_not_known_is_not_adopted(key, far, there, officer, tree, monkeypatch):
    stranger(there, "Ed25519")
    found(far)
    finding = ProviderFinding.objects.get()
    values = {"ring": tree.ring, "name": "signs", "title": "Signs", "kind": "transport", "parent": tree.master}
    with pytest.raises(Conflict):
        findings.adopt_key(actor=officer, alias="far", finding_id=finding.pk, **values)
    describe = "tests.provider_services.stand_in.StandIn.describe"
    public = there.keys["stand-in/stranger"].public_key

    def says_it(self, handle):
        return replace(self._remote(handle.opaque, self._held(handle)), public_key=public)

    monkeypatch.setattr(describe, says_it)
    adopted = findings.adopt_key(actor=officer, alias="far", finding_id=finding.pk, **values)
    assert bytes(adopted.current.public_key) == public


def test_comparing_again_is_asked_of_a_worker(
    key, far, there, officer, auditor, django_capture_on_commit_callbacks, celery_eager
):
    stranger(there)
    with pytest.raises(PermissionRefused):
        comparison.request_comparison(actor=auditor, alias="far")
    with django_capture_on_commit_callbacks(execute=True):
        comparison.request_comparison(actor=officer, alias="far")
    assert ProviderFinding.objects.count() == 1
    assert intent_of(key).state == "done"


def test_a_deletion_that_somebody_halted_is_not_ended_because_the_key_is_lost(key, far, there, officer):
    there.keys.clear()
    found(far)
    finding = ProviderFinding.objects.get()
    past = timezone.now() - timedelta(days=1)
    KeyVersion.objects.filter(key=key).update(
        status="pending_deletion", deletion_from="suspended", deletion_due_at=past, deletion_halted_at=past, deletion_halted_by="shop"
    )  # fmt: skip
    assert not findings.can_mend(ProviderFinding.objects.get(pk=finding.pk))
    with pytest.raises(Conflict):
        findings.mend_finding(actor=officer, alias="far", finding_id=finding.pk)
    assert key.versions.get().status == "pending_deletion"
