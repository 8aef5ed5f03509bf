"""The transaction that records: what is written, what a refusal leaves, what nesting does."""

import json

import pytest
from django.db import transaction

from keyvault_portal.accounts.actors import system_actor
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.audit import services as audit
from keyvault_portal.audit.models import AuditCheckpoint, AuditEvent, AuditHead
from keyvault_portal.errors import ApprovalRequired, PermissionRefused, ProviderUnavailable, WrongState

pytestmark = pytest.mark.django_db
ACTOR = system_actor("tests")


@pytest.fixture
def start() -> int:
    return AuditHead.objects.get().size


def events(start: int) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(seq__gte=start).order_by("seq"))


def ring(name: str) -> KeyRing:
    return KeyRing.objects.create(name=name, title=name)


def test_an_event_is_written_with_its_act(start):
    with audit.atomic(actor=ACTOR, action="ring.create", target=("ring", "7", "blue")) as act:
        ring("blue")
        act.record({"title": "Blue"})
        assert AuditHead.objects.get().size == start, "the head is locked last"
    (event,) = events(start)
    assert (event.seq, event.action, event.outcome, event.target_id) == (start, "ring.create", "success", "7")
    leaf = json.loads(event.leaf)
    assert leaf == {
        "seq": start, "at": event.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "action": "ring.create", "outcome": "success",
        "actor": {"id": None, "kind": "system", "label": "tests"}, "ring": None, "details": {"title": "Blue"}, "v": 1,
        "target": {"type": "ring", "id": "7", "label": "blue"},
    }  # fmt: skip
    assert AuditCheckpoint.objects.filter(tree_size=start + 1).exists()


def test_a_refusal_leaves_nothing_but_itself(start):
    with (
        pytest.raises(PermissionRefused),
        audit.atomic(actor=ACTOR, action="ring.create", target=("ring", "", "red")) as act,
    ):
        ring("red")
        act.record()
        raise PermissionRefused("no")
    (event,) = events(start)
    assert (event.outcome, json.loads(event.leaf)["details"]) == (
        "refused",
        {"code": "permission_refused", "detail": "no"},
    )
    assert not KeyRing.objects.filter(name="red").exists()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(WrongState(), "refused"), (ProviderUnavailable(), "failed"), (RuntimeError("s3cret"), "failed")],
)
def test_outcomes(start, error, outcome):
    with pytest.raises(type(error)), audit.atomic(actor=ACTOR, action="x.y"):
        raise error
    (event,) = events(start)
    assert event.outcome == outcome
    assert b"s3cret" not in bytes(event.leaf)


def test_nested_blocks_flush_once_at_the_outermost_exit(start):
    with audit.atomic(actor=ACTOR, action="outer") as outer:
        with audit.atomic(action="inner") as inner:
            inner.record({"n": 1})
        audit.record(actor=ACTOR, action="loose")
        outer.record()
        assert events(start) == []
    assert [event.action for event in events(start)] == ["inner", "loose", "outer"]
    assert list(AuditCheckpoint.objects.filter(tree_size__gt=start).values_list("tree_size", flat=True)) == [start + 3]


def test_a_survived_inner_refusal_is_recorded_and_its_events_are_not(start):
    with audit.atomic(actor=ACTOR, action="batch") as outer:
        with pytest.raises(WrongState), audit.atomic(action="item") as inner:
            ring("green")
            inner.record()
            raise WrongState()
        outer.record()
    assert [(event.action, event.outcome) for event in events(start)] == [("item", "refused"), ("batch", "success")]
    assert not KeyRing.objects.filter(name="green").exists()


def test_one_refusal_through_several_blocks_is_one_event_about_the_innermost_act(start):
    with (
        pytest.raises(WrongState),
        audit.atomic(actor=ACTOR, action="outer"),
        audit.atomic(action="inner"),
        audit.atomic(),
    ):
        raise WrongState()
    assert [(event.action, event.outcome) for event in events(start)] == [("inner", "refused")]


def test_about_names_an_attempt_that_becomes_known_late(start):
    with pytest.raises(WrongState), audit.atomic() as act:
        act.about(actor=ACTOR, action="late", target=("key", "k1", "payroll"))
        raise WrongState()
    (event,) = events(start)
    assert (event.action, event.target_id) == ("late", "k1")


def test_approval_required_keeps_the_request_for_it(start):
    with pytest.raises(ApprovalRequired), audit.atomic(actor=ACTOR, action="key.destroy") as act:
        ring("kept")
        act.record(action="approval.request")
        raise ApprovalRequired("r1")
    assert [event.action for event in events(start)] == ["approval.request"]
    assert KeyRing.objects.filter(name="kept").exists()


def test_without_the_signing_key_nothing_happens(start, settings, tmp_path):
    settings.AUDIT_KEY_FILE = tmp_path / "absent"
    with pytest.raises(audit.AuditUnavailable), audit.atomic(actor=ACTOR, action="ring.create") as act:
        ring("lost")
        act.record()
    assert not KeyRing.objects.filter(name="lost").exists()
    assert events(start) == []


def test_a_group_event_inside_a_transaction_ends_with_it(start):
    with pytest.raises(RuntimeError), transaction.atomic():
        assert audit.append_group(audit.Event(ACTOR, "key.encrypt")) == start
        raise RuntimeError
    assert events(start) == []


@pytest.mark.parametrize("value", [1.5, b"bytes", {"a": {1: 2}}, object(), 2**60])
def test_details_are_plain_data(start, value):
    with pytest.raises(TypeError), audit.atomic(actor=ACTOR, action="x") as act:
        act.record({"value": value})


def test_a_hostile_label_is_recorded_not_refused(start):
    audit.record(actor=ACTOR, action="x", target=("key", "1", 'a\0"\n\u2028'))
    assert json.loads(events(start)[0].leaf)["target"]["label"] == 'a\ufffd"\n\u2028'


def test_timeline_of_a_target(start):
    for number in range(3):
        audit.record(actor=ACTOR, action=f"step.{number}", target=("key", "timeline", "t"))
    assert [event.action for event in audit.events_for_target("key", "timeline", 2)] == ["step.2", "step.1"]
