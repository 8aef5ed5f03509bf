"""Performing: once, exactly what was agreed to, with the requester's rights of that moment."""

import json
import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.utils import timezone

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.models import ApiToken, KeyRing, Person, RoleBinding
from keyvault_portal.approvals import execution, notices, services, tasks
from keyvault_portal.approvals.models import ApprovalRequest, Decision, Notice
from keyvault_portal.approvals.performing import performing
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import PortalError

from .conftest import DESCRIBE, at_rest, unguarded

pytestmark = pytest.mark.django_db


@pytest.fixture
def agreed(ask, oskar, otto):
    """agreed(**more): a request that both others agreed to, its task lost."""

    def agreed(**more):
        request = ask(**more)
        with at_rest():
            for actor in (oskar, otto):
                services.approve(actor=actor, request_id=request.pk, act_hash=request.act_hash)
        request.refresh_from_db()
        return request

    return agreed


def description():
    return KeyRing.objects.get(name="payments").description


def test_it_is_done_with_the_approvers_on_the_record(agreed, olga):
    request = agreed()
    assert execution.execute(request.pk) == "executed"
    assert execution.execute(request.pk) == "executed"
    assert description() == "ab"
    leaf = json.loads(AuditEvent.objects.get(action="approval.execute", target_id=str(request.pk)).leaf)
    assert leaf["actor"]["id"] == str(olga.id)
    assert leaf["details"] == {
        "request": str(request.pk), "operation": DESCRIBE, "act_hash": request.act_hash, "approvers": ["Oskar", "Otto"], "break_glass": "",
    }  # fmt: skip
    told = Notice.objects.get(person_id=olga.id, text__contains="is done")
    assert request.target_label in told.text


def test_a_pending_or_unknown_request_is_not_performed(ask):
    assert execution.execute(ask().pk) == "pending"
    assert execution.execute(uuid4()) == "missing"
    assert description() == "a"


def test_a_target_changed_in_between(agreed, ring, olga):
    request = agreed()
    KeyRing.objects.filter(pk=ring.pk).update(description="moved")
    assert execution.execute(request.pk) == "stale"
    request.refresh_from_db()
    assert (request.failure_code, description()) == ("act_changed", "moved")
    assert Notice.objects.filter(person_id=olga.id, text__contains="not done").exists()
    assert AuditEvent.objects.filter(action="approval.execute", outcome="refused", target_id=str(request.pk)).exists()


CHANGES = {
    "operation": "person.bind_role", "title": "Nothing much", "act": b"{}", "act_hash": "0" * 64,
    "params": {"ring_id": "", "text": "evil"}, "consequences": ["Nothing happens."], "target_type": "key", "target_id": "x",
    "target_label": "Other", "ring_id": uuid4(), "groups": [{"role": "security_officer", "threshold": 1, "ring_id": None}],
    "requester_id": uuid4(), "requester_label": "Mallory", "requester_token_id": uuid4(), "reason": "None",
    "expires_at": timezone.now() + timezone.timedelta(days=400),
}  # fmt: skip


@pytest.mark.parametrize("field", CHANGES)
def test_any_changed_field_of_the_stored_act_is_refused(agreed, ring, field):
    request = agreed()
    value = CHANGES[field] | {"ring_id": str(ring.pk)} if field == "params" else CHANGES[field]
    with unguarded():
        ApprovalRequest.objects.filter(pk=request.pk).update(**{field: value})
    assert execution.execute(request.pk) in {"stale", "failed"}
    assert description() == "a"


def test_every_field_that_people_saw_is_among_those_tried():
    free = {
        "id",
        "state",
        "created_at",
        "decided_at",
        "finished_at",
        "result",
        "failure_code",
        "failure_detail",
        "broken_by",
        "broken_because",
    }
    assert {field.name for field in ApprovalRequest._meta.concrete_fields} - free == set(CHANGES)


def test_an_act_replaced_as_a_whole_does_not_have_the_decisions(agreed, ask):
    request = agreed()
    other = ask(text="evil")
    with unguarded():
        Decision.objects.filter(request=request).update(request=other)
        ApprovalRequest.objects.filter(pk=other.pk).update(state="approved", decided_at=timezone.now())
    assert execution.execute(other.pk) == "stale"
    assert description() == "a"


def test_a_state_set_by_hand_is_no_agreement(ask):
    request = ask()
    ApprovalRequest.objects.filter(pk=request.pk).update(state="approved", decided_at=timezone.now())
    assert execution.execute(request.pk) == "stale"
    assert description() == "a"


def test_approvers_who_lost_their_role_before_it_ran(agreed, otto):
    request = agreed()
    RoleBinding.objects.filter(person_id=otto.id).delete()
    assert execution.execute(request.pk) == "stale"
    assert description() == "a"


@pytest.mark.parametrize("how", ["role", "account"])
def test_a_requester_who_lost_the_right(agreed, olga, how):
    request = agreed()
    if how == "role":
        RoleBinding.objects.filter(person_id=olga.id).delete()
    else:
        Person.objects.filter(pk=olga.id).update(is_active=False)
    assert execution.execute(request.pk) == "failed"
    request.refresh_from_db()
    assert (request.failure_code, description()) == ("permission_refused", "a")
    assert AuditEvent.objects.filter(action="approval.execute", outcome="refused", target_id=str(request.pk)).exists()


@pytest.mark.parametrize("change", ["revoked", "expired", "without the scope", "on another ring"])
def test_a_token_that_asked_and_may_no_more(agreed, olga, change):
    token = ApiToken.objects.create(owner_id=olga.id, name="ci", digest=b"", scopes=["ring.manage"])
    asker = Actor(id=olga.id, kind="token", label="ci (Olga)", grants=olga.grants, token_id=token.pk)
    request = agreed(actor=asker)
    if change == "on another ring":
        token.rings.add(KeyRing.objects.create(name="other", title="Other"))
    else:
        now = timezone.now()
        now_is = {"revoked": {"revoked_at": now}, "expired": {"expires_at": now}}
        ApiToken.objects.update(**now_is.get(change, {"scopes": ["key.view"]}))
    assert execution.execute(request.pk) == "failed"
    assert AuditEvent.objects.filter(action="approval.execute", outcome="refused", target_id=str(request.pk)).exists()


def test_expired_before_it_ran(agreed):
    request = agreed()
    original = execution.timezone.now
    execution.timezone = type("Later", (), {"now": staticmethod(lambda: original() + timezone.timedelta(days=8))})
    try:
        assert execution.execute(request.pk) == "expired"
    finally:
        execution.timezone = timezone
    assert description() == "a"


@pytest.mark.parametrize(("text", "code"), [("impossible", "wrong_state"), ("crash", "internal_error")])
def test_a_failure_undoes_everything_and_says_why(agreed, text, code):
    request = agreed(text=text)
    assert execution.execute(request.pk) == "failed"
    request.refresh_from_db()
    assert (request.failure_code, description()) == (code, "a")
    assert "s3cret" not in request.failure_detail


def test_when_the_record_is_away_it_stays_approved_and_is_tried_again(agreed, settings, tmp_path, celery_eager):
    request, key_file = agreed(), settings.AUDIT_KEY_FILE
    settings.AUDIT_KEY_FILE = tmp_path / "absent"
    with pytest.raises(PortalError, check=lambda error: error.status >= 500):
        execution.execute(request.pk)
    settings.AUDIT_KEY_FILE = key_file
    request.refresh_from_db()
    assert (request.state, description()) == ("approved", "a")
    ApprovalRequest.objects.filter(pk=request.pk).update(decided_at=timezone.now() - timezone.timedelta(minutes=2))
    tasks.tick()
    assert description() == "ab"


def test_the_mark_of_execution_cannot_be_borrowed(agreed, ring):
    request = agreed()
    assert not services.is_executing(request.pk, DESCRIBE, request.params)
    with performing(request):
        assert services.is_executing(request.pk, DESCRIBE, request.params)
        for other in ((uuid4(), DESCRIBE, request.params), (request.pk, "key.destroy", request.params),
                      (request.pk, DESCRIBE, request.params | {"text": "evil"})):  # fmt: skip
            assert not services.is_executing(*other), "another act than the one agreed to asks for itself"
    assert not services.is_executing(request.pk, DESCRIBE, request.params)


def test_after_broken_glass_it_is_done_without_the_votes(ask, oskar):
    request = ask()
    with at_rest():
        services.break_glass(actor=oskar, request_id=request.pk, reason="fire")
    assert execution.execute(request.pk) == "executed"
    assert description() == "ab"
    told = Notice.objects.filter(person_id=request.requester_id).latest("pk").detail
    assert told.endswith("\nThe glass was broken, and it is done.")


def at_once(*calls):
    """Run these in threads of their own, released together; returns what each returned or raised."""
    barrier, results = threading.Barrier(len(calls)), [None] * len(calls)

    def run(index, call):
        barrier.wait()
        try:
            results[index] = call()
        except PortalError as error:
            results[index] = error.code
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.django_db(transaction=True)
def test_two_tasks_at_once_perform_it_once(agreed):
    request = agreed()
    assert at_once(*[lambda: execution.execute(request.pk)] * 4) == ["executed"] * 4
    assert description() == "ab"
    attempts = AuditEvent.objects.filter(action="approval.execute", target_id=str(request.pk))
    assert [event.outcome for event in attempts] == ["success"], (
        "the others waited for the row; none ran into the database's guards"
    )


@pytest.mark.django_db(transaction=True)
def test_two_approvers_at_once_perform_it_once(ask, oskar, otto, celery_eager):
    request = ask()
    at_once(*[
        lambda actor=actor: services.approve(actor=actor, request_id=request.pk, act_hash=request.act_hash).state for actor in (oskar, otto)
    ])  # fmt: skip
    request.refresh_from_db()
    assert (request.state, request.decisions.count(), description()) == ("executed", 2, "ab")


@pytest.mark.django_db(transaction=True)
def test_one_is_enough_and_two_decide_at_once(ask, oskar, otto, celery_eager):
    request = ask(threshold=1)
    results = at_once(*[
        lambda actor=actor: services.approve(actor=actor, request_id=request.pk, act_hash=request.act_hash).state for actor in (oskar, otto)
    ])  # fmt: skip
    assert sorted(results) == ["already_decided", "approved"]
    assert description() == "ab"


@pytest.mark.django_db(transaction=True)
def test_mail_is_sent_after_commit_only(ask, celery_eager, mailoutbox):
    class Undo(Exception):
        pass

    with pytest.raises(Undo), transaction.atomic():
        ask()
        raise Undo
    assert mailoutbox == []
    with transaction.atomic():
        ask()
        assert mailoutbox == []
    assert sorted(message.to[0] for message in mailoutbox) == ["oskar@example.org", "otto@example.org"]
    assert all("/approvals/" in message.body for message in mailoutbox)


@pytest.mark.django_db(transaction=True)
def test_a_lost_mail_is_sent_once_more(ask, celery_eager, mailoutbox):
    with at_rest():
        ask()
    mailoutbox.clear()
    Notice.objects.update(mailed_at=None, created_at=timezone.now() - timezone.timedelta(minutes=20))
    tasks.tick()
    tasks.tick()
    assert len(mailoutbox) == 2


def test_somebody_who_left_gets_no_mail(ask, otto, mailoutbox):
    ask()
    Person.objects.filter(pk=otto.id).update(is_active=False)
    for notice in Notice.objects.all():
        notices.send(notice.pk)
    assert [message.to for message in mailoutbox] == [["oskar@example.org"]]


def test_what_nobody_performed_is_found_after_a_minute(agreed, ask):
    request, waiting = agreed(), ask(text="c")
    assert execution.overdue_requests() == []
    ApprovalRequest.objects.filter(pk=request.pk).update(decided_at=timezone.now() - timedelta(minutes=2))
    assert execution.overdue_requests() == [request.pk]
    assert waiting.state == "pending"
    assert execution.execute(request.pk) == "executed"
    assert execution.overdue_requests() == []
