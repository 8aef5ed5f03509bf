"""Asking and deciding: what counts, and every refusal with its own code."""

import json
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from keyvault_portal.accounts.models import ApiToken, KeyRing, Person, RoleBinding
from keyvault_portal.approvals import queries, registry, services
from keyvault_portal.approvals.models import ApprovalRequest, Decision, Notice
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import PortalError

from .conftest import DESCRIBE, at_rest, unguarded

pytestmark = pytest.mark.django_db


def refusal(code):
    return pytest.raises(PortalError, check=lambda error: error.code == code)


def agree(actor, request, **more):
    return services.approve(actor=actor, request_id=request.pk, act_hash=more.pop("act_hash", request.act_hash), **more)


def last_event():
    return AuditEvent.objects.order_by("-seq").first()


def expire(request):
    with unguarded():
        ApprovalRequest.objects.filter(pk=request.pk).update(expires_at=timezone.now() - timedelta(seconds=1))


def test_what_is_hashed_holds_all_that_decides_and_all_that_is_shown(ask, olga, ring):
    request = ask()
    act = json.loads(bytes(request.act))
    assert registry.digest(bytes(request.act)) == request.act_hash
    assert act == {
        "v": 1, "request": str(request.pk), "operation": DESCRIBE, "title": "Describe a ring", "params": {"ring_id": str(ring.pk), "text": "b"},
        "target": {"type": "ring", "id": str(ring.pk), "label": "Payments", "version": "a"}, "ring": str(ring.pk), "policy_version": "1",
        "groups": [{"role": "security_officer", "threshold": 2, "ring_id": str(ring.pk)}],
        "requester": {"id": str(olga.id), "label": "Olga", "token": None}, "reason": "It is wrong",
        "consequences": ["The ring reads otherwise."], "expires_at": request.expires_at.isoformat(),
    }  # fmt: skip


def test_the_second_agreement_decides(ask, oskar, otto):
    request = ask()
    with at_rest():
        assert agree(oskar, request).state == "pending"
        assert agree(otto, request, reason="fine").state == "approved"
    assert last_event().action == "approval.approve"


def test_one_rejection_ends_it(ask, oskar, olga):
    request = ask()
    services.reject(actor=oskar, request_id=request.pk, reason="not\nnow")
    request.refresh_from_db()
    assert request.state == "rejected"
    told = Notice.objects.filter(person_id=olga.id).latest("pk")
    assert told.text == "Describe a ring, Payments: Oskar rejected: not now", (
        "one line, since it becomes a mail's subject"
    )


def test_a_rejection_says_why(ask, oskar):
    request = ask()
    with refusal("validation_failed"):
        services.reject(actor=oskar, request_id=request.pk, reason="  ")


def test_self_approval(ask, olga):
    request = ask()
    with refusal("self_approval"):
        agree(olga, request)
    assert (last_event().action, last_event().outcome) == ("approval.approve", "refused")
    with pytest.raises(IntegrityError), transaction.atomic():
        Decision.objects.create(
            request=request,
            requester_id=olga.id,
            person_id=olga.id,
            verdict="approve",
            act_hash=request.act_hash,
            person_label="x",
        )
    with pytest.raises(IntegrityError), transaction.atomic():  # the copy of the requester cannot be forged either
        Decision.objects.create(
            request=request,
            requester_id=uuid4(),
            person_id=olga.id,
            verdict="approve",
            act_hash=request.act_hash,
            person_label="x",
        )


def test_approving_twice(ask, oskar):
    request = ask()
    agree(oskar, request)
    with refusal("already_counted"):
        agree(oskar, request)
    with refusal("already_counted"):
        services.reject(actor=oskar, request_id=request.pk, reason="changed my mind")
    with pytest.raises(IntegrityError), transaction.atomic():
        Decision.objects.create(
            request=request,
            requester_id=request.requester_id,
            person_id=oskar.id,
            verdict="approve",
            act_hash=request.act_hash,
            person_label="x",
        )


def test_expired_approval_before_and_after_the_schedule_has_seen_it(ask, oskar, olga):
    request = ask()
    expire(request)
    with refusal("approval_expired"):
        agree(oskar, request)
    assert services.expire_due() == 1
    assert services.expire_due() == 0
    request.refresh_from_db()
    assert request.state == "expired"
    with refusal("approval_expired"):
        agree(oskar, request)
    assert Notice.objects.filter(person_id=olga.id, text__contains="Nobody decided in time").count() == 1


def test_already_decided(ask, oskar, otto):
    request = ask()
    services.reject(actor=oskar, request_id=request.pk, reason="no")
    with refusal("already_decided"):
        agree(otto, request)


def test_another_act_than_was_shown(ask, oskar):
    request = ask()
    with refusal("act_changed"):
        agree(oskar, request, act_hash="0" * 64)
    with refusal("act_changed"):
        agree(oskar, request, act_hash="é")
    assert not request.decisions.exists()


def test_without_a_second_factor(ask, make):
    request = ask()
    with refusal("second_factor_required"):
        agree(make("pia", "security_officer", second_factor=False), request)


def test_roles_that_do_not_count(ask, make):
    request = ask()
    with refusal("not_eligible"):
        agree(make("aino", "auditor"), request)
    with refusal("not_found"):
        agree(make("nobody"), request)
    elsewhere = KeyRing.objects.create(name="patients", title="Patients")
    with refusal("not_found"):
        agree(make("xena", "security_officer", on=elsewhere), request)


def test_a_service_never_agrees(ask, make):
    request = ask()
    with refusal("not_eligible"):
        agree(make("robot", "security_officer", kind="service"), request)


def test_a_service_makes_no_quorum(ask, make, oskar, otto):
    make("robot", "security_officer", kind="service")
    with refusal("quorum_unreachable"):
        ask(threshold=3)


def test_a_role_lost_since_counts_no_more(ask, oskar, otto, make):
    request = ask()
    agree(oskar, request)
    RoleBinding.objects.filter(person_id=oskar.id).delete()
    with at_rest():
        assert agree(otto, request).state == "pending"
        assert agree(make("pia", "security_officer"), request).state == "approved"


def test_groups_on_two_rings_each_need_their_own(ask, make, ring, olga, oskar, otto):
    other = KeyRing.objects.create(name="patients", title="Patients")
    RoleBinding.objects.filter(person_id__in=[oskar.id, otto.id]).delete()
    here, here_too, there = (
        make("h", "custodian", on=ring),
        make("i", "custodian", on=ring),
        make("t", "custodian", on=other),
    )
    groups = [{"role": "custodian", "threshold": 1, "ring_id": str(where.pk)} for where in (ring, other)]
    request = ask(groups=groups)
    with at_rest():
        agree(here, request)
        assert agree(here_too, request).state == "pending", "two of one ring are none of the other"
        assert services.waiting_for(there) == [request], "seen without any right on the request's own ring"
        assert agree(there, request).state == "approved"


@pytest.mark.parametrize("threshold", [3, 4])
def test_an_unreachable_quorum_says_who_is_missing(ask, threshold):
    with pytest.raises(PortalError) as raised:
        ask(threshold=threshold)
    assert raised.value.code == "quorum_unreachable"
    assert f"{threshold - 2} × security officer" in raised.value.detail


def test_the_inactive_do_not_make_a_quorum(ask, otto):
    Person.objects.filter(pk=otto.id).update(is_active=False)
    with refusal("quorum_unreachable"):
        ask()


@pytest.mark.parametrize(
    "groups", [[], [{"role": "security_officer", "threshold": 0}], [{"role": "operator", "threshold": 1}]]
)
def test_groups_that_could_never_agree(ask, groups):
    with refusal("validation_failed"):
        ask(groups=groups)


def test_asking_needs_a_reason_and_the_right(ask, make):
    with refusal("validation_failed"):
        ask(reason=" ")
    with refusal("permission_refused"):
        ask(actor=make("op", "operator"))


def test_asking_again_finds_the_open_request_unless_the_target_changed(ask, ring):
    first = ask()
    assert ask().pk == first.pk
    assert ask(text="other").pk != first.pk
    assert ask(threshold=1).pk != first.pk
    KeyRing.objects.filter(pk=ring.pk).update(description="changed")
    assert ask().pk != first.pk


def test_what_a_token_asks_is_not_what_its_owner_asked(ask, olga):
    token = ApiToken.objects.create(owner_id=olga.id, name="ci", digest=b"", scopes=["ring.manage"])
    asked = ask()
    by_token = ask(actor=replace(olga, kind="token", token_id=token.pk))
    assert (by_token.pk, by_token.requester_token_id) != (asked.pk, None)
    assert ask(actor=replace(olga, kind="token", token_id=token.pk)).pk == by_token.pk


def test_a_token_withdraws_only_what_was_asked_with_it(ask, olga):
    token, other = (
        ApiToken.objects.create(owner_id=olga.id, name=name, digest=b"", scopes=["approval.view"])
        for name in ("ci", "other")
    )
    with_token, with_other = (replace(olga, kind="token", token_id=one.pk) for one in (token, other))
    asked, by_token = ask(), ask(actor=with_token)
    for actor, request in ((with_token, asked), (with_other, by_token)):
        with refusal("permission_refused"):
            services.withdraw(actor=actor, request_id=request.pk)
    assert services.withdraw(actor=with_token, request_id=by_token.pk).state == "withdrawn"
    assert services.withdraw(actor=olga, request_id=asked.pk).state == "withdrawn"


def test_only_the_requester_withdraws(ask, olga, oskar):
    request = ask()
    with refusal("permission_refused"):
        services.withdraw(actor=oskar, request_id=request.pk)
    assert services.withdraw(actor=olga, request_id=request.pk).state == "withdrawn"
    with refusal("already_decided"):
        agree(oskar, request)


def test_breaking_the_glass_alarms_everybody_skipped(ask, make, olga, oskar, otto):
    pia = make("pia", "security_officer")
    request = ask(threshold=2)
    agree(oskar, request)
    with refusal("validation_failed"):
        services.break_glass(actor=pia, request_id=request.pk, reason="")
    with refusal("permission_refused"):
        services.break_glass(actor=make("aino", "auditor"), request_id=request.pk, reason="fire")
    with refusal("second_factor_required"):
        services.break_glass(
            actor=make("quin", "security_officer", second_factor=False), request_id=request.pk, reason="fire"
        )
    late = ask(text="late")
    expire(late)
    with refusal("approval_expired"):
        services.break_glass(actor=pia, request_id=late.pk, reason="fire")
    with at_rest():
        assert services.break_glass(actor=pia, request_id=request.pk, reason="fire").state == "approved"
    alarmed = set(Notice.objects.filter(alarm=True).values_list("person_id", flat=True))
    quin = Person.objects.get(name="Quin").pk
    assert alarmed == {otto.id, quin}, "not who agreed, not who broke it, not who asked"
    leaf = json.loads(AuditEvent.objects.filter(action="approval.break_glass", outcome="success").latest("seq").leaf)
    assert (leaf["details"]["skipped"], leaf["details"]["skipped_count"]) == (["Otto", "Quin"], 2)
    assert Notice.objects.filter(person_id=olga.id, text__contains="broke the glass").exists()


def test_what_people_agree_to_cannot_be_changed(ask, oskar):
    request = ask()
    agree(oskar, request)
    for change in (
        {"params": {}},
        {"act": b"{}"},
        {"reason": "x"},
        {"consequences": []},
        {"requester_id": uuid4()},
        {"groups": []},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            ApprovalRequest.objects.filter(pk=request.pk).update(**change)
    for refused in (
        lambda: Decision.objects.update(verdict="reject", reason="x"),
        lambda: Decision.objects.all().delete(),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            refused()


def test_count_waiting(ask, olga, oskar, otto, make):
    request = ask()
    assert [services.count_waiting(actor) for actor in (olga, oskar, otto, make("aino", "auditor"))] == [0, 1, 1, 0]
    agree(oskar, request)
    assert [services.count_waiting(actor) for actor in (oskar, otto)] == [0, 1]


def test_what_expired_waits_for_nobody_and_is_asked_for_anew(ask, oskar, monkeypatch):
    first, original = ask(), timezone.now
    later = type("Later", (), {"now": staticmethod(lambda: original() + timedelta(days=8))})
    for module in (services, queries):
        monkeypatch.setattr(module, "timezone", later)
    assert services.count_waiting(oskar) == 0
    assert ask().pk != first.pk
    assert services.count_waiting(oskar) == 1


def test_nothing_waits_for_a_token(ask, oskar):
    ask()
    assert services.count_waiting(oskar) == 1
    assert services.count_waiting(replace(oskar, kind="token", token_id=uuid4())) == 0


def test_two_officers_are_asked_or_as_many_as_there_are_besides(ring, make, olga):
    assert services.officers_needed(olga, ring.pk) == 0
    for name, wanted in (("oskar", 1), ("otto", 2), ("pia", 2)):
        make(name, "security_officer")
        assert services.officers_needed(olga, ring.pk) == wanted
