"""Policy, attributes and tags: accepted when first seen, a change of them found, accepted with a reason, or put back."""

import json

import pytest

from keys.models import AcceptedMetadata, ProviderFinding, ProviderIntent
from keys.providers.base import Capability, RemoteState
from keys.providers.metadata import changes, digest
from keys.services.providers import comparison, findings
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import Conflict, PermissionRefused, ValidationFailed, WrongState
from tests.api.conftest import make_person, sign_in
from tests.provider_services.conftest import intent_of, register, work
from tests.provider_services.stand_in import StandIn

STRANGER = {"may_decrypt": ["portal", "stranger"]}


@pytest.fixture
def key(far, remote_key):
    key = remote_key()
    work(key)
    return key


@pytest.fixture
def held(there, key):
    """The key as its provider has it."""
    return there.keys[key.versions.get().handle]


@pytest.fixture
def olga(db, settings):
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    return sign_in(make_person("olga", "security_officer"))


@pytest.fixture
def drift(key, held, far):
    """The key's policy was changed behind the portal's back, and the comparison has seen both."""
    comparison.compare(far.pk)
    held.policy = STRANGER
    comparison.compare(far.pk)
    return ProviderFinding.objects.get()


def details_of(event):
    return json.loads(bytes(event.leaf))["details"]


def seen(finding):
    return finding.facts["sha256"]


def test_what_is_first_seen_is_accepted_as_it_is_and_recorded(key, held, far):
    assert comparison.compare(far.pk) == 0
    accepted = AcceptedMetadata.objects.get()
    assert (accepted.document, accepted.accepted_by) == ({"policy": {"may_decrypt": ["portal"]}, "tags": {}}, "")
    assert accepted.sha256 == digest(accepted.document)
    event = AuditEvent.objects.get(action="provider.differences")
    assert details_of(event)["metadata_first_seen"] == 1
    assert comparison.compare(far.pk) == 0
    assert AuditEvent.objects.filter(action="provider.differences").count() == 1


def test_a_change_is_found_with_old_and_new(drift, key):
    assert (drift.kind, drift.state, drift.opaque) == ("metadata_drift", "open", key.versions.get().handle)
    assert drift.facts["changes"] == [
        {"place": "policy / may_decrypt", "accepted": "portal", "there": "portal, stranger"}
    ]
    assert "policy / may_decrypt" in drift.detail
    assert AcceptedMetadata.objects.get().document["policy"] == {"may_decrypt": ["portal"]}, (
        "not taken as right by itself"
    )


def test_it_is_gone_when_somebody_changes_it_back(drift, held, far):
    held.policy = {"may_decrypt": ["portal"]}
    assert comparison.compare(far.pk) == 0
    drift.refresh_from_db()
    assert drift.state == "resolved"


def test_the_order_of_a_list_is_no_change(drift, held, far):
    held.policy = {"may_decrypt": ["stranger", "portal"]}
    before = drift.facts["sha256"]
    comparison.compare(far.pk)
    drift.refresh_from_db()
    assert seen(drift) == before


def test_it_is_accepted_with_a_reason(drift, far, officer, auditor):
    for actor, reason, error in ((auditor, "ours", PermissionRefused), (officer, "  ", ValidationFailed)):
        with pytest.raises(error):
            findings.accept_finding(actor=actor, alias="far", finding_id=drift.pk, seen=seen(drift), reason=reason)
    findings.accept_finding(actor=officer, alias="far", finding_id=drift.pk, seen=seen(drift), reason="The shop reads.")
    accepted = AcceptedMetadata.objects.get()
    assert (accepted.document["policy"], accepted.reason) == (STRANGER, "The shop reads.")
    assert accepted.accepted_by == officer.label
    event = AuditEvent.objects.get(action="provider.accept", outcome="success")
    assert details_of(event)["accepted"][0]["there"] == "portal, stranger"
    assert details_of(event)["sha256"] == accepted.sha256 == digest(accepted.document)
    assert comparison.compare(far.pk) == 0
    with pytest.raises(WrongState):
        findings.accept_finding(actor=officer, alias="far", finding_id=drift.pk, seen=seen(drift), reason="Again.")


def test_what_changed_again_since_one_looked_is_not_accepted(drift, held, far, officer):
    looked_at = seen(drift)
    held.policy = {"may_decrypt": ["everybody"]}
    comparison.compare(far.pk)
    with pytest.raises(Conflict):
        findings.accept_finding(actor=officer, alias="far", finding_id=drift.pk, seen=looked_at, reason="Fine.")
    assert AcceptedMetadata.objects.get().document["policy"] == {"may_decrypt": ["portal"]}


def test_only_such_a_difference_can_be_accepted(key, held, far, officer):
    held.state = RemoteState.DISABLED
    comparison.compare(far.pk)
    finding = ProviderFinding.objects.get()
    assert not findings.can_accept(finding)
    with pytest.raises(Conflict):
        findings.accept_finding(actor=officer, alias="far", finding_id=finding.pk, seen="0" * 64, reason="Fine.")


def test_it_is_put_back_by_a_worker(drift, key, held, far, officer):
    assert findings.can_mend(drift)
    findings.mend_finding(actor=officer, alias="far", finding_id=drift.pk)
    assert held.policy == STRANGER, "no provider is called within the request"
    done = work(key, "restore_metadata")
    assert done.state == "done"
    assert held.policy == {"may_decrypt": ["portal"]}
    assert held.tag == str(intent_of(key).pk)
    event = AuditEvent.objects.get(action="provider.restore_metadata")
    assert details_of(event)["sha256"] == AcceptedMetadata.objects.get().sha256
    assert comparison.compare(far.pk) == 0


def test_while_it_is_being_put_back_nothing_is_compared(drift, held, far, officer):
    findings.mend_finding(actor=officer, alias="far", finding_id=drift.pk)
    assert comparison.compare(far.pk) == 0


def test_a_lost_mark_is_put_back_the_same_way(key, held, far, officer):
    comparison.compare(far.pk)
    mark, held.tag = held.tag, ""
    comparison.compare(far.pk)
    finding = ProviderFinding.objects.get()
    assert finding.kind == "tags_drift"
    findings.mend_finding(actor=officer, alias="far", finding_id=finding.pk)
    work(key, "restore_metadata")
    assert held.tag == mark


def test_ignored_is_one_change_and_not_the_next(drift, held, far, officer):
    findings.ignore_finding(actor=officer, alias="far", finding_id=drift.pk, reason="Known.")
    assert comparison.compare(far.pk) == 0
    drift.refresh_from_db()
    assert drift.state == "ignored"
    held.policy = {"may_decrypt": ["everybody"]}
    assert comparison.compare(far.pk) == 1
    drift.refresh_from_db()
    assert (drift.state, drift.reason) == ("open", "")


def test_where_nothing_is_taken_back_it_can_only_be_accepted(drift, officer, monkeypatch):
    monkeypatch.setattr(StandIn, "capabilities", StandIn.capabilities - {Capability.METADATA_RESTORE})
    assert not findings.can_mend(drift)
    with pytest.raises(Conflict) as caught:
        findings.mend_finding(actor=officer, alias="far", finding_id=drift.pk)
    assert "accept it" in caught.value.hint
    assert not ProviderIntent.objects.filter(act="restore_metadata").exists()


def test_a_key_on_its_way_out_is_not_asked(key, held, far):
    comparison.compare(far.pk)
    held.policy, held.state = STRANGER, RemoteState.PENDING_DELETION
    comparison.compare(far.pk)
    assert [row.kind for row in ProviderFinding.objects.all()] == ["state_drift"]


def test_a_provider_that_tells_nothing_is_compared_without(there, tree, officer, remote_key, monkeypatch):
    monkeypatch.delattr(StandIn, "metadata_owner")
    row = register(officer, kind="untagged", alias="bare")
    work(remote_key(provider="bare"))
    assert comparison.compare(row.pk) == 0
    assert not AcceptedMetadata.objects.exists()


def test_the_pages_show_old_and_new_and_take_the_decision(drift, olga):
    page = olga.get("/keys/providers/far/").content.decode()
    assert "<del>portal</del>" in page
    assert "<ins>portal, stranger</ins>" in page
    where = f"/keys/providers/far/differences/{drift.pk}/accept/"
    assert where in page
    asked = olga.get(where).content.decode()
    assert f'value="{seen(drift)}"' in asked
    assert olga.post(where, {"seen": "0" * 64, "reason": "Fine."}).status_code == 422
    assert olga.post(where, {"seen": seen(drift), "reason": "Fine."}).status_code == 302
    assert AcceptedMetadata.objects.get().reason == "Fine."


def test_rest_shows_and_accepts_it(drift, olga):
    shown = olga.get("/api/v1/providers/far/differences").json()["results"][0]
    assert shown["sha256"] == seen(drift)
    assert shown["changes"] == drift.facts["changes"]
    url = f"/api/v1/providers/far/differences/{drift.pk}/accept"
    given = {"seen": shown["sha256"], "reason": "Fine."}
    answer = olga.post(url, given, content_type="application/json")
    assert (answer.status_code, answer.json()["state"]) == (200, "resolved")


def test_entries_of_a_list_are_told_apart_by_name():
    first = {"Sid": "admins", "Action": "kms:*"}
    before = {"policy": {"Statement": [first, {"Effect": "Deny"}]}}
    after = {"policy": {"Statement": [{"Sid": "read", "Action": "kms:Decrypt"}, {"Effect": "Deny"}, first]}}
    assert [(change.place, change.accepted, change.there) for change in changes(before, after)] == [
        ("policy / Statement / read / Action", "", "kms:Decrypt"), ("policy / Statement / read / Sid", "", "read"),
    ]  # fmt: skip
    assert digest({"a": "b", "tags": {}}) == digest({"a": "b"})
    assert changes({"tags": {}}, {"tags": {"team": "shop"}})[0].place == "tags / team"
    twice = {"bindings": [{"role": "r", "members": ["a"]}, {"role": "r", "members": ["b"]}]}
    once = {"bindings": [{"role": "r", "members": ["a"]}]}
    assert changes(once, twice), "a second entry of one name is not hidden by the first"
    assert digest(once) != digest(twice)
