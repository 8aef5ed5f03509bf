"""Which certificates are kept alive: beginning, renewing at once, stopping; every attempt starts in `begin`."""

from collections.abc import Sequence
from hashlib import sha256
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from certificates.csr import refused
from certificates.models import AcmeSource, Certificate, DnsHook, ManagedCertificate, RenewalOrder
from certificates.names import Name, complaint
from certificates.renewal.frame import SYSTEM, act_on_managed, target_of, visible_dns_hooks, visible_sources
from certificates.renewal.states import OPEN_ORDERS, SourceState
from certificates.services.signers import purpose_of
from certificates.states import COMPROMISES
from keys.crypto.algorithms import ALGORITHMS, Kind
from keys.models import Key, KeyVersion
from keys.services import lifecycle
from keys.states import VersionState
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict, NotFound, ValidationFailed, WrongState
from keyvault_portal.jobs import enqueue_on_commit
from keyvault_portal.visible import found

MAX_NAMES = 100
Challenge = ManagedCertificate.Challenge


def obtain_certificate(
    *,
    actor: Actor,
    source_id: UUID,
    key_id: UUID,
    names: Sequence[Name],
    challenge: str,
    dns_hook_id: UUID | None = None,
    new_key: bool = True,
) -> ManagedCertificate:
    """Obtain a certificate for a transport key from an ACME CA, and keep it renewed from then on.

    Raises PermissionRefused, NotFound, ValidationFailed naming every field at fault, WrongState (the source is not
    ready), Conflict (the key has one already).
    """
    key = Key.objects.select_related("ring", "current").filter(pk=key_id).first()
    if key is None or not actor.can(Permission.KEY_VIEW, key.ring_id):
        raise NotFound("There is no such key, or you may not see it.")
    with audit.atomic(
        actor=actor, action="certificate.obtain", target=("managed_certificate", "", key.name), ring_id=key.ring_id
    ) as act:
        authorize(actor, Permission.CERTIFICATE_ISSUE, ring_id=key.ring_id, target=f"ring {key.ring.name}")
        source: AcmeSource = found(visible_sources(actor), source_id, "source")
        authorize(actor, Permission.CERTIFICATE_ISSUE, ring_id=source.ring_id, target=f"source {source.name}")
        hook: DnsHook | None = found(visible_dns_hooks(actor), dns_hook_id, "DNS hook") if dns_hook_id else None
        if hook is not None:
            authorize(actor, Permission.CERTIFICATE_ISSUE, ring_id=hook.ring_id, target=f"DNS hook {hook.name}")
        _check(key, names, challenge, hook)
        _need_ready(source)
        row = ManagedCertificate(
            ring=key.ring, source=source, key=key, names=[f"{kind}:{value}" for kind, value in names], challenge=challenge,
            dns_hook=hook if challenge == Challenge.DNS_01 else None, new_key=new_key, renew_at=timezone.now(),
            owner=Person.objects.filter(pk=actor.id).first() if actor.kind == "person" and actor.id else None, created_by=actor.label[:200],
        )  # fmt: skip
        try:
            with transaction.atomic():
                row.save(force_insert=True)
        except IntegrityError:
            raise Conflict("This key is kept certified already.", hint="Use another key, or renew that one.") from None
        order = begin(row, "Asked for.")
        act.about(target=target_of(row))
        act.record(
            {"source": source.name, "key": str(key.pk), "names": row.names, "challenge": challenge, "new_key": new_key, "order": str(order.pk)}
        )  # fmt: skip
    return row


def renew_now(*, actor: Actor, managed_id: UUID, reason: str) -> RenewalOrder:
    """Begin a renewal although it is not due; raises PermissionRefused, NotFound, WrongState, Conflict (one is under way)."""
    with act_on_managed(actor, Permission.CERTIFICATE_ISSUE, "certificate.renew", managed_id) as (row, act):
        if not reason.strip():
            raise refused("reason", "Say why.")
        _need_ready(row.source)
        if RenewalOrder.objects.filter(managed=row, state__in=OPEN_ORDERS).exists():
            raise Conflict("A renewal is under way.", hint="Its state is on the page.")
        order = begin(row, reason.strip())
        act.record({"order": str(order.pk), "reason": reason.strip()})
    return order


def stop_renewal(*, actor: Actor, managed_id: UUID, reason: str) -> ManagedCertificate:
    """Renew it no more; the present certificate lives until its end. Raises PermissionRefused, NotFound, WrongState."""
    return _switch(actor, managed_id, "certificate.stop_renewal", False, reason)


def resume_renewal(*, actor: Actor, managed_id: UUID, reason: str) -> ManagedCertificate:
    """Renew it again, at once if it is due; raises as `stop_renewal`."""
    return _switch(actor, managed_id, "certificate.resume_renewal", True, reason)


def _switch(actor: Actor, managed_id: UUID, action: str, enabled: bool, reason: str) -> ManagedCertificate:
    with act_on_managed(actor, Permission.CERTIFICATE_ISSUE, action, managed_id) as (row, act):
        if row.enabled == enabled:
            raise WrongState(f"Its renewal is {'on' if enabled else 'off'} already.", state=row.shown_state)
        row.enabled = enabled
        row.save(update_fields=["enabled"])
        act.record({"reason": reason})
    return row


def begin(row: ManagedCertificate, because: str) -> RenewalOrder:
    """Write an attempt down and send it to a worker after commit; the caller holds the row, authorised and records."""
    order = RenewalOrder.objects.create(
        managed=row, version=_version_for(row), because=because[:200], replaces=row.certificate
    )
    send(order.pk)
    return order


def send(order_id: UUID) -> None:
    """Let a worker carry an order on after commit."""
    from certificates.renewal.tasks import carry_on

    enqueue_on_commit(carry_on, str(order_id))


def _version_for(row: ManagedCertificate) -> KeyVersion:
    """The version to be certified: one made for an attempt that failed, the active one if it was never certified, or the next."""
    key = row.key
    made = KeyVersion.objects.filter(key=key, status=VersionState.PRE_ACTIVE.value, moved_from=None)
    if (waiting := made.order_by("-key_version").first()) is not None:
        return waiting
    current = key.current
    if current is not None and current.state is VersionState.ACTIVE:
        known = Certificate.objects.filter(spki_sha256=sha256(bytes(current.public_key or b"")).hexdigest())
        if not (row.new_key and known.exists()) and not known.filter(reason__in=COMPROMISES).exists():
            return current
    return lifecycle.introduce_version(actor=SYSTEM, key_id=key.pk, activate=False)


def _need_ready(source: AcmeSource) -> None:
    if source.state != SourceState.READY.value:
        raise WrongState(f"The source {source.name} is {source.state}.", hint="Its page says why.", state=source.state)


def _check(key: Key, names: Sequence[Name], challenge: str, hook: DnsHook | None) -> None:
    errors: dict[str, list[str]] = {}
    if key.kind != "transport" or ALGORITHMS[key.algorithm].kind is not Kind.SIGNATURE:
        errors["key"] = ["A transport key with a signature algorithm."]
    elif purpose := purpose_of(key.pk):
        errors["key"] = [f"It is {purpose}."]
    if not 1 <= len(names) <= MAX_NAMES or len(set(names)) != len(names):
        errors["names"] = [f"From 1 to {MAX_NAMES} names, none twice."]
    for kind, value in names:
        if kind not in {"dns", "ip"}:
            errors.setdefault("names", []).append(f"{kind}:{value} is not for a server; only dns and ip.")
        elif wrong := complaint((kind, value)):
            errors.setdefault("names", []).append(f"{value[:100]}: {wrong}.")
    if challenge not in Challenge.values:
        errors["challenge"] = ["http-01 or dns-01."]
    elif challenge == Challenge.DNS_01:
        if hook is None:
            errors["dns_hook"] = ["dns-01 needs a hook that writes the record."]
        if any(kind == "ip" for kind, _ in names):
            errors.setdefault("names", []).append("An IP address cannot be proved by dns-01 (RFC 8738).")
    elif any(value.startswith("*.") for _, value in names):
        errors.setdefault("names", []).append("A wildcard is proved by dns-01 only (RFC 8555, 8.3).")
    if errors:
        raise ValidationFailed("The certificate cannot be asked for.", errors=errors)
