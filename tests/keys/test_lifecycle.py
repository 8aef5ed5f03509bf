"""Making keys, governing them, and ending them."""

from datetime import timedelta
from uuid import uuid4

import orjson
import pytest
from django.utils import timezone

from keys.crypto.algorithms import ALGORITHMS
from keys.hierarchy import PARENT_KINDS, KeyKind, kind_accepts
from keys.models import CensusCount, DataStore, Key, KeyPolicy, KeyVersion
from keys.services import lifecycle, policies
from keys.services.policies import PolicyValues
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import (
    ApprovalRequired,
    Conflict,
    PermissionRefused,
    PortalError,
    ValidationFailed,
    WrongState,
)

ALONE = PolicyValues(cryptoperiod_days=90)
ALGORITHM = {
    "master": "AES-256-GCM",
    "kek": "AES-256-GCM",
    "dek": "AES-256-GCM",
    "token_signing": "Ed25519",
    "transport": "RSA-2048-PSS-SHA256",
}


def last_event():
    event = AuditEvent.objects.order_by("-seq").first()
    return event, orjson.loads(bytes(event.leaf))


@pytest.mark.parametrize("kind", [kind.value for kind in KeyKind])
@pytest.mark.parametrize("parent_kind", [*(kind.value for kind in KeyKind), None])
def test_only_the_hierarchy_of_the_standard_can_be_built(tree, kind, parent_kind):
    transport = tree.make("tls", "transport", "Ed25519", tree.master)
    parents = {
        "master": tree.master,
        "kek": tree.kek,
        "dek": tree.dek,
        "token_signing": tree.token,
        "transport": transport,
        None: None,
    }
    allowed = parent_kind in PARENT_KINDS[KeyKind(kind)] if parent_kind else not PARENT_KINDS[KeyKind(kind)]
    if allowed:
        assert tree.make("new", kind, ALGORITHM[kind], parents[parent_kind]).current is not None
    else:
        with pytest.raises(ValidationFailed) as caught:
            tree.make("new", kind, ALGORITHM[kind], parents[parent_kind])
        assert "parent" in caught.value.errors


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_every_algorithm_makes_a_key_of_a_kind_that_takes_it(tree, algorithm):
    key = tree.make("new", "dek", algorithm, tree.kek)
    assert (key.current.public_key is None) == ALGORITHMS[algorithm].symmetric
    if not kind_accepts(KeyKind.KEK, algorithm):
        with pytest.raises(ValidationFailed) as caught:
            tree.make("newer", "kek", algorithm, tree.master)
        assert "algorithm" in caught.value.errors


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Bad Name"),
        ("name", ""),
        ("name", "a" * 101),
        ("title", " "),
        ("algorithm", "ROT13"),
        ("kind", "magic"),
        ("provider", "nowhere"),
        ("labels", {"a": 1}),
    ],
)
def test_bad_values_are_named(tree, field, value):
    values = {
        "name": "new",
        "title": "New",
        "kind": "dek",
        "algorithm": "AES-256-GCM",
        "provider": "local",
        "labels": {},
    }
    with pytest.raises(ValidationFailed) as caught:
        lifecycle.create_key(actor=tree.officer, ring=tree.ring, parent=tree.kek, **(values | {field: value}))
    assert field in caught.value.errors


def test_a_name_is_taken_once_in_a_ring(tree):
    with pytest.raises(ValidationFailed) as caught:
        tree.make("customers", "dek", "AES-256-GCM", tree.kek)
    assert "name" in caught.value.errors


def test_a_parent_without_an_active_version_makes_no_children(tree):
    lifecycle.suspend_version(actor=tree.officer, version_id=tree.kek.current_id, reason="lost laptop")
    with pytest.raises(WrongState):
        tree.make("new", "dek", "AES-256-GCM", tree.kek)


def test_every_act_and_every_refusal_is_one_event(tree, auditor):
    version_id = tree.dek.current_id
    one = {"version_id": version_id}
    calls = {
        "key.suspend_version": lambda a: lifecycle.suspend_version(actor=a, **one, reason="r"),
        "key.resume_version": lambda a: lifecycle.resume_version(actor=a, **one),
        "key.introduce_version": lambda a: lifecycle.introduce_version(actor=a, key_id=tree.dek.pk, activate=True),
        "key.mark_compromised": lambda a: lifecycle.mark_compromised(
            actor=a, **one, reason_code="superseded", occurred_at=timezone.now(), note="n"
        ),
        "key.edit": lambda a: lifecycle.edit_key(actor=a, key_id=tree.dek.pk, title="Renamed"),
        "key.update_policy": lambda a: lifecycle.update_policy(actor=a, key_id=tree.dek.pk, changes={"grace_days": 60}),
        "key.create": lambda a: lifecycle.create_key(
            actor=a, ring=tree.ring, parent=tree.kek, name="more", title="More", kind="dek", algorithm="AES-256-GCM"
        ),
    }
    for action, call in calls.items():
        for actor, outcome in ((auditor, "refused"), (tree.officer, "success")):
            before = AuditEvent.objects.count()
            if outcome == "refused":
                with pytest.raises(PermissionRefused):
                    call(actor)
            else:
                call(actor)
            event, leaf = last_event()
            assert AuditEvent.objects.count() == before + 1, (action, outcome)
            assert (event.action, event.outcome, event.ring_id) == (action, outcome, tree.ring.pk)
            assert leaf["actor"]["label"] == actor.label


def test_the_policy_names_who_may_rotate(tree):
    from keyvault_portal.accounts.permissions import Role
    from tests.keys.conftest import actor_of

    lifecycle.update_policy(actor=tree.officer, key_id=tree.dek.pk, changes={"rotate_roles": ["security_officer"]})
    operator = actor_of(Role.OPERATOR, "Otto Operator")
    with pytest.raises(PermissionRefused):
        lifecycle.introduce_version(actor=operator, key_id=tree.dek.pk, activate=True)
    assert lifecycle.introduce_version(actor=tree.officer, key_id=tree.dek.pk, activate=True)


def test_the_policy_names_who_may_destroy(tree):
    version = retired(tree)
    one = {"actor": tree.officer, "version_id": version.pk}
    policy = KeyPolicy.objects.filter(key=version.key)
    policy.update(destroy_roles=["custodian"], destroy_groups=[])
    with pytest.raises(PermissionRefused, match="does not let"):
        lifecycle.schedule_deletion(**one)
    policy.update(destroy_roles=["security_officer"])
    lifecycle.schedule_deletion(**one)
    policy.update(destroy_roles=["custodian"])
    KeyVersion.objects.filter(pk=version.pk).update(
        deletion_due_at=timezone.now(), deletion_halted_at=timezone.now(), deletion_halted_by="x"
    )
    for act in (lifecycle.confirm_deletion, lifecycle.destroy_version):
        with pytest.raises(PermissionRefused, match="does not let"):
            act(**one)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"grace_days": 6}, "grace_days"),
        ({"minimum_grace_days": 40}, "grace_days"),
        ({"minimum_grace_days": 1}, "minimum_grace_days"),
        ({"use_share_due": 96}, "use_share_due"),
        ({"use_share_due": "50"}, "use_share_due"),
        ({"rotate_roles": ["king"]}, "rotate_roles"),
        ({"destroy_groups": [{"role": "security_officer", "threshold": 0}]}, "destroy_groups"),
        ({"destroy_groups": [{"role": "security_officer"}]}, "destroy_groups"),
        ({"destroy_groups": "all"}, "destroy_groups"),
        ({"destroy_groups": [{"role": "auditor", "threshold": 1}]}, "destroy_groups"),
        ({"rotate_groups": [{"role": "operator", "threshold": 1}]}, "rotate_groups"),
        ({"rotate_groups": [{"role": "custodian", "threshold": 1, "ring_id": None}]}, "rotate_groups"),
        ({"allowed_algorithms": ["ROT13"]}, "allowed_algorithms"),
        ({"colour": "blue"}, "colour"),
        ({"auto_rotate": True, "cryptoperiod_days": None}, "auto_rotate"),
    ],
)
def test_policies_that_cannot_be_obeyed_are_refused(tree, changes, field):
    with pytest.raises(ValidationFailed) as caught:
        lifecycle.update_policy(actor=tree.officer, key_id=tree.dek.pk, changes=changes)
    assert field in caught.value.errors


def test_what_weakens_a_policy():
    two = [{"role": "security_officer", "threshold": 2}]
    strict = PolicyValues(
        cryptoperiod_days=90,
        auto_rotate=True,
        rotate_roles=["operator"],
        destroy_groups=two,
        allowed_algorithms=["AES-256-GCM"],
    )
    weaker = {
        "grace_days": 20,
        "cryptoperiod_days": 91,
        "auto_rotate": False,
        "rotate_roles": ["operator", "security_officer"],
        "destroy_groups": [{"role": "security_officer", "threshold": 1}],
        "allowed_algorithms": [],
        "use_share_due": 60,
    }
    for name, value in weaker.items():
        assert policies.weakens(strict, policies.changed(strict, {name: value})) == [name]
    stronger = {
        "grace_days": 31,
        "cryptoperiod_days": 30,
        "destroy_groups": [{"role": "security_officer", "threshold": 3}],
        "use_share_due": 40,
    }
    assert policies.weakens(strict, policies.changed(strict, stronger)) == []
    assert policies.strictest_groups(strict) == two


def test_a_changed_cryptoperiod_moves_the_next_rotation(tree):
    lifecycle.update_policy(actor=tree.officer, key_id=tree.dek.pk, changes={"cryptoperiod_days": 10})
    tree.dek.refresh_from_db()
    assert tree.dek.next_rotation_at == tree.dek.current.activated_at + timedelta(days=10)
    assert tree.dek.policy.version == 2


def retired(tree, **policy):
    """A decrypt-only first version of a key that one officer may destroy alone."""
    key = tree.make("old", "dek", "AES-256-GCM", tree.kek, policy=policies.changed(ALONE, policy))
    lifecycle.introduce_version(actor=tree.officer, key_id=key.pk, activate=True)
    return KeyVersion.objects.get(key=key, key_version=1)


def test_destruction_waits_for_the_grace_period_and_erases_the_material(tree):
    version = retired(tree)
    lifecycle.schedule_deletion(actor=tree.officer, version_id=version.pk)
    assert lifecycle.tick_deletions() == 0
    with pytest.raises(WrongState):
        lifecycle.destroy_version(actor=tree.officer, version_id=version.pk)
    KeyVersion.objects.filter(pk=version.pk).update(deletion_due_at=timezone.now())
    assert lifecycle.tick_deletions() == 1
    version.refresh_from_db()
    assert (version.status, version.wrapped_material, version.handle) == ("destroyed", None, "")
    event, leaf = last_event()
    assert (event.action, leaf["actor"]["kind"]) == ("key.destroy_version", "system")


def test_a_stopped_clock_needs_a_decision(tree):
    version = retired(tree)
    one = {"actor": tree.officer, "version_id": version.pk}
    lifecycle.schedule_deletion(**one)
    with pytest.raises(WrongState):
        lifecycle.confirm_deletion(**one)
    KeyVersion.objects.filter(pk=version.pk).update(
        deletion_due_at=timezone.now(), deletion_halted_at=timezone.now(), deletion_halted_by="x"
    )
    assert lifecycle.tick_deletions() == 0
    with pytest.raises(WrongState, match="its clock is stopped"):
        lifecycle.destroy_version(**one)
    confirmed = lifecycle.confirm_deletion(**one)
    assert confirmed.deletion_halted_at is None
    assert confirmed.deletion_due_at > timezone.now() + timedelta(days=29)
    assert lifecycle.cancel_deletion(**one).status == "decrypt_only"


@pytest.mark.parametrize("days", [0, 6, 3651])
def test_the_grace_period_has_a_least_length(tree, days):
    with pytest.raises(ValidationFailed):
        lifecycle.schedule_deletion(actor=tree.officer, version_id=retired(tree).pk, grace_days=days)


def test_what_is_still_needed_is_not_scheduled_unless_the_loss_is_meant(tree):
    version = retired(tree)
    store = DataStore.objects.create(
        ring=tree.ring, key=version.key, name="s", title="S", kind="sealed_values", created_by="t"
    )
    CensusCount.objects.create(store=store, column="c", version=version, items=12)
    with pytest.raises(Conflict) as caught:
        lifecycle.schedule_deletion(actor=tree.officer, version_id=version.pk)
    assert "12 items in data stores become unreadable." in caught.value.extra["consequences"]
    assert (
        lifecycle.schedule_deletion(actor=tree.officer, version_id=version.pk, accept_loss=True).status
        == "pending_deletion"
    )


def test_a_wrapper_counts_what_it_wraps(tree):
    lifecycle.introduce_version(actor=tree.officer, key_id=tree.kek.pk, activate=True)
    old = KeyVersion.objects.get(key=tree.kek, key_version=1)
    assert lifecycle.consequences(old)[0] == "2 key versions of 2 keys become unreadable."


def test_compromise_needs_nobody_else_and_keeps_a_deletion_going(tree):
    version = retired(tree)
    lifecycle.schedule_deletion(actor=tree.officer, version_id=version.pk)
    marked = lifecycle.mark_compromised(
        actor=tree.officer, version_id=version.pk, reason_code="key_compromise", occurred_at=timezone.now()
    )
    assert marked.status == "pending_deletion"
    assert lifecycle.cancel_deletion(actor=tree.officer, version_id=version.pk).status == "compromised"
    for bad in ({"reason_code": "mood"}, {"occurred_at": timezone.now() + timedelta(hours=1)}):
        values = {"reason_code": "superseded", "occurred_at": timezone.now()} | bad
        with pytest.raises(ValidationFailed):
            lifecycle.mark_compromised(actor=tree.officer, version_id=tree.dek.current_id, **values)


def test_resuming_does_not_bring_a_second_active_version(tree):
    first = tree.dek.current_id
    lifecycle.suspend_version(actor=tree.officer, version_id=first, reason="r")
    lifecycle.introduce_version(actor=tree.officer, key_id=tree.dek.pk, activate=True)
    assert lifecycle.resume_version(actor=tree.officer, version_id=first).status == "decrypt_only"
    with pytest.raises(WrongState):
        lifecycle.resume_version(actor=tree.officer, version_id=first)


@pytest.fixture
def people(tree, settings):
    settings.ROOT_URLCONF = "tests.keys.approval_paths"
    from keyvault_portal.accounts.identity import actor_for_person
    from keyvault_portal.accounts.models import Person, RoleBinding

    made = []
    for name in ("Ada", "Ben", "Cleo"):
        person = Person.objects.create_person(email=f"{name}@example.org".lower(), name=name)
        RoleBinding.objects.create(person=person, role="security_officer", created_by="test")
        made.append(actor_for_person(person, second_factor=True))
    return made


def approve_and_run(approver, request_id):
    from keyvault_portal.approvals import execution, services
    from keyvault_portal.approvals.models import ApprovalRequest

    request = ApprovalRequest.objects.get(pk=request_id)
    services.approve(actor=approver, request_id=request.pk, act_hash=request.act_hash)
    return execution.execute(request.pk)


def test_destruction_is_agreed_to_by_somebody_else(tree, people):
    ada, ben, _ = people
    key = tree.make("guarded", "dek", "AES-256-GCM", tree.kek)
    lifecycle.introduce_version(actor=ada, key_id=key.pk, activate=True)
    version = KeyVersion.objects.get(key=key, key_version=1)
    with pytest.raises(ApprovalRequired) as asked:
        lifecycle.schedule_deletion(actor=ada, version_id=version.pk, reason="replaced")
    version.refresh_from_db()
    assert version.status == "decrypt_only"
    with pytest.raises(PortalError):
        approve_and_run(ada, asked.value.request_id)
    assert approve_and_run(ben, asked.value.request_id) == "executed"
    version.refresh_from_db()
    assert version.status == "pending_deletion"


def test_an_approval_is_for_one_act_only(tree, people):
    ada, _, _ = people
    key = tree.make("guarded", "dek", "AES-256-GCM", tree.kek)
    lifecycle.introduce_version(actor=ada, key_id=key.pk, activate=True)
    version = KeyVersion.objects.get(key=key, key_version=1)
    with pytest.raises(ApprovalRequired):
        lifecycle.schedule_deletion(actor=ada, version_id=version.pk, reason="replaced", approval_id=uuid4())
    version.refresh_from_db()
    assert version.status == "decrypt_only"


def test_weakening_a_policy_is_agreed_to_and_strengthening_is_not(tree, people):
    ada, ben, _ = people
    key = Key.objects.get(pk=tree.dek.pk)
    lifecycle.update_policy(actor=ada, key_id=key.pk, changes={"grace_days": 90})
    with pytest.raises(ApprovalRequired) as asked:
        lifecycle.update_policy(actor=ada, key_id=key.pk, changes={"grace_days": 10}, reason="space")
    assert approve_and_run(ben, asked.value.request_id) == "executed"
    assert Key.objects.get(pk=key.pk).policy.grace_days == 10


def test_officers_are_told_when_a_waiting_version_is_used(tree, people, service):
    from keys.services import deletion
    from keyvault_portal.approvals.models import Notice

    version = retired(tree)
    lifecycle.schedule_deletion(actor=tree.officer, version_id=version.pk)
    deletion.halt_deletion(service, version.pk)
    deletion.halt_deletion(service, version.pk)
    assert Notice.objects.filter(alarm=True).count() == len(people)
    event, leaf = last_event()
    assert (event.action, leaf["details"]["used_by"]) == ("key.deletion_halted", "shop-backend")
