"""Making authorities: roots, intermediates and existing CAs brought in; their certificates are signed by a task."""

import ipaddress
import re
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from certificates import issuance
from certificates.csr import refused
from certificates.issuance import BACKDATE, Draft, new_serial
from certificates.models import Authority, Certificate
from certificates.names import NameRules, complaint
from certificates.profiles import LEAF_PROFILES, PROFILES, titles_of
from certificates.services import crls, grants
from certificates.services.reading import issuer_of
from certificates.services.signers import places_of, public_key_of
from certificates.services.weaknesses import weakness_of_authority
from certificates.signing import Signer
from certificates.states import AUTHORITY_MOVES, AuthorityState
from keys.crypto.algorithms import ALGORITHMS, Kind
from keys.models import Key, KeyVersion
from keys.services import key_views
from keys.states import VersionState
from keyvault_portal.accounts.actors import Actor, authorize, system_actor
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals import services as approvals
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict, NotFound, ValidationFailed, WrongState
from keyvault_portal.jobs import enqueue_on_commit

CREATE = "authority.create"
STRONGER = "Make a key with ECDSA, RSA of 3,072 bits or more, Ed25519 or ML-DSA."
_SYSTEM = system_actor("certification authority", Permission.AUTHORITY_MANAGE)
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Plan:
    """An authority as somebody wants it; plain values, because an approval binds them all."""

    ring_id: str
    name: str
    title: str
    key_id: str
    parent_id: str | None = None  # None: a root, which signs itself
    organization: str = ""
    days: int = 1826
    path_length: int | None = None
    profiles: list[str] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)
    max_days: int | None = None
    crl_hours: int = 168
    crl_partitions: int = 1
    delta_crls: bool = False

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def target_of(authority: Authority) -> tuple[str, object, str]:
    """How the record names an authority."""
    return ("authority", authority.pk, authority.name)


def create_authority(*, actor: Actor, plan: Plan, reason: str = "", approval_id: UUID | None = None) -> Authority:
    """Make an authority whose certificate its issuer then signs; it is pending until that is done.

    Two other security officers must agree, or as many as there are. Raises PermissionRefused, ValidationFailed naming
    every field at fault, Conflict (name or key taken), WrongState (the parent does not issue), ApprovalRequired.
    """
    with audit.atomic(actor=actor, action=CREATE, target=("authority", "", plan.name)) as act:
        ring = ring_of(plan)
        act.about(ring_id=ring.pk)
        authorize(actor, Permission.AUTHORITY_MANAGE, ring_id=ring.pk, target=f"ring {ring.name}")
        parent = parent_of(actor, plan)
        plan = _with_path_length(plan, parent)
        version = check(plan, parent)
        authority = new_row(actor, plan, ring, parent, version)
        issuance.prepare(draft_of(authority), issuer_of(parent or authority))  # before anybody is asked to agree to it
        params = {"plan": plan.as_dict(), "reason": reason}
        approvals.need_officers(actor, CREATE, params, ring_id=ring.pk, reason=reason, approval_id=approval_id)
        insert(authority)
        act.about(target=target_of(authority))
        act.record({"plan": plan.as_dict(), "key_version": version.key_version, "reason": reason})
        _sign_later(authority)
    return authority


def _sign_later(authority: Authority) -> None:
    from certificates.tasks import sign_authority

    enqueue_on_commit(sign_authority, str(authority.pk))


def sign_authority(authority_id: UUID, *, by: Signer | None = None) -> Authority:
    """Have a pending authority's certificate signed by its issuer, or by itself for a root, and put it to work.

    A ceremony that holds the issuer's key elsewhere passes a signer of its own: it is given the to-be-signed bytes after
    they were linted and granted, and its signature is checked. Raises NotFound, WrongState (not pending), LintFailed,
    WrongSignature, ProviderUnavailable.
    """
    authority = _load(authority_id)
    above = authority.parent or authority
    with audit.atomic(actor=_SYSTEM, action="authority.sign", target=target_of(authority), ring_id=authority.ring_id):
        _still_pending(authority)
        issuer = issuer_of(above)
        [granted] = grants.write(_SYSTEM, above, issuer, [(draft_of(authority), _row(authority))])
    [raw] = grants.redeem(_SYSTEM, above, issuer, [granted], by=by)
    with audit.atomic(
        actor=_SYSTEM, action="authority.sign", target=target_of(authority), ring_id=authority.ring_id
    ) as act:
        _still_pending(authority)  # or another worker was faster: this grant is then swept up as lost
        [row] = grants.store(above, [granted], [raw])
        if authority.parent is None:
            Certificate.objects.filter(pk=row.pk).update(issued_under=row)
        activate(authority, row)
        act.record({"serial": row.serial, "fingerprint": row.fingerprint, "tbs_sha256": granted.prepared.digest})
    return authority


def _still_pending(authority: Authority) -> None:
    locked = Authority.objects.select_for_update().get(pk=authority.pk)
    if locked.state != AuthorityState.PENDING.value or locked.certificate_id is not None:
        raise WrongState(f"{authority} has its certificate.", state=locked.state)


def activate(authority: Authority, row: Certificate) -> None:
    """Put an authority with its certificate to work, in the caller's transaction; its first CRL is due at once."""
    move(authority, AuthorityState.ACTIVE)
    authority.certificate, authority.next_crl_at = row, timezone.now()
    authority.save(update_fields=["state", "certificate", "next_crl_at"])
    crls.publish_later(authority)


def move(authority: Authority, to: AuthorityState) -> None:
    """Change the state in memory, if the table allows it; raises WrongState."""
    _check_move(authority, to)
    authority.state = to.value


def check_switch(authority: Authority, to: AuthorityState) -> None:
    """Raise WrongState unless it may be retired, resumed or revoked now; what never came into service is none of these."""
    if authority.state == AuthorityState.PENDING.value:
        raise WrongState(f"{authority} has not come into service yet.", state=authority.state)
    _check_move(authority, to)


def _check_move(authority: Authority, to: AuthorityState) -> None:
    if authority.state == to.value:
        raise WrongState(f"{authority} is {authority.state} already.", state=authority.state)
    if to not in AUTHORITY_MOVES[AuthorityState(authority.state)]:
        raise WrongState(f"{authority} is {authority.state}: it cannot become {to.value}.", state=authority.state)


def retire_authority(*, actor: Actor, authority_id: UUID, reason: str) -> Authority:
    """Stop an authority from issuing; what it issued stays valid, and its CRLs and OCSP answers go on."""
    return _switch(actor, authority_id, AuthorityState.RETIRED, "authority.retire", reason)


def resume_authority(*, actor: Actor, authority_id: UUID, reason: str) -> Authority:
    """Let a retired authority issue again."""
    return _switch(actor, authority_id, AuthorityState.ACTIVE, "authority.resume", reason)


def _switch(actor: Actor, authority_id: UUID, to: AuthorityState, action: str, reason: str) -> Authority:
    with audit.atomic(actor=actor, action=action, target=("authority", authority_id, "")) as act:
        authority = locked_authority(authority_id)
        act.about(target=target_of(authority), ring_id=authority.ring_id)
        authorize(actor, Permission.AUTHORITY_MANAGE, ring_id=authority.ring_id, target=f"authority {authority.name}")
        check_switch(authority, to)
        move(authority, to)
        authority.save(update_fields=["state"])
        act.record({"state": authority.state, "reason": reason})
    return authority


def locked_authority(authority_id: UUID) -> Authority:
    """The authority, locked; raises NotFound."""
    rows = Authority.objects.select_for_update(of=("self",)).select_related(
        "ring", "key_version__key", "key", "certificate"
    )
    found = rows.filter(pk=authority_id).first()
    if found is None:
        raise NotFound("There is no such authority.")
    return found


def consequences(plan: Plan) -> list[str]:
    """What approvers of a new authority should know."""
    parent = Authority.objects.filter(pk=plan.parent_id).first() if plan.parent_id else None
    allowed = ", ".join(
        f"{kind}: {', '.join(values)}"
        for kind, values in NameRules.parse(plan.names).as_dict().items()
        if kind != "wildcards" and values
    )
    return [
        f"{plan.title} can certify until {timezone.now() + timedelta(days=plan.days):%-d %B %Y}.",
        f"It is trusted by whoever trusts {parent}."
        if parent
        else "It is a root: nobody trusts it until they install it.",
        f"It issues: {titles_of(plan.profiles)}.",
        f"Names: {allowed or 'none of its own'}{', wildcards too' if plan.names.get('wildcards') else ''}.",
        "Its key is used for nothing else from then on.",
    ]


def ring_of(plan: Plan) -> KeyRing:
    ring = KeyRing.objects.filter(pk=plan.ring_id).first()
    if ring is None:
        raise refused("ring", "There is no such ring.")
    return ring


def parent_of(actor: Actor, plan: Plan) -> Authority | None:
    if plan.parent_id is None:
        return None
    parent = Authority.objects.select_related("certificate", "key", "key_version").filter(pk=plan.parent_id).first()
    if parent is None or not actor.can(Permission.CERTIFICATE_VIEW, parent.ring_id):
        raise refused("parent", "There is no such authority, or you may not see it.")
    authorize(actor, Permission.AUTHORITY_MANAGE, ring_id=parent.ring_id, target=f"authority {parent.name}")
    if parent.state != AuthorityState.ACTIVE.value:
        raise WrongState(f"{parent} is {parent.state}: it issues nothing.", state=parent.state)
    return parent


def check(plan: Plan, parent: Authority | None, *, brought: bool = False) -> KeyVersion:
    """The version of the key that will sign; raises ValidationFailed naming every field at fault.

    An authority that was `brought` from elsewhere keeps its algorithm, which is shown to be weak, and its life.
    """
    errors: dict[str, list[str]] = {}
    if not _NAME.fullmatch(plan.name):
        errors["name"] = ["Lower-case letters, digits and hyphens; at most 63, a letter or digit at both ends."]
    if not 1 <= len(plan.title.strip()) <= 64 or len(plan.organization) > 64:
        errors["title"] = ["The common name and the organization have at most 64 characters (RFC 5280, appendix A)."]
    profile = PROFILES["sub-ca" if parent else "root"]
    if not brought and not 1 <= plan.days <= profile.most_days(timezone.now().date()):
        errors["days"] = [f"From 1 to {profile.max_days} days."]
    elif (
        not brought and parent and parent.certificate and timezone.now() + timedelta(days=plan.days) > parent.certificate.not_after
    ):  # fmt: skip
        errors["days"] = [f"Not beyond the end of {parent}: {parent.certificate.not_after:%-d %B %Y}."]
    if unknown := sorted(set(plan.profiles) - set(LEAF_PROFILES)):
        errors["profiles"] = [f"Not a profile: {', '.join(unknown)}."]
    if plan.path_length is not None and not 0 <= plan.path_length <= 8:
        errors["path_length"] = ["From 0 to 8."]
    if wrong := wrong_rules(plan.names):
        errors["names"] = wrong
    if plan.max_days is not None and not 1 <= plan.max_days <= 3650:
        errors["max_days"] = ["From 1 to 3,650 days."]
    if not 1 <= plan.crl_hours <= 8784:
        errors["crl_hours"] = ["From 1 to 8,784 hours."]
    if not 1 <= plan.crl_partitions <= 1024:
        errors["crl_partitions"] = ["From 1 to 1,024."]
    version = _usable_version(plan, errors, brought=brought)
    if errors or version is None:
        first = next(iter(errors.values()))[0]
        raise ValidationFailed(f"The authority cannot be made. {first}", errors=errors)
    return version


def wrong_rules(names: dict[str, Any]) -> list[str]:
    """What of these name rules can be no rule."""
    wrong = []
    for kind, values in NameRules.parse(names).as_dict().items():
        if kind in {"wildcards", "ip"}:
            continue
        for value in values:
            sample = value.removeprefix(".") if kind == "dns" else value
            if kind == "email" and "@" not in value:
                kind_of_sample, sample = "dns", value.removeprefix(".")
            else:
                kind_of_sample = kind
            if kind_of_sample == "dns" and sample.startswith("*."):
                wrong.append(f"{kind}: {value} is a wildcard; write {sample[2:]}, and allow wildcards below.")
            elif value != "*" and complaint((kind_of_sample, sample.rstrip("/"))):
                wrong.append(f"{kind}: {value} is not a name that can be allowed.")
    try:
        for value in NameRules.parse(names).ip:
            if value != "*":
                ipaddress.ip_network(value)
    except ValueError as error:
        wrong.append(f"ip: {error}.")
    return wrong


def _usable_version(plan: Plan, errors: dict[str, list[str]], *, brought: bool) -> KeyVersion | None:
    key = Key.objects.select_related("current", "ring").filter(pk=plan.key_id, ring_id=UUID(plan.ring_id)).first()
    if key is None:
        errors["key"] = ["There is no such key in this ring."]
        return None
    version = key.current
    if ALGORITHMS[key.algorithm].kind is not Kind.SIGNATURE or key.kind != "transport":
        errors["key"] = ["An authority needs a transport key with a signature algorithm."]
    elif not brought and (weak := weakness_of_authority(key.algorithm)):
        errors["key"] = [f"{weak} {STRONGER}"]
    elif key.exportable:
        errors["key"] = ["A key that may be exported is no key of an authority."]
    elif version is None or version.state is not VersionState.ACTIVE or not public_key_of(version):
        errors["key"] = ["The key has no active version with a public key yet."]
    elif Authority.objects.filter(key=key).exists() or Authority.objects.filter(responder_key=key).exists():
        errors["key"] = ["The key belongs to another authority already."]
    if version is not None:
        version.key = key
    return version


def _with_path_length(plan: Plan, parent: Authority | None) -> Plan:
    """Below an authority with a path length the next one down has at most one less (RFC 5280, 4.2.1.9)."""
    if parent is None or parent.path_length is None:
        return plan
    if parent.path_length == 0:
        raise refused("parent", f"The path length of {parent} allows no authority below it.")
    if plan.path_length is None:
        return replace(plan, path_length=parent.path_length - 1)
    if plan.path_length >= parent.path_length:
        raise refused("path_length", f"Below {parent.path_length}, the path length of {parent}.")
    return plan


def new_row(actor: Actor, plan: Plan, ring: KeyRing, parent: Authority | None, version: KeyVersion) -> Authority:
    """The row of a planned authority, not stored yet."""
    return Authority(
        ring=ring, name=plan.name, title=plan.title.strip(), organization=plan.organization.strip(), parent=parent,
        kind=Authority.Kind.INTERMEDIATE if parent else Authority.Kind.ROOT, key=version.key, key_version=version, days=plan.days,
        path_length=plan.path_length, profiles=plan.profiles, names=NameRules.parse(plan.names).as_dict(), max_days=plan.max_days,
        crl_hours=plan.crl_hours, crl_partitions=plan.crl_partitions, delta_crls=plan.delta_crls, created_by=actor.label[:200],
    )  # fmt: skip


def insert(authority: Authority) -> None:
    """Store the row, and take its key out of everybody else's hands; raises Conflict for a name or key that is taken."""
    try:
        with transaction.atomic():
            authority.save(force_insert=True)
    except IntegrityError:
        raise Conflict("An authority of this name, or with this key, exists already.") from None
    key_views.forget_now_and_on_commit()


def _load(authority_id: UUID) -> Authority:
    related = (
        "ring",
        "key",
        "key_version__key",
        "certificate",
        "parent__certificate",
        "parent__key",
        "parent__key_version__key",
    )
    found = Authority.objects.select_related(*related).filter(pk=authority_id).first()
    if found is None:
        raise NotFound("There is no such authority.")
    return found


def draft_of(authority: Authority) -> Draft:
    """The certificate of an authority as its issuer is to sign it, from now on, under a fresh serial number."""
    now = timezone.now()
    end = now + timedelta(days=authority.days, seconds=-1)
    if authority.parent is not None and authority.parent.certificate is not None:
        end = min(end, authority.parent.certificate.not_after)
    serial = new_serial()
    return Draft(
        PROFILES["root" if authority.parent is None else "sub-ca"], public_key_of(authority.key_version), serial, now - BACKDATE,
        end - BACKDATE, authority.title, authority.organization, path_length=authority.path_length,
        permitted=authority.name_rules if authority.parent is not None else None,
        places=places_of(authority.parent, serial),
    )  # fmt: skip


def _row(authority: Authority) -> dict[str, Any]:
    return {
        "requested_by": authority.created_by, "key_id": authority.key_id, "key_origin": Certificate.KeyOrigin.HIERARCHY,
        "ring_id": authority.ring_id,
    }  # fmt: skip
