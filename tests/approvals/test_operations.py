"""Who decides is changed by agreement, and evidence of agreement checks by itself."""

import hashlib
import json
import threading

import pytest
from django.db import connection, transaction

from keyvault_portal.accounts import services as accounts
from keyvault_portal.accounts.models import Person, RoleBinding
from keyvault_portal.approvals import execution, operations, services
from keyvault_portal.approvals.errors import NotEligible
from keyvault_portal.approvals.evidence import evidence_lines
from keyvault_portal.approvals.models import ApprovalRequest, Notice
from keyvault_portal.audit.evidence.registry import registered
from keyvault_portal.errors import ApprovalRequired

from .conftest import at_rest

pytestmark = pytest.mark.django_db


@pytest.fixture
def newcomer():
    return Person.objects.create_person(email="nina@example.org", name="Nina")


def asked_to_remove(actor, person, operation):
    """The id of the request by which `operation` takes their role from the person."""
    with pytest.raises(ApprovalRequired) as raised:
        if operation == "person.deactivate":
            accounts.deactivate_person(actor=actor, person=person)
        else:
            accounts.unbind_role(actor=actor, binding=person.bindings.get())
    return raised.value.request_id


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


def test_nobody_gets_rid_of_those_who_would_have_to_agree(olga, oskar, otto, newcomer):
    """One officer alone neither removes the others nor makes deciders of puppets: each try only asks."""
    oskars = Person.objects.get(pk=oskar.id)
    gone = Person.objects.create_person(email="gus@example.org", name="Gus", is_active=False)
    RoleBinding.objects.create(person=gone, role="security_officer", created_by="test")
    before = sorted(RoleBinding.objects.values_list("person", "role", "person__is_active"))
    for attempt in (
        lambda: accounts.deactivate_person(actor=olga, person=oskars),
        lambda: accounts.unbind_role(actor=olga, binding=oskars.bindings.get()),
        lambda: accounts.reactivate_person(actor=olga, person=gone),
        lambda: accounts.bind_role(actor=olga, person=newcomer, role="custodian"),
    ):
        with pytest.raises(ApprovalRequired):
            attempt()
    assert sorted(RoleBinding.objects.values_list("person", "role", "person__is_active")) == before
    assert ApprovalRequest.objects.filter(state="pending").count() == 4


@pytest.mark.parametrize("operation", ["person.deactivate", "person.unbind_role"])
def test_an_officer_is_removed_by_the_others(olga, oskar, otto, operation):
    """Of three, one asks and one agrees: whom it concerns need not."""
    person = Person.objects.get(pk=oskar.id)
    request = ApprovalRequest.objects.get(pk=asked_to_remove(olga, person, operation))
    assert (request.operation, [group["threshold"] for group in request.groups]) == (operation, [1])
    assert any(line.endswith("from then on: 2.") for line in request.consequences)
    with at_rest():
        services.approve(actor=otto, request_id=request.pk, act_hash=request.act_hash)
    assert execution.execute(request.pk) == "executed"
    assert not RoleBinding.objects.filter(person=person, person__is_active=True).exists()


def test_whoever_comes_back_with_roles_was_agreed_to(olga, oskar, otto):
    person = Person.objects.get(pk=otto.id)
    Person.objects.filter(pk=otto.id).update(is_active=False)
    with pytest.raises(ApprovalRequired) as raised:
        accounts.reactivate_person(actor=olga, person=person)
    request = ApprovalRequest.objects.get(pk=raised.value.request_id)
    assert request.consequences == [f"{person} may sign in again, as security officer on everything."]
    with at_rest():
        services.approve(actor=oskar, request_id=request.pk, act_hash=request.act_hash)
    assert execution.execute(request.pk) == "executed"
    assert is_officer(person)


@pytest.mark.parametrize("operation", ["person.deactivate", "person.unbind_role"])
def test_nobody_keeps_up_their_own_removal_while_others_decide(olga, oskar, otto, operation):
    person = Person.objects.get(pk=oskar.id)
    asked = asked_to_remove(olga, person, operation)
    with at_rest(), pytest.raises(NotEligible, match="the others decide"):
        services.reject(actor=oskar, request_id=asked, reason="I like it here.")
    assert ApprovalRequest.objects.get(pk=asked).state == "pending"
    Person.objects.filter(pk=otto.id).update(is_active=False)
    with at_rest():
        services.reject(actor=oskar, request_id=asked, reason="Nobody else is left to ask.")
    assert ApprovalRequest.objects.get(pk=asked).state == "rejected"


def test_a_role_that_is_given_may_be_declined(olga, oskar, otto):
    person = Person.objects.get(pk=oskar.id)
    with pytest.raises(ApprovalRequired) as raised:
        accounts.bind_role(actor=olga, person=person, role="custodian")
    with at_rest():
        services.reject(actor=oskar, request_id=raised.value.request_id, reason="No more keys for me.")
    assert ApprovalRequest.objects.get(pk=raised.value.request_id).state == "rejected"


def test_the_last_one_asked_about_themselves_has_to_agree(olga, oskar):
    """With two officers the other is asked, even about an own removal: alone it takes a broken glass."""
    with pytest.raises(ApprovalRequired) as raised:
        accounts.deactivate_person(actor=olga, person=Person.objects.get(pk=oskar.id))
    request = ApprovalRequest.objects.get(pk=raised.value.request_id)
    with at_rest():
        services.break_glass(actor=olga, request_id=request.pk, reason="The badge was found in the canal.")
    assert execution.execute(request.pk) == "executed"
    assert not Person.objects.get(pk=oskar.id).is_active
    assert Notice.objects.filter(person_id=oskar.id, alarm=True).exists()


def test_the_address_of_a_decider_is_changed_by_agreement(olga, oskar, otto, newcomer):
    """Whoever reads mail for an officer could set their password."""
    person = Person.objects.get(pk=oskar.id)
    known = {"name": "Oskar B.", "site": "Oslo", "reporting_line": ""}
    with pytest.raises(ApprovalRequired) as raised:
        accounts.update_person(actor=olga, person=person, email="mallory@example.org", **known)
    stored = Person.objects.get(pk=oskar.id)
    assert (stored.email, stored.site) == ("oskar@example.org", "")
    request = ApprovalRequest.objects.get(pk=raised.value.request_id)
    with at_rest():
        services.approve(actor=otto, request_id=request.pk, act_hash=request.act_hash)
    assert execution.execute(request.pk) == "executed"
    stored.refresh_from_db()
    assert (stored.email, stored.name, stored.site) == ("mallory@example.org", "Oskar B.", "Oslo")
    accounts.update_person(actor=olga, person=newcomer, email="nina.b@example.org", **known)
    assert Person.objects.filter(email="nina.b@example.org").exists(), "who decides on nothing is changed at once"


@pytest.mark.django_db(transaction=True)
def test_who_was_agreed_to_is_who_is_bound(olga, oskar, newcomer, monkeypatch):
    """Between the comparison with the agreed act and the act nobody gives the person another address."""
    with pytest.raises(ApprovalRequired) as raised:
        accounts.bind_role(actor=olga, person=newcomer, role="security_officer")
    request = ApprovalRequest.objects.get(pk=raised.value.request_id)
    with at_rest():
        services.approve(actor=oskar, request_id=request.pk, act_hash=request.act_hash)
    refused = []

    def change():
        try:
            accounts.update_person(
                actor=olga, person=newcomer, name="Nina", site="", reporting_line="", email="mallory@example.org"
            )
        except ApprovalRequired as error:
            refused.append(error)
        finally:
            connection.close()

    changing, perform = threading.Thread(target=change), operations.BindRole.perform

    def compared(self, *arguments):
        changing.start()
        changing.join(0.5)  # it would be through by now
        return perform(self, *arguments)

    monkeypatch.setattr(operations.BindRole, "perform", compared)
    assert execution.execute(request.pk) == "executed"
    changing.join()
    assert is_officer(newcomer)
    assert refused, "from then on others have to agree to the change"
    assert Person.objects.get(pk=newcomer.pk).email == "nina@example.org"


@pytest.mark.django_db(transaction=True)
def test_whoever_refers_to_a_person_waits_for_no_change_of_theirs(newcomer):
    """Such a row is checked when it is committed, with the record's head in hand: waiting there would be a deadlock."""
    held, done = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic():
            accounts.locked(newcomer)
            held.set()
            done.wait(20)
        connection.close()

    holding = threading.Thread(target=hold)
    holding.start()
    assert held.wait(20)
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '5s'")
            RoleBinding.objects.create(person=newcomer, role="auditor", created_by="test")
    finally:
        done.set()
        holding.join()
    assert newcomer.bindings.exists()


def test_a_role_taken_away_meanwhile_is_not_taken_again(olga, oskar, otto):
    binding = RoleBinding.objects.get(person_id=oskar.id)
    with pytest.raises(ApprovalRequired) as raised:
        accounts.unbind_role(actor=olga, binding=binding)
    request = ApprovalRequest.objects.get(pk=raised.value.request_id)
    with at_rest():
        services.approve(actor=otto, request_id=request.pk, act_hash=request.act_hash)
    RoleBinding.objects.filter(pk=binding.pk).delete()
    assert execution.execute(request.pk) == "failed"
    request.refresh_from_db()
    assert request.failure_code == "not_found"


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
