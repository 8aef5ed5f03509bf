"""Key rings, and who holds which role on them."""

from collections.abc import Callable
from typing import NoReturn
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.models import KeyRing, Person, RoleBinding
from keyvault_portal.accounts.permissions import Permission, Role
from keyvault_portal.accounts.services.officers import lock_officers, refuse_without_officer
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict, PermissionRefused, ValidationFailed, WrongState

HUMAN_ROLES = frozenset({Role.SECURITY_OFFICER, Role.CUSTODIAN})

OfficerGate = Callable[[Actor, Person, KeyRing | None], NoReturn]
_officer_gate: list[OfficerGate] = []


def register_officer_gate(gate: OfficerGate) -> None:
    """Have `gate(actor, person, ring)` called for every wish to make an officer; it raises ApprovalRequired.

    Agreement is built on top of this app, so it plugs itself in here; without it nobody can be made an officer.
    """
    _officer_gate[:] = [gate]


def bind_role(
    *, actor: Actor, person: Person, role: str, ring: KeyRing | None = None, approved_by: UUID | None = None
) -> RoleBinding:
    """Give `person` a role on `ring`, or on everything; asks for person.manage there.

    To make a security officer other people must agree: `approved_by` is the executed approval, and without one the
    officer gate raises ApprovalRequired. Nobody gives themselves a role. Raises Conflict when the role is held already,
    ValidationFailed for a role that this kind of account cannot hold.
    """
    role = Role(role)
    ring_id = ring.pk if ring else None
    with audit.atomic(actor=actor, action="role.bind", target=_target(person), ring_id=ring_id) as act:
        authorize(actor, Permission.PERSON_MANAGE, ring_id=ring_id, target=str(ring or "everything"))
        if not person.is_active:
            raise WrongState(f"{person} is inactive.")
        if person.kind == Person.Kind.SERVICE and role in HUMAN_ROLES:
            raise ValidationFailed(errors={"role": ["A service account cannot hold this role."]})
        if RoleBinding.objects.filter(person=person, role=role, ring=ring).exists():
            raise _held_already(person, role)
        if approved_by is None:
            if role == Role.SECURITY_OFFICER:
                _ask_for_agreement(actor, person, ring)
            if person.pk == actor.id:
                raise PermissionRefused("Nobody gives themselves a role.", hint="Ask another security officer.")
        lock_officers()
        try:
            with transaction.atomic():
                binding = RoleBinding.objects.create(person=person, role=role, ring=ring, created_by=actor.label)
        except IntegrityError:
            raise _held_already(person, role) from None
        act.record({"role": role.value, "approval": str(approved_by) if approved_by else None})
    return binding


def unbind_role(*, actor: Actor, binding: RoleBinding) -> None:
    """Take a role away; asks for person.manage on its ring. Raises WrongState for the last active security officer."""
    person = binding.person
    with audit.atomic(actor=actor, action="role.unbind", target=_target(person), ring_id=binding.ring_id) as act:
        authorize(actor, Permission.PERSON_MANAGE, ring_id=binding.ring_id, target=str(binding.ring or "everything"))
        lock_officers()
        if binding.role == Role.SECURITY_OFFICER and binding.ring_id is None:
            refuse_without_officer(person.pk)
        RoleBinding.objects.filter(pk=binding.pk).delete()
        act.record({"role": binding.role})


def create_ring(*, actor: Actor, name: str, title: str, description: str = "") -> KeyRing:
    """A new, empty key ring; `name` is a slug and unique. Asks for ring.manage on everything."""
    with audit.atomic(actor=actor, action="ring.create", target=("ring", "", name)) as act:
        authorize(actor, Permission.RING_MANAGE, target=name)
        ring = KeyRing(name=name, title=title, description=description)
        _validate(ring)
        ring.save(force_insert=True)
        act.record(target=("ring", ring.pk, ring.name), ring_id=ring.pk)
    return ring


def update_ring(*, actor: Actor, ring: KeyRing, title: str, description: str) -> KeyRing:
    """Change a ring's title and description; its name is part of key references and stays. Asks for ring.manage."""
    with audit.atomic(actor=actor, action="ring.edit", target=("ring", ring.pk, ring.name), ring_id=ring.pk) as act:
        authorize(actor, Permission.RING_MANAGE, ring_id=ring.pk, target=ring.name)
        ring.title, ring.description = title, description
        _validate(ring)
        ring.save(update_fields=["title", "description"])
        act.record()
    return ring


def _ask_for_agreement(actor: Actor, person: Person, ring: KeyRing | None) -> NoReturn:
    for gate in _officer_gate:
        gate(actor, person, ring)
    raise WrongState("A security officer is made by agreement, and agreement is not available.")


def _held_already(person: Person, role: Role) -> Conflict:
    return Conflict(f"{person} holds the role {role.label} there already.")


def _validate(ring: KeyRing) -> None:
    try:
        ring.full_clean()
    except ValidationError as error:
        raise ValidationFailed(errors=error.message_dict) from None


def _target(person: Person) -> tuple[str, object, str]:
    return ("person", person.pk, str(person))
