"""Keys in components: other people, one each, checked at once, put together by a worker, erased afterwards."""

import secrets
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from keys.crypto import components, keycheck
from keys.crypto.secret import SecretBytes
from keys.models import KeyComponent, KeyImport, KeyVersion, SealedValue
from keys.services import imports, lifecycle, materials
from keys.services.imports.frame import ImportExpired
from keys.transfer_tasks import import_work, transfer_tick
from keyvault_portal.accounts.permissions import Role
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import Conflict, PermissionRefused, ValidationFailed, WrongState
from tests.keys.conftest import actor_of
from tests.provider_services.conftest import work
from tests.provider_services.scanning import dump
from tests.provider_services.transfers import custodian

pytestmark = pytest.mark.usefixtures("sealing")
ALGORITHM = "AES-256-GCM"


class Ceremony:
    """A key in components, and an import that waits for them."""

    def __init__(self, tree, count=3, *, whole="", **more):
        self.key = SecretBytes(secrets.token_bytes(32))
        self.parts = components.split(self.key, count)
        self.values = [keycheck.check_bytes(ALGORITHM, part).hex() for part in self.parts]
        self.people = [custodian(f"Custodian {number}") for number in range(1, count + 1)]
        values = {"kind": "dek", "parent": tree.kek, "title": "Zone", "reason": "From the network"} | more
        self.row = imports.open_import_of_new_key(
            actor=tree.officer, ring=tree.ring, name="zone", algorithm=ALGORITHM, method="components",
            check_value=whole or keycheck.check_value(ALGORITHM, self.key).hex(), component_values=self.values, **values,
        )  # fmt: skip

    def enter(self, number, *, person=None, component=None):
        actor = person or self.people[number - 1]
        part = component or self.parts[number - 1]
        return imports.enter_component(actor=actor, import_id=self.row.pk, number=number, component=part)

    def enter_all(self):
        for number in range(1, len(self.parts) + 1):
            self.enter(number)
        import_work(str(self.row.pk))
        self.row.refresh_from_db()
        return self.row


def sealed_components() -> int:
    return SealedValue.objects.filter(purpose="component of a key").count()


@pytest.mark.parametrize("count", [2, 3, 5])
def test_custodians_make_the_key_together(tree, count):
    ceremony = Ceremony(tree, count)
    done = ceremony.enter_all()
    assert (done.state, done.last_error) == ("done", "")
    version = KeyVersion.objects.select_related(*materials.CHAIN).get(pk=done.version_id)
    assert materials.material(version) == ceremony.key
    assert (version.status, version.generated_here, sealed_components()) == ("active", False, 0)
    assert AuditEvent.objects.filter(action="key.enter_component", outcome="success").count() == count


def test_they_make_it_at_a_provider(far, there, tree):
    ceremony = Ceremony(tree, provider="far")
    assert ceremony.enter_all().state == "handed"
    assert work(ceremony.row.key, "import").state == "done"
    transfer_tick()
    ceremony.row.refresh_from_db()
    assert ceremony.row.state == "done"
    assert [held.material for held in there.keys.values()] == [ceremony.key]


def test_a_wrong_component_is_named_at_once(tree):
    ceremony = Ceremony(tree)
    ceremony.enter(1)
    with pytest.raises(ValidationFailed, match="Component 2 is wrong"):
        ceremony.enter(2, component=ceremony.parts[2])
    with pytest.raises(ValidationFailed, match="Component 2 has another length"):
        ceremony.enter(2, component=SecretBytes(b"1" * 31))
    for number in (0, 4):
        with pytest.raises(ValidationFailed):
            ceremony.enter(number, person=custodian("X"), component=ceremony.parts[0])
    assert KeyComponent.objects.count() == 1
    ceremony.enter(2)
    ceremony.enter(3)
    import_work(str(ceremony.row.pk))
    ceremony.row.refresh_from_db()
    assert ceremony.row.state == "done"


def test_components_of_another_key_are_found_out_and_erased(tree):
    ceremony = Ceremony(tree, whole="A1B2C3")
    done = ceremony.enter_all()
    assert done.state == "failed"
    assert "one of them belongs to another key" in done.last_error
    assert (sealed_components(), done.key.versions.count()) == (0, 0)
    again = imports.open_import(
        actor=tree.officer, key_id=done.key_id, method="components", reason="Again", component_values=ceremony.values,
        check_value=keycheck.check_value(ALGORITHM, ceremony.key).hex(),
    )  # fmt: skip
    ceremony.row = again
    assert ceremony.enter_all().state == "done"


def test_nobody_enters_two_and_the_one_who_opened_it_none(tree, officer, auditor, service):
    ceremony = Ceremony(tree)
    ceremony.enter(1)
    with pytest.raises(PermissionRefused, match="nobody enters two"):
        ceremony.enter(2, person=ceremony.people[0])
    with pytest.raises(PermissionRefused, match="Whoever opened"):
        ceremony.enter(2, person=officer)
    with pytest.raises(Conflict, match="entered already"):
        ceremony.enter(1, person=custodian("Another"))
    for actor in (auditor, service):
        with pytest.raises(PermissionRefused):
            ceremony.enter(2, person=actor)
    elsewhere = actor_of(Role.CUSTODIAN, "Elsewhere", custodian("x").id)
    with pytest.raises(PermissionRefused):
        ceremony.enter(2, person=elsewhere)
    other_officer = actor_of(Role.SECURITY_OFFICER, "Other Officer")
    ceremony.enter(2, person=other_officer)


def test_the_policy_may_let_the_one_who_opened_it(tree, officer):
    ceremony = Ceremony(tree)
    policy = ceremony.row.key.policy
    assert lifecycle.policies.weakens(
        lifecycle.policies.values_of(policy),
        lifecycle.policies.changed(lifecycle.policies.values_of(policy), {"initiator_may_enter": True}),
    ) == ["initiator_may_enter"]
    policy.initiator_may_enter = True
    policy.save()
    ceremony.enter(1, person=officer)


def test_a_token_enters_nothing(tree):
    from dataclasses import replace

    ceremony = Ceremony(tree)
    with pytest.raises(PermissionRefused, match="not by programs"):
        ceremony.enter(1, person=replace(custodian("Token"), token_id=custodian("x").id))


def test_abort_and_expiry_erase_everything(tree, officer):
    ceremony = Ceremony(tree)
    ceremony.enter(1)
    ceremony.enter(2)
    assert sealed_components() == 2
    imports.abort_import(actor=officer, import_id=ceremony.row.pk, reason="A custodian fell ill")
    assert sealed_components() == 0
    with pytest.raises(WrongState):
        ceremony.enter(3)
    ceremony.row = imports.open_import(
        actor=officer, key_id=ceremony.row.key_id, method="components", reason="Again", component_values=ceremony.values,
        check_value="A1B2C3",
    )  # fmt: skip
    ceremony.enter(1)
    KeyImport.objects.filter(pk=ceremony.row.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(ImportExpired):
        ceremony.enter(2)
    transfer_tick()
    assert sealed_components() == 0
    with pytest.raises(PermissionRefused):
        imports.abort_import(actor=custodian("x"), import_id=ceremony.row.pk, reason="No right")


def test_the_database_lets_nobody_in_twice(tree):
    ceremony = Ceremony(tree)
    ceremony.enter(1)
    again = {"key_import": ceremony.row, "person_label": "x"}
    for values in ({"number": 2, "person_id": ceremony.people[0].id}, {"number": 1, "person_id": custodian("x").id}):
        with pytest.raises(IntegrityError), transaction.atomic():
            KeyComponent.objects.create(**again, **values)


def test_no_component_is_readable_anywhere(tree, caplog):
    ceremony = Ceremony(tree)
    ceremony.enter(1)
    ceremony.enter(2)
    with pytest.raises(ValidationFailed) as caught:
        ceremony.enter(3, component=SecretBytes(ceremony.parts[2].reveal()[::-1]))
    before = dump()
    ceremony.enter(3)
    import_work(str(ceremony.row.pk))
    held = before + dump() + caplog.text.encode() + repr(caught.value.extra).encode()
    for part in [*ceremony.parts, ceremony.key]:
        for form in (part.reveal(), part.reveal().hex().encode(), part.reveal()[::-1].hex().encode()):
            assert form not in held
