"""Officers are made by agreement, and evidence of agreement checks by itself."""

import hashlib
import json

import pytest

from keyvault_portal.accounts import services as accounts
from keyvault_portal.accounts.models import Person, RoleBinding
from keyvault_portal.approvals import execution, services
from keyvault_portal.approvals.evidence import evidence_lines
from keyvault_portal.approvals.models import ApprovalRequest
from keyvault_portal.audit.evidence.registry import registered
from keyvault_portal.errors import ApprovalRequired

from .conftest import at_rest

pytestmark = pytest.mark.django_db


@pytest.fixture
def newcomer():
    return Person.objects.create_person(email="nina@example.org", name="Nina")


def is_officer(person):
    return RoleBinding.objects.filter(person=person, role="security_officer").exists()


def test_the_only_officer_makes_the_second(olga, newcomer):
    accounts.bind_role(actor=olga, person=newcomer, role="security_officer")
    assert is_officer(newcomer)


def test_with_others_they_must_agree(olga, oskar, otto, newcomer):
    with pytest.raises(ApprovalRequired) as raised:
        accounts.bind_role(actor=olga, person=newcomer, role="security_officer")
    assert not is_officer(newcomer)
    request = ApprovalRequest.objects.get(pk=raised.value.request_id)
    assert [group["threshold"] for group in request.groups] == [2]
    with at_rest():
        for actor in (oskar, otto):
            services.approve(actor=actor, request_id=request.pk, act_hash=request.act_hash)
    assert execution.execute(request.pk) == "executed"
    assert is_officer(newcomer)


def test_somebody_who_changed_in_between_is_not_made_officer(olga, oskar, newcomer):
    with pytest.raises(ApprovalRequired) as raised:
        accounts.bind_role(actor=olga, person=newcomer, role="security_officer")
    request = ApprovalRequest.objects.get(pk=raised.value.request_id)
    with at_rest():
        services.approve(actor=oskar, request_id=request.pk, act_hash=request.act_hash)
    Person.objects.filter(pk=newcomer.pk).update(email="mallory@example.org")
    assert execution.execute(request.pk) == "stale"
    assert not is_officer(newcomer)


def test_evidence_checks_by_itself(ask, oskar):
    request = ask()
    services.approve(actor=oskar, request_id=request.pk, act_hash=request.act_hash, reason="seen")
    assert registered()["approvals.jsonl"] is evidence_lines
    (line,) = [json.loads(line) for line in b"".join(evidence_lines()).splitlines()]
    assert hashlib.sha256(line["act"].encode()).hexdigest() == line["act_hash"]
    assert [(d["label"], d["act_hash"], d["reason"]) for d in line["decisions"]] == [
        ("Oskar", line["act_hash"], "seen")
    ]
