"""Acts of authorities that other people must agree to."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from certificates.models import Authority
from certificates.profiles import PROFILES
from certificates.renewal import revoking as at_ca
from certificates.services import authorities, bringing, issuing, revoking
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals.registry import Act, operation
from keyvault_portal.approvals.services import POLICY_VERSION
from keyvault_portal.errors import NotFound


def _authority(authority_id: str) -> Authority:
    found = Authority.objects.select_related("ring", "certificate").filter(pk=authority_id).first()
    if found is None:
        raise NotFound("There is no such authority.")
    return found


def _act(name: str, params: dict[str, Any], authority: Authority, consequences: list[str]) -> Act:
    version = f"{authority.state} {authority.certificate.fingerprint if authority.certificate else ''}".strip()
    return Act(
        operation=name, params=params, target_type="authority", target_id=str(authority.pk), target_label=f"{authority.ring.name}/{authority.name}",
        target_version=version, ring_id=authority.ring_id, policy_version=POLICY_VERSION, consequences=consequences,
    )  # fmt: skip


@operation(authorities.CREATE, permission=Permission.AUTHORITY_MANAGE, title="Create a certification authority")
class CreateAuthority:
    """A root that signs itself, or an intermediate that an authority of ours signs."""

    def build_act(self, params: dict[str, Any]) -> Act:
        plan = authorities.Plan(**params["plan"])
        taken = "taken" if Authority.objects.filter(name=plan.name).exists() else "new"
        return Act(
            operation=authorities.CREATE, params=params, target_type="authority", target_id=plan.name, target_label=plan.title, target_version=taken,
            ring_id=UUID(plan.ring_id), policy_version=POLICY_VERSION, consequences=authorities.consequences(plan),
        )  # fmt: skip

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        plan = authorities.Plan(**params["plan"])
        authority = authorities.create_authority(
            actor=actor, plan=plan, reason=params["reason"], approval_id=request_id
        )
        return {"authority": str(authority.pk), "url": f"/certificates/authorities/{authority.pk}/"}


@operation(bringing.ACTIVATE, permission=Permission.AUTHORITY_MANAGE, title="Take an existing authority into service")
class ActivateAuthority:
    """An authority whose certificate came from elsewhere begins to issue here."""

    def build_act(self, params: dict[str, Any]) -> Act:
        authority = _authority(params["authority_id"])
        return _act(bringing.ACTIVATE, params, authority, bringing.consequences(authority))

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        authority = bringing.activate_imported(
            actor=actor, authority_id=UUID(params["authority_id"]), reason=params["reason"], approval_id=request_id
        )
        return {"authority": str(authority.pk), "url": f"/certificates/authorities/{authority.pk}/"}


@operation(bringing.CROSS_SIGN, permission=Permission.AUTHORITY_MANAGE, title="Cross-sign an authority")
class CrossSign:
    """Another certificate for the name and key of an authority, so that relying parties of the signer trust it too."""

    def build_act(self, params: dict[str, Any]) -> Act:
        authority = _authority(params["authority_id"])
        return _act(
            bringing.CROSS_SIGN, params, authority, bringing.cross_consequences(authority, params["certificate"])
        )

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        grant = bringing.cross_sign(
            actor=actor, authority_id=UUID(params["authority_id"]), certificate=params["certificate"], days=params["days"],
            reason=params["reason"], approval_id=request_id,
        )  # fmt: skip
        return {"grant": str(grant.pk), "serial": grant.serial}


@operation(revoking.REVOKE_AUTHORITY, permission=Permission.AUTHORITY_MANAGE, title="Revoke an authority")
class RevokeAuthority:
    """Ends an authority, everything below it and every certificate of theirs."""

    def build_act(self, params: dict[str, Any]) -> Act:
        authority = _authority(params["authority_id"])
        return _act(revoking.REVOKE_AUTHORITY, params, authority, revoking.consequences(authority))

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        authority = revoking.revoke_authority(
            actor=actor, authority_id=UUID(params["authority_id"]), note=params["note"], approval_id=request_id
        )
        return {"authority": str(authority.pk), "url": f"/certificates/authorities/{authority.pk}/"}


@operation(at_ca.REVOKE_MANY, permission=Permission.CERTIFICATE_REVOKE, title="Revoke many certificates")
class RevokeMany:
    """All certificates of an owner, or all with one key."""

    def build_act(self, params: dict[str, Any]) -> Act:
        ring_id = UUID(params["ring_id"]) if params["ring_id"] else None
        which = params["by"], params["value"], ring_id
        count, asked = revoking.chosen(*which).count(), at_ca.chosen_at_cas(*which).count()
        why = params["reason"].replace("_", " ")
        whose = _whose(params["by"], params["value"])
        many = "1 certificate" if count == 1 else f"{count:,} certificates"
        consequences = [f"{many} {whose} end{'s' if count == 1 else ''} for good: {why}."]
        if asked:
            consequences.append(f"{asked:,} that came from CAs outside are revoked there.")
        return Act(
            operation=at_ca.REVOKE_MANY, params=params, target_type=params["by"], target_id=params["value"],
            target_label=f"certificates {whose}"[:200], target_version="", ring_id=ring_id, policy_version=POLICY_VERSION, consequences=consequences,
        )  # fmt: skip

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        ring_id = UUID(params["ring_id"]) if params["ring_id"] else None
        done = at_ca.revoke_many(
            actor=actor, by=params["by"], value=params["value"], ring_id=ring_id, reason=params["reason"], note=params["note"],
            approval_id=request_id,
        )  # fmt: skip
        return asdict(done)


def _whose(by: str, value: str) -> str:
    """Which certificates a mass revocation means, in words for those who agree to it."""
    if by == "key":
        return f"with the key {value}"
    person = Person.objects.filter(pk=value).first()
    return f"of {person} <{person.email}>" if person is not None else f"of {value}"


@operation(issuing.ISSUE, permission=Permission.CERTIFICATE_ISSUE, title="Issue a certificate")
class IssueCertificate:
    """A certificate of a profile that wants agreement, such as code signing."""

    def build_act(self, params: dict[str, Any]) -> Act:
        authority = _authority(params["authority_id"])
        order = issuing.Order.parse(params["order"])
        names = ", ".join(value for _, value in order.wanted.names) or order.wanted.common_name
        consequences = [f"{authority} certifies {names} for {PROFILES[order.profile].title.lower()}."]
        return _act(issuing.ISSUE, params, authority, consequences)

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        order = issuing.Order.parse(params["order"])
        grant = issuing.issue_agreed(actor=actor, authority_id=UUID(params["authority_id"]), order=order)
        return {"grant": str(grant.pk), "serial": grant.serial}
