"""Publishing CRLs: full, partitioned and delta, signed before the last one runs out, from entries kept as DER."""

import logging
from datetime import datetime, timedelta
from uuid import UUID

from django.db import IntegrityError
from django.db.models import Max, Q
from django.utils import timezone

from certificates import crl
from certificates.models import Authority, Certificate, CertificateList
from certificates.services.reading import chain_of, issuer_of
from certificates.services.signers import signer, url
from certificates.states import AuthorityState, CertificateState
from keyvault_portal.accounts.actors import Actor, authorize, system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import NotFound, PortalError
from keyvault_portal.jobs import enqueue_on_commit

logger = logging.getLogger(__name__)
_SYSTEM = system_actor("CRL schedule")
KEEP = 5  # lists of one kind and partition, and that which deltas build on
SLOWEST = timedelta(minutes=10)  # a revocation's transaction may have ended after a list was signed that began after it
RETRY = timedelta(minutes=5)
REVOKED = (CertificateState.REVOKED.value, CertificateState.HELD.value)


def publish_later(authority: Authority) -> None:
    """Have a new CRL signed by a worker once the present transaction is durable."""
    from certificates.tasks import publish_crl

    enqueue_on_commit(publish_crl, str(authority.pk))


def publish(authority_id: UUID, *, only: int | None = None) -> list[CertificateList]:
    """Sign and store a new CRL for every partition, or one of them, and the delta that goes with it; returns the full lists.

    When another worker published meanwhile, it is done again: a number is used once. Raises NotFound,
    WrongState, ProviderUnavailable.
    """
    authority = (
        Authority.objects.select_related("ring", "key", "key_version__key", "certificate")
        .filter(pk=authority_id)
        .first()
    )
    if authority is None or authority.certificate is None:
        raise NotFound("There is no such authority, or it has no certificate yet.")
    now = timezone.now().replace(microsecond=0)
    partitions = range(authority.crl_partitions) if only is None else [only]
    lists = [_sign(authority, partition, now) for partition in partitions]
    try:
        _keep(authority, lists, now)
    except IntegrityError:
        return publish(authority_id, only=only)
    if authority.delta_crls:
        publish_delta(authority_id)
    return lists


def _keep(authority: Authority, lists: list[CertificateList], now: datetime) -> None:
    target = ("authority", authority.pk, authority.name)
    with audit.atomic(actor=_SYSTEM, action="crl.publish", target=target, ring_id=authority.ring_id) as act:
        CertificateList.objects.bulk_create(lists)
        # Half of its life is left when the next one is due: time to mend what fails, and to be fetched.
        due = now + timedelta(hours=authority.crl_hours) / 2
        Authority.objects.filter(pk=authority.pk).update(next_crl_at=due, crl_error="")
        _forget_old(authority, now)
        act.record(
            {"lists": [{"partition": item.partition, "number": item.number, "entries": item.entries} for item in lists]}
        )


def publish_delta(authority_id: UUID) -> CertificateList | None:
    """Sign a delta CRL (RFC 5280, 5.2.4); None while there is no full one, or where there are partitions.

    It builds on the oldest full one that has not run out: whoever fetched that, or any since, needs no more than this.
    """
    authority = Authority.objects.select_related("ring", "key", "key_version__key", "certificate").get(pk=authority_id)
    now = timezone.now().replace(microsecond=0)
    base = _base(authority, now)
    if base is None or authority.crl_partitions > 1:
        return None
    since, after = Q(authority=authority, partition=0, not_after__gte=base.this_update), base.this_update - SLOWEST
    changed = Certificate.objects.filter(since, state__in=REVOKED, revoked_at__gte=after).order_by("id")
    entries = [bytes(entry or b"") for entry in changed.values_list("crl_entry", flat=True)]
    back = Certificate.objects.filter(since, state=CertificateState.VALID.value, released_at__gte=after)
    entries += [
        crl.removal(int(serial, 16), at or now)
        for serial, at in back.order_by("id").values_list("serial", "released_at")
    ]
    number = _next_number(authority)
    plan = crl.Plan(number, now, now + timedelta(hours=authority.crl_hours), base=base.number)
    raw = crl.build(plan, issuer_of(authority), entries, signer(authority.key_version))
    made = CertificateList(
        authority=authority, kind=CertificateList.Kind.DELTA, number=number, base_number=base.number, entries=len(entries), der=raw,
        this_update=now, next_update=plan.next_update,
    )  # fmt: skip
    target = ("authority", authority.pk, authority.name)
    try:
        with audit.atomic(actor=_SYSTEM, action="crl.publish", target=target, ring_id=authority.ring_id) as act:
            made.save(force_insert=True)
            act.record({"delta": number, "base": base.number, "entries": len(entries)})
    except IntegrityError:
        return publish_delta(authority_id)
    return made


def _base(authority: Authority, now: datetime) -> CertificateList | None:
    rows = CertificateList.objects.filter(authority=authority, kind=CertificateList.Kind.FULL, partition=0)
    return rows.filter(next_update__gt=now).order_by("number").first()


def newest(authority: Authority, partition: int, kind: str = CertificateList.Kind.FULL) -> CertificateList | None:
    """The list that is served."""
    rows = CertificateList.objects.filter(authority=authority, kind=kind, partition=partition)
    return rows.order_by("-number").first()


def lists_of_chain(authority: Authority) -> list[CertificateList]:
    """The full lists of an authority and of all above it, for servers that check whole chains; empty if one is missing."""
    found: list[CertificateList | None] = []
    for one in [authority, *_above(authority)]:
        found += [newest(one, partition) for partition in range(one.crl_partitions)] if one is not None else [None]
    return [row for row in found if row is not None] if None not in found else []


def _above(authority: Authority) -> list[Authority | None]:
    """Who signed its certificate, and so on up to the root; None for an authority that is not the portal's."""
    rows = chain_of(authority.certificate) if authority.certificate is not None else []
    known = {row.certificate_id: row for row in Authority.objects.filter(certificate__in=rows)}
    return [known.get(row.pk) for row in rows]


def scope_of(authority: Authority, partition: int) -> str:
    """The URL of a partition's list, which is also its issuing distribution point."""
    return url(authority, "crl" if authority.crl_partitions == 1 else f"crl/{partition}")


def _sign(authority: Authority, partition: int, now: datetime) -> CertificateList:
    entries = entries_of(authority, partition, now)
    plan = crl.Plan(
        _next_number(authority), now, now + timedelta(hours=authority.crl_hours),
        scope=scope_of(authority, partition) if authority.crl_partitions > 1 else "",
        freshest=url(authority, "crl/delta") if authority.delta_crls and authority.crl_partitions == 1 else "",
    )  # fmt: skip
    raw = crl.build(plan, issuer_of(authority), entries, signer(authority.key_version))
    return CertificateList(
        authority=authority,
        partition=partition,
        number=plan.number,
        entries=len(entries),
        der=raw,
        this_update=now,
        next_update=plan.next_update,
    )


def entries_of(authority: Authority, partition: int, now: datetime) -> list[bytes]:
    """The entries of one partition as they are kept; an expired certificate leaves the list after one more (5.1.2.6)."""
    last = newest(authority, partition)
    since = last.this_update if last is not None else now
    rows = Certificate.objects.filter(
        authority=authority, partition=partition, state__in=REVOKED, not_after__gte=min(since, now)
    )
    return [bytes(entry or b"") for entry in rows.order_by("id").values_list("crl_entry", flat=True)]


def _next_number(authority: Authority) -> int:
    """Numbers rise over full and delta lists alike (5.2.3); a clash of two workers is refused by the constraint."""
    found = CertificateList.objects.filter(authority=authority).aggregate(most=Max("number"))["most"]
    return int(found or 0) + 1


def _forget_old(authority: Authority, now: datetime) -> None:
    base = _base(authority, now) if authority.delta_crls else None
    for partition in range(authority.crl_partitions):
        for kind in CertificateList.Kind.values:
            rows = CertificateList.objects.filter(authority=authority, partition=partition, kind=kind)
            kept = [*rows.order_by("-number").values_list("pk", flat=True)[:KEEP], *([base.pk] if base else [])]
            rows.exclude(pk__in=kept).delete()


def tick() -> int:
    """Publish what is due; an authority that fails is tried again in minutes and shows why. Returns how many were published."""
    due = Authority.objects.filter(next_crl_at__lte=timezone.now()).exclude(state=AuthorityState.PENDING.value)
    done = 0
    for authority_id in due.order_by("next_crl_at").values_list("pk", flat=True)[:50]:
        try:
            publish(authority_id)
            done += 1
        except PortalError as error:
            note_failure(authority_id, error)
    return done


def note_failure(authority_id: UUID, error: PortalError) -> None:
    """Show on the authority's page that its CRL could not be signed, and try again soon."""
    logger.warning("no CRL for authority %s: %s", authority_id, error.code)
    Authority.objects.filter(pk=authority_id).update(next_crl_at=timezone.now() + RETRY, crl_error=error.detail[:500])


def request_publication(*, actor: Actor, authority_id: UUID) -> list[CertificateList]:
    """Sign a new CRL at once; raises NotFound, PermissionRefused, ProviderUnavailable."""
    with audit.atomic(actor=actor, action="crl.request", target=("authority", authority_id, "")) as act:
        authority = Authority.objects.filter(pk=authority_id).first()
        if authority is None:
            raise NotFound("There is no such authority.")
        act.about(target=("authority", authority.pk, authority.name), ring_id=authority.ring_id)
        authorize(actor, Permission.AUTHORITY_MANAGE, ring_id=authority.ring_id, target=f"authority {authority.name}")
        act.record({})
    return publish(authority_id)
