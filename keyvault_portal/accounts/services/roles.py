"""Key rings, and who holds which role on them."""

from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.models import KeyRing, Person, RoleBinding
from keyvault_portal.accounts.permissions import DECIDING_ROLES, Permission, Role
from keyvault_portal.accounts.services.agreement import BIND_ROLE, UNBIND_ROLE, Wish, need_agreement
from keyvault_portal.accounts.services.officers import lock_officers, refuse_without_officer
from keyvault_portal.accounts.services.people import locked
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict, PermissionRefused, ValidationFailed, WrongState

HUMAN_ROLES = frozenset({Role.SECURITY_OFFICER, Role.CUSTODIAN})


def bind_role(
    *, actor: Actor, person: Person, role: str, ring: KeyRing | None = None, approval_id: UUID | None = None
) -> RoleBinding:
    """Give `person` a role on `ring`, or on everything; asks for person.manage there.

    For a role that decides, others must agree first. Nobody gives themselves a role. Raises ApprovalRequired, Conflict when
    the role is held already, ValidationFailed for a role that this kind of account cannot hold.
    """
    role = Role(role)
    ring_id = ring.pk if ring else None
    with audit.atomic(actor=actor, action="role.bind", target=_target(person), ring_id=ring_id) as act:
        authorize(actor, Permission.PERSON_MANAGE, ring_id=ring_id, target=str(ring or "everything"))
        person = locked(person)
        lock_officers()
        if not person.is_active:
            raise WrongState(f"{person} is inactive.")
        if person.kind == Person.Kind.SERVICE and role in HUMAN_ROLES:
            raise ValidationFailed(errors={"role": ["A service account cannot hold this role."]})
        if RoleBinding.objects.filter(person=person, role=role, ring=ring).exists():
            raise _held_already(person, role)
        if role in DECIDING_ROLES:
            need_agreement(Wish(
                actor, BIND_ROLE, {"person_id": str(person.pk), "role": role.value, "ring_id": str(ring_id) if ring_id else None},
                about=person, ring_id=ring_id, reason=f"{person} is to become {role.label.lower()} {where(ring)}.", approval_id=approval_id,
            ))  # fmt: skip
        if approval_id is None and person.pk == actor.id:
            raise PermissionRefused("Nobody gives themselves a role.", hint="Ask another security officer.")
        try:
            with transaction.atomic():
                binding = RoleBinding.objects.create(person=person, role=role, ring=ring, created_by=actor.label)
        except IntegrityError:
            raise _held_already(person, role) from None
        act.record({"role": role.value, "approval": str(approval_id) if approval_id else None})
    return binding


def unbind_role(*, actor: Actor, binding: RoleBinding, approval_id: UUID | None = None) -> None:
    """Take a role away; asks for person.manage on its ring.

    For a role that decides, others must agree first, unless it is one's own. Raises ApprovalRequired, WrongState for the last
    active security officer.
    """
    person, role, ring_id = binding.person, Role(binding.role), binding.ring_id
    with audit.atomic(actor=actor, action="role.unbind", target=_target(person), ring_id=ring_id) as act:
        authorize(actor, Permission.PERSON_MANAGE, ring_id=ring_id, target=str(binding.ring or "everything"))
        person = locked(person)
        lock_officers()
        if role == Role.SECURITY_OFFICER and ring_id is None:
            refuse_without_officer(person.pk)
        if role in DECIDING_ROLES and person.pk != actor.id:
            reason = f"{person} is to be {role.label.lower()} {where(binding.ring)} no longer."
            need_agreement(Wish(
                actor, UNBIND_ROLE, {"binding_id": str(binding.pk)}, about=person, ring_id=ring_id, reason=reason, approval_id=approval_id,
            ))  # fmt: skip
        RoleBinding.objects.filter(pk=binding.pk).delete()
        act.record({"role": binding.role, "approval": str(approval_id) if approval_id else None})


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


def where(ring: KeyRing | None) -> str:
    """Where a role is held, as it stands in a sentence."""
    return f"on {ring.title}" if ring else "on everything"


def _held_already(person: Person, role: Role) -> Conflict:
    return Conflict(f"{person} holds the role {role.label} there already.")


def _validate(ring: KeyRing) -> None:
    try:
        ring.full_clean()
    except ValidationError as error:
        raise ValidationFailed(errors=error.message_dict) from None


def _target(person: Person) -> tuple[str, object, str]:
    return ("person", person.pk, str(person))
