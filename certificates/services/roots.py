"""A root authority founded in a ceremony: its key is made before witnesses, then signs its own certificate there and then.

The ceremony is the agreement, bound to the subject; nothing here asks for another one.
"""

from hashlib import sha256
from typing import Any
from uuid import UUID

from certificates import issuance
from certificates.csr import refused
from certificates.models import Authority
from certificates.services.authorities import (
    CREATE,
    STRONGER,
    Plan,
    check,
    draft_of,
    insert,
    new_row,
    ring_of,
    sign_authority,
    target_of,
)
from certificates.services.reading import issuer_of
from certificates.services.signers import public_key_of
from certificates.services.weaknesses import weakness_of_authority
from keys.models import Key
from keys.services import creation
from keys.states import VersionState
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals.held_acts import NotYet, Subject
from keyvault_portal.audit import services as audit

CEREMONY_LABEL = "made-in-ceremony"


def may_found(*, actor: Actor, subject: Subject) -> UUID:
    """The ring of the root, when its name is free there, its algorithm good enough, and the actor may make keys and authorities in it."""
    plan = plan_of(subject, "")
    ring = ring_of(plan)
    for permission in (Permission.AUTHORITY_MANAGE, Permission.KEY_CREATE):
        authorize(actor, permission, ring_id=ring.pk, target=f"ring {ring.name}")
    if (
        Authority.objects.filter(name=plan.name).exists()
        or Key.objects.filter(ring=ring, name=_key_name(subject)).exists()
    ):
        raise refused("name", "An authority of this name, or its key, exists already.")
    if weak := weakness_of_authority(str(subject["algorithm"])):
        raise refused("algorithm", f"{weak} {STRONGER}")
    return ring.pk


def make_root_key(*, actor: Actor, subject: Subject, ceremony_id: UUID) -> dict[str, Any]:
    """The key of the root, made at its provider; asked again, the same one. Raises NotYet while the provider is at work."""
    key = _key_of(ceremony_id)
    if key is None:
        key = creation.create_key(
            actor=actor, ring=ring_of(plan_of(subject, "")), name=_key_name(subject), title=f"Key of {subject['title']}"[:150],
            kind="transport", algorithm=str(subject["algorithm"]), provider=str(subject["provider"]),
            parent=Key.objects.filter(pk=subject["parent"]).first(), labels={CEREMONY_LABEL: str(ceremony_id)},
        )  # fmt: skip
    version = key.current
    if version is None or version.state is not VersionState.ACTIVE or not public_key_of(version):
        raise NotYet("The provider makes the key.", hint="Ask again in a moment.")
    return {
        "key": str(key.pk), "provider": key.provider, "algorithm": key.algorithm,
        "public_key_sha256": sha256(public_key_of(version)).hexdigest(),
    }  # fmt: skip


def found_root(*, actor: Actor, subject: Subject, ceremony_id: UUID) -> dict[str, Any]:
    """The authority with its certificate, checked against its profile and signed by its own key; asked again, the same one.

    Raises NotYet before its key is there, LintFailed, and what the provider says.
    """
    key = _key_of(ceremony_id)
    if key is None:
        raise NotYet("The key was not made yet.")
    authority = Authority.objects.filter(key=key).first() or _founded(actor, plan_of(subject, str(key.pk)), ceremony_id)
    if authority.certificate_id is None:
        authority = sign_authority(authority.pk)
    row = authority.certificate
    assert row is not None  # it was signed
    return {
        "authority": str(authority.pk), "subject": row.subject, "serial": row.serial, "fingerprint": row.fingerprint,
        "not_after": row.not_after.isoformat(),
    }  # fmt: skip


def _founded(actor: Actor, plan: Plan, ceremony_id: UUID) -> Authority:
    with audit.atomic(actor=actor, action=CREATE, target=("authority", "", plan.name)) as act:
        ring = ring_of(plan)
        act.about(ring_id=ring.pk)
        authorize(actor, Permission.AUTHORITY_MANAGE, ring_id=ring.pk, target=f"ring {ring.name}")
        authority = new_row(actor, plan, ring, None, check(plan, None))
        issuance.prepare(draft_of(authority), issuer_of(authority))
        insert(authority)
        act.about(target=target_of(authority))
        act.record({"plan": plan.as_dict(), "ceremony": str(ceremony_id)})
    return authority


def plan_of(subject: Subject, key_id: str) -> Plan:
    """What the ceremony was planned for, as a plan of an authority; a root issues authorities below it and nothing else."""
    return Plan(
        ring_id=str(subject["ring"]), name=str(subject["name"]), title=str(subject["title"]), key_id=key_id,
        organization=str(subject["organization"]), days=int(subject["days"]), crl_hours=int(subject["crl_hours"]),
    )  # fmt: skip


def _key_name(subject: Subject) -> str:
    return f"{subject['name']}-root-key"


def _key_of(ceremony_id: UUID) -> Key | None:
    return Key.objects.select_related("current").filter(labels__contains={CEREMONY_LABEL: str(ceremony_id)}).first()
