"""The acts that this app itself puts up for agreement: making somebody a security officer, and a key to sign acts with."""

from typing import Any
from uuid import UUID

from django.urls import reverse

from keyvault_portal.accounts import services as accounts
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.models import KeyRing, Person, RoleBinding
from keyvault_portal.accounts.permissions import Permission, Role
from keyvault_portal.approvals import services, signing_keys
from keyvault_portal.approvals.registry import Act, digest, operation
from keyvault_portal.approvals.services import POLICY_VERSION
from keyvault_portal.audit.canonical import dumps
from keyvault_portal.errors import NotFound

BIND_ROLE = "person.bind_role"


@operation(BIND_ROLE, permission=Permission.PERSON_MANAGE, title="Give a role")
class BindRole:
    """Params: person_id, role, ring_id (null: on everything)."""

    def build_act(self, params: dict[str, Any]) -> Act:
        person, ring = _person(params), _ring(params)
        role = Role(params["role"])
        held = sorted(
            f"{held}@{where or '*'}"
            for held, where in RoleBinding.objects.filter(person=person).values_list("role", "ring_id")
        )
        state = {
            "email": person.email,
            "name": person.name,
            "kind": str(person.kind),
            "active": person.is_active,
            "roles": held,
        }
        where = f"on {ring.title}" if ring else "on everything"
        return Act(
            operation=BIND_ROLE, params=params, target_type="person", target_id=str(person.pk), target_label=f"{person} <{person.email}>",
            target_version=digest(dumps(state)), ring_id=ring.pk if ring else None, policy_version=POLICY_VERSION,
            consequences=[f"{person} becomes {role.label.lower()} {where}.", f"Roles held until now: {len(held)}."],
        )  # fmt: skip

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        person = _person(params)
        accounts.bind_role(actor=actor, person=person, role=params["role"], ring=_ring(params), approved_by=request_id)
        return {"url": reverse("accounts:person-detail", args=[person.pk])}


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


def officer_gate(actor: Actor, person: Person, ring: KeyRing | None) -> None:
    """Raise ApprovalRequired: an officer is made by two others, or by as many as there are.

    Returns without asking only while the requester is the single officer: the founder makes the second one, for the record.
    """
    params = {
        "person_id": str(person.pk), "role": Role.SECURITY_OFFICER.value, "ring_id": str(ring.pk) if ring else None,
    }  # fmt: skip
    services.need_officers(
        actor, BIND_ROLE, params, ring_id=ring.pk if ring else None, approval_id=None,
        reason=f"{person} is to become security officer {f'on {ring}' if ring else 'on everything'}.",
    )  # fmt: skip


def _person(params: dict[str, Any]) -> Person:
    person = Person.objects.filter(pk=params["person_id"]).first()
    if person is None:
        raise NotFound("There is no such person.")
    return person


def _ring(params: dict[str, Any]) -> KeyRing | None:
    if params["ring_id"] is None:
        return None
    ring = KeyRing.objects.filter(pk=params["ring_id"]).first()
    if ring is None:
        raise NotFound("There is no such ring.")
    return ring
