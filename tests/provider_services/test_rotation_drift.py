"""A provider's own rotation against the key's policy: told, switched off or on there, or taken into the policy here."""

import json

import pytest

from keys.models import KeyPolicy, ProviderFinding
from keys.providers.base import Capability, RemoteState
from keys.services import lifecycle
from keys.services.providers import comparison, findings
from keyvault_portal.accounts.permissions import Permission, Role
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import Conflict, PermissionRefused, ValidationFailed
from tests.api.conftest import make_person, sign_in
from tests.keys.conftest import actor_of
from tests.provider_services.conftest import intent_of, work
from tests.provider_services.stand_in import StandIn


@pytest.fixture
def key(far, remote_key):
    key = remote_key()
    work(key)
    return key


@pytest.fixture
def held(there, key):
    return there.keys[key.versions.get().handle]


@pytest.fixture
def drift(key, held, far):
    held.rotation_days = 365
    assert comparison.compare(far.pk) == 1
    return ProviderFinding.objects.get()


def agree(key, days):
    KeyPolicy.objects.filter(key=key).update(provider_rotates_days=days)


def seen(finding):
    return finding.facts["sha256"]


def details_of(event):
    return json.loads(bytes(event.leaf))["details"]


def test_it_says_both_and_can_be_put_right(drift, key, held, far, officer):
    assert (drift.kind, drift.state) == ("rotation_drift", "open")
    assert drift.detail.endswith("by itself every 365 days; the key's policy says never.")
    assert (findings.can_mend(drift), findings.can_accept(drift)) == (True, True)
    findings.mend_finding(actor=officer, alias="far", finding_id=drift.pk)
    assert held.rotation_days == 365, "no provider is called within the request"
    assert comparison.compare(far.pk) == 0, "while somebody is at it"
    assert work(key, "set_rotation").state == "done"
    assert held.rotation_days is None
    event = AuditEvent.objects.get(action="provider.set_rotation", outcome="success")
    assert details_of(event)["rotation_days"] is None
    assert comparison.compare(far.pk) == 0


@pytest.mark.parametrize("there_now", [None, 365])
def test_it_is_set_to_what_the_policy_says(key, held, far, officer, there_now):
    agree(key, 90)
    held.rotation_days = there_now
    comparison.compare(far.pk)
    finding = ProviderFinding.objects.get()
    assert finding.detail.endswith("the key's policy says every 90 days.")
    findings.mend_finding(actor=officer, alias="far", finding_id=finding.pk)
    assert work(key, "set_rotation").state == "done"
    assert held.rotation_days == 90
    assert comparison.compare(far.pk) == 0


def test_accepted_it_is_in_the_policy(drift, key, held, far, officer):
    before = key.policy.version
    findings.accept_finding(actor=officer, alias="far", finding_id=drift.pk, seen=seen(drift), reason="Audited there.")
    policy = KeyPolicy.objects.get(key=key)
    assert (policy.provider_rotates_days, policy.version) == (365, before + 1)
    event = AuditEvent.objects.get(action="provider.accept", outcome="success")
    told = details_of(event)
    assert told["accepted"] == [{"place": "automatic rotation", "accepted": "never", "there": "every 365 days"}]
    assert (told["reason"], told["policy_version"]) == ("Audited there.", before + 1)
    assert comparison.compare(far.pk) == 0
    held.rotation_days = None
    assert comparison.compare(far.pk) == 1
    finding = ProviderFinding.objects.get()
    findings.accept_finding(actor=officer, alias="far", finding_id=finding.pk, seen=seen(finding), reason="Over.")
    assert KeyPolicy.objects.get(key=key).provider_rotates_days is None


def test_accepting_takes_both_rights_a_reason_and_what_was_seen(drift, key, held, far, officer, auditor):
    given = {"alias": "far", "finding_id": drift.pk, "seen": seen(drift), "reason": "Fine."}
    for who in (auditor, actor_of(Role.OPERATOR, "otto")):
        with pytest.raises(PermissionRefused):
            findings.accept_finding(actor=who, **given)
        with pytest.raises(PermissionRefused):
            findings.mend_finding(actor=who, alias="far", finding_id=drift.pk)
    with pytest.raises(ValidationFailed):
        findings.accept_finding(actor=officer, **given | {"reason": " "})
    held.rotation_days = 30
    comparison.compare(far.pk)
    with pytest.raises(Conflict):
        findings.accept_finding(actor=officer, **given)
    assert KeyPolicy.objects.get(key=key).provider_rotates_days is None


def test_an_officer_of_another_ring_changes_no_policy_here(drift, key, officer, monkeypatch):
    """To manage providers is one right, to edit the keys of this ring another."""
    real = type(officer).can

    def without(self, permission, *where, **more):
        return permission != Permission.KEY_EDIT and real(self, permission, *where, **more)

    monkeypatch.setattr(type(officer), "can", without)
    with pytest.raises(PermissionRefused):
        findings.accept_finding(actor=officer, alias="far", finding_id=drift.pk, seen=seen(drift), reason="Fine.")
    assert KeyPolicy.objects.get(key=key).provider_rotates_days is None


def test_ignored_is_one_setting_and_not_the_next(drift, held, far, officer):
    findings.ignore_finding(actor=officer, alias="far", finding_id=drift.pk, reason="Known.")
    assert comparison.compare(far.pk) == 0
    held.rotation_days = 30
    assert comparison.compare(far.pk) == 1


def test_what_protects_nothing_new_need_not_be_rotated(key, held, far, officer):
    agree(key, 90)
    held.rotation_days = 90
    lifecycle.suspend_version(actor=officer, version_id=key.versions.get().pk, reason="r")
    work(key, "disable")
    held.rotation_days = None
    assert comparison.compare(far.pk) == 0
    agree(key, None)
    held.rotation_days = 30
    assert comparison.compare(far.pk) == 1, "but nobody may rotate it unasked"


def test_material_brought_from_elsewhere_is_not_to_be_rotated_there(key, held, far):
    agree(key, 90)
    assert comparison.compare(far.pk) == 1
    held.imported = True
    assert comparison.compare(far.pk) == 0


def test_versions_that_share_the_setting_are_one_difference(key, there, far, remote_key, monkeypatch):
    work(remote_key("other"))
    for found in there.keys.values():
        found.rotation_days = 365
    assert comparison.compare(far.pk) == 2
    monkeypatch.setattr(StandIn, "rotates_with", lambda self, handle: "one key with all its versions")
    assert comparison.compare(far.pk) == 1


def test_a_provider_that_takes_no_such_setting(drift, officer, monkeypatch):
    monkeypatch.setattr(StandIn, "capabilities", StandIn.capabilities - {Capability.SELF_ROTATION})
    assert not findings.can_mend(drift)
    with pytest.raises(Conflict):
        findings.mend_finding(actor=officer, alias="far", finding_id=drift.pk)


def test_a_missing_key_leads_to_its_replacement(key, there, far, db, settings):
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    olga = sign_in(make_person("olga", "security_officer"))
    there.keys.clear()
    comparison.compare(far.pk)
    page = olga.get("/keys/providers/far/").content.decode()
    assert f'href="/keys/{key.pk}/rotate/"' in page
    assert "Replace it…" in page


def test_the_pages_and_rest(drift, key, held, far, db, settings):
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    olga = sign_in(make_person("olga", "security_officer"))
    page = olga.get("/keys/providers/far/").content.decode()
    assert "<del>never</del>" in page
    assert "<ins>every 365 days</ins>" in page
    assert "Put it right" in page
    where = f"/keys/providers/far/differences/{drift.pk}/accept/"
    asked = olga.get(where).content.decode()
    assert "beside the portal" in asked
    shown = olga.get("/api/v1/providers/far/differences").json()["results"][0]
    assert (shown["can_accept"], shown["can_mend"], shown["sha256"]) == (True, True, seen(drift))
    assert olga.post(where, {"seen": seen(drift), "reason": "Fine."}).status_code == 302
    assert "every 365 days" in olga.get(f"/keys/{key.pk}/").content.decode()
    held.rotation_days = 30
    comparison.compare(far.pk)
    again = ProviderFinding.objects.get(state="open")
    assert olga.post(f"/keys/providers/far/differences/{again.pk}/mend/").status_code == 302
    assert work(key, "set_rotation").state == "done"
    assert held.rotation_days == 365
    assert held.state is RemoteState.ENABLED
    assert intent_of(key).state == "done"
