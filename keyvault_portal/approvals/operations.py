"""The acts that this app itself puts up for agreement: changes of who decides, and a key to sign acts with."""

import logging
from typing import Any, ClassVar
from uuid import UUID

from django.db import connection
from django.urls import reverse

from keyvault_portal.accounts import services as accounts
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.models import KeyRing, Person, RoleBinding
from keyvault_portal.accounts.permissions import DECIDING_ROLES, Permission, Role
from keyvault_portal.approvals import services, signing_keys
from keyvault_portal.approvals.eligibility import eligible_people
from keyvault_portal.approvals.quorum import Group
from keyvault_portal.approvals.registry import Act, digest, operation
from keyvault_portal.approvals.services import POLICY_VERSION
from keyvault_portal.audit.canonical import dumps
from keyvault_portal.errors import NotFound

logger = logging.getLogger(__name__)


class _OfPerson:
    """What the acts below have in common: their target is a person as known now, with every role held."""

    name: ClassVar[str]

    def act(self, params: dict[str, Any], person: Person, consequences: list[str], ring: KeyRing | None = None) -> Act:
        state = {
            "email": person.email, "name": person.name, "kind": str(person.kind), "active": person.is_active,
            "roles": sorted(f"{binding.role}@{binding.ring_id or '*'}" for binding in person.bindings.all()),
        }  # fmt: skip
        return Act(
            operation=self.name, params=params, target_type="person", target_id=str(person.pk), target_label=f"{person} <{person.email}>",
            target_version=digest(dumps(state)), ring_id=ring.pk if ring else None, policy_version=POLICY_VERSION, consequences=consequences,
        )  # fmt: skip


@operation(accounts.BIND_ROLE, permission=Permission.PERSON_MANAGE, title="Give a role")
class BindRole(_OfPerson):
    """Params: person_id, role, ring_id (null: on everything)."""

    def build_act(self, params: dict[str, Any]) -> Act:
        person, ring, role = _person(params), _ring(params), Role(params["role"])
        held = f"Roles held until now: {person.bindings.count()}."
        return self.act(params, person, [f"{person} becomes {role.label.lower()} {accounts.where(ring)}.", held], ring)

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        person, ring = _person(params), _ring(params)
        accounts.bind_role(actor=actor, person=person, role=params["role"], ring=ring, approval_id=request_id)
        return _page(person)


@operation(accounts.UNBIND_ROLE, permission=Permission.PERSON_MANAGE, title="Take a role away")
class UnbindRole(_OfPerson):
    """Params: binding_id."""

    def build_act(self, params: dict[str, Any]) -> Act:
        binding = _binding(params)
        role = Role(binding.role).label.lower()
        lost = f"{binding.person} is {role} {accounts.where(binding.ring)} no longer, in open sessions and with every token."
        return self.act(params, binding.person, [lost, _left(binding)], binding.ring)

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        binding = _binding(params)
        accounts.unbind_role(actor=actor, binding=binding, approval_id=request_id)
        return _page(binding.person)


@operation(accounts.DEACTIVATE, permission=Permission.PERSON_MANAGE, title="Deactivate a person")
class Deactivate(_OfPerson):
    """Params: person_id."""

    def build_act(self, params: dict[str, Any]) -> Act:
        person = _person(params)
        decided = [binding for binding in person.bindings.all() if binding.role in DECIDING_ROLES]
        out = f"{person} is kept out: sessions end at once, tokens and links are refused."
        return self.act(params, person, [out, *map(_left, decided)])

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        return _page(accounts.deactivate_person(actor=actor, person=_person(params), approval_id=request_id))


@operation(accounts.REACTIVATE, permission=Permission.PERSON_MANAGE, title="Reactivate a person")
class Reactivate(_OfPerson):
    """Params: person_id."""

    def build_act(self, params: dict[str, Any]) -> Act:
        person = _person(params)
        held = [
            f"{Role(binding.role).label.lower()} {accounts.where(binding.ring)}" for binding in person.bindings.all()
        ]
        return self.act(params, person, [f"{person} may sign in again, as {', '.join(sorted(held)) or 'nobody'}."])

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        return _page(accounts.reactivate_person(actor=actor, person=_person(params), approval_id=request_id))


@operation(accounts.CHANGE_ADDRESS, permission=Permission.PERSON_MANAGE, title="Change a person's address")
class ChangeAddress(_OfPerson):
    """Params: person_id, email, and name, site and reporting_line as they are to be."""

    def build_act(self, params: dict[str, Any]) -> Act:
        person = _person(params)
        moved = f"{person} signs in as {params['email']} from then on, and is mailed there."
        return self.act(params, person, [moved, f"Whoever reads that mail can set {person}'s password."])

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        person = _person(params)
        values = {name: value for name, value in params.items() if name != "person_id"}
        try:
            accounts.update_person(actor=actor, person=person, approval_id=request_id, **values)
        except accounts.MailUnavailable as unsent:  # what was agreed to is done all the same
            logger.warning("%s", unsent.detail)
        return _page(person)


@operation(signing_keys.ADD_KEY, permission=Permission.APPROVAL_DECIDE, title="Register a signing key")
class AddSigningKey:
    """Params: person_id, name, kind, public_key, fingerprint, ring_id (on which the person decides; null: on everything)."""

    def build_act(self, params: dict[str, Any]) -> Act:
        person = signing_keys.owner_of(params)
        held = sorted(key.fingerprint for key in signing_keys.keys_of(person.pk))
        return Act(
            operation=signing_keys.ADD_KEY, params=params, target_type="person", target_id=str(person.pk), target_label=f"{person} <{person.email}>",
            target_version=digest(dumps(held)), ring_id=UUID(params["ring_id"]) if params["ring_id"] else None, policy_version=POLICY_VERSION,
            consequences=[
                f"What the key {params['fingerprint']} signs counts as signed by {person}.",
                "Compare this fingerprint with the one that the owner reads to you.",
            ],
        )  # fmt: skip

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        signing_keys.add_key(actor=actor, params=params, approval_id=request_id)
        return {}


def deciders_gate(wish: accounts.Wish) -> None:
    """Raise ApprovalRequired: who decides is changed by two other officers, or by as many as there are.

    Returns without asking once they agreed, and while the requester is the single officer: the founder makes the second one.
    """
    services.need_officers(
        wish.actor, wish.operation, wish.params, ring_id=wish.ring_id, reason=wish.reason, approval_id=wish.approval_id,
        about=wish.about.pk,
    )  # fmt: skip


def _left(binding: RoleBinding) -> str:
    """How many decide in the same place without this person, in a sentence."""
    group = Group(binding.role, 1, binding.ring_id)
    left = len(eligible_people([group], besides=binding.person_id))
    return f"Others who can agree as {Role(binding.role).label.lower()} {accounts.where(binding.ring)} from then on: {left}."


def _page(person: Person) -> dict[str, Any]:
    return {"url": reverse("accounts:person-detail", args=[person.pk])}


def _binding(params: dict[str, Any]) -> RoleBinding:
    binding = RoleBinding.objects.select_related("ring").filter(pk=params["binding_id"]).first()
    if binding is None:
        raise NotFound("This role was taken away already.")
    binding.person = _person({"person_id": binding.person_id})
    return binding


def _person(params: dict[str, Any]) -> Person:
    """Whom it is about, held from the comparison with what was agreed to until it is done."""
    person = Person.objects.filter(pk=params["person_id"]).first()
    if person is None:
        raise NotFound("There is no such person.")
    return accounts.locked(person) if connection.in_atomic_block else person


def _ring(params: dict[str, Any]) -> KeyRing | None:
    if params["ring_id"] is None:
        return None
    ring = KeyRing.objects.filter(pk=params["ring_id"]).first()
    if ring is None:
        raise NotFound("There is no such ring.")
    return ring
