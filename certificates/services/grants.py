"""Single-use grants: written before anything is signed, spent once, closed with the certificate or as lost."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from certificates import issuance
from certificates.issuance import Draft, Issuer, Prepared
from certificates.models import Authority, Certificate, IssuanceGrant
from certificates.services.reading import columns, issuer_of
from certificates.services.signers import signer
from certificates.signing import Signer
from certificates.states import GrantState
from keyvault_portal.accounts.actors import Actor, system_actor
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict
from keyvault_portal.jobs import enqueue_on_commit

LOST_AFTER = timedelta(minutes=10)
_SWEEPER = system_actor("certificate sweeper")
_REDEEMER = system_actor("certification authority")
_RELATED = ("ring", "key", "key_version__key", "certificate")


@dataclass(frozen=True, slots=True)
class Granted:
    """A checked certificate and its grant, spent already; `row` holds what the certificate's own bytes do not say."""

    grant: IssuanceGrant
    prepared: Prepared
    row: dict[str, Any] = field(default_factory=dict)


def write(
    actor: Actor, authority: Authority, issuer: Issuer, drafts: Sequence[tuple[Draft, dict[str, Any]]]
) -> list[Granted]:
    """Lint every draft and note, in the caller's transaction, that exactly its bytes are about to be signed.

    Raises LintFailed, Conflict (a serial number was used before).
    """
    now = timezone.now()
    found = []
    for draft, row in drafts:
        prepared = issuance.prepare(draft, issuer)
        grant = IssuanceGrant(
            id=uuid4(), authority=authority, serial=f"{draft.serial:x}", profile=draft.profile.name, tbs_sha256=prepared.digest,
            state=GrantState.SPENT.value, requested_by=actor.label[:200], spent_at=now,
        )  # fmt: skip
        found.append(Granted(grant, prepared, row | {"profile": draft.profile.name}))
    try:
        with transaction.atomic(savepoint=False):  # the Conflict ends the caller's transaction
            IssuanceGrant.objects.bulk_create([item.grant for item in found])
    except IntegrityError:
        raise Conflict(
            "The serial number was used before.", hint="Try again: the next one is drawn at random."
        ) from None
    return found


def write_open(
    actor: Actor, authority: Authority, issuer: Issuer, drafts: Sequence[tuple[Draft, dict[str, Any]]]
) -> list[IssuanceGrant]:
    """As `write`, but a worker spends the grants once the caller's transaction is durable: they hold what to sign."""
    from certificates.tasks import redeem_grant

    found = []
    for item in write(actor, authority, issuer, drafts):
        grant = item.grant
        grant.state, grant.spent_at = GrantState.OPEN.value, None
        grant.to_be_signed, grant.row = item.prepared.to_be_signed, _plain(item.row)
        grant.save(update_fields=["state", "spent_at", "to_be_signed", "row"])
        enqueue_on_commit(redeem_grant, str(grant.pk))
        found.append(grant)
    return found


def redeem_open(grant_id: UUID) -> Certificate | None:
    """Spend an open grant, sign and store; None when somebody else did. Raises ProviderUnavailable, and the grant is lost."""
    now = timezone.now()
    if not IssuanceGrant.objects.filter(pk=grant_id, state=GrantState.OPEN.value).update(
        state=GrantState.SPENT.value, spent_at=now
    ):
        return None
    grant = IssuanceGrant.objects.select_related(*(f"authority__{name}" for name in _RELATED)).get(pk=grant_id)
    prepared = Prepared(grant.authority.key.algorithm, bytes(grant.to_be_signed or b""), b"")
    if prepared.digest != grant.tbs_sha256:
        raise Conflict("What is to be signed is not what was granted.")
    granted = Granted(grant, prepared, dict(grant.row) | {"profile": grant.profile})
    return sign_and_store(_REDEEMER, grant.authority, issuer_of(grant.authority), [granted])[0]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    owner = row.get("owner")
    plain = {
        name: str(value) if value is not None else None
        for name, value in row.items()
        if name not in {"owner", "profile"}
    }
    return plain | {"owner_id": str(owner.pk) if owner is not None else None}


def sign_and_store(actor: Actor, authority: Authority, issuer: Issuer, granted: Sequence[Granted]) -> list[Certificate]:
    """The effect between two short transactions, and the second of them."""
    from certificates.tasks import presign

    signed = redeem(actor, authority, issuer, granted)
    with audit.atomic(actor=actor, action="certificate.issue", ring_id=authority.ring_id) as act:
        rows = store(authority, granted, signed)
        for row, item in zip(rows, granted, strict=True):
            act.record(
                {
                    "authority": authority.name, "profile": row.profile, "serial": row.serial, "fingerprint": row.fingerprint,
                    "names": row.names[:20], "not_after": row.not_after.isoformat(), "tbs_sha256": item.prepared.digest,
                    "requested_by": row.requested_by, "renews": str(row.renews_id) if row.renews_id else None,
                },
                target=("certificate", row.pk, str(row)),
            )  # fmt: skip
        enqueue_on_commit(presign, *(str(row.pk) for row in rows))
    return rows


def redeem(
    actor: Actor, authority: Authority, issuer: Issuer, granted: Sequence[Granted], *, by: Signer | None = None
) -> list[bytes]:
    """The certificates in DER; outside any transaction, because an HSM may be asked. A grant that fails is lost for good.

    `by` signs instead of the key's provider: whoever holds the key, such as a ceremony.
    """
    signing = by or signer(authority.key_version)
    found = []
    for item in granted:
        try:
            found.append(issuance.complete(item.prepared, issuer.public_key, signing))
        except Exception as error:
            _lose(actor, authority, granted, type(error).__name__)
            raise
    return found


def _lose(actor: Actor, authority: Authority, granted: Sequence[Granted], error: str) -> None:
    """None of these certificates will be: their serial numbers are burned, and the record says so."""
    with audit.atomic(
        actor=actor,
        action="certificate.issue",
        target=("authority", authority.pk, authority.name),
        ring_id=authority.ring_id,
    ) as act:
        rows = IssuanceGrant.objects.filter(pk__in=[item.grant.pk for item in granted], state=GrantState.SPENT.value)
        rows.update(state=GrantState.LOST.value, error=error[:200])
        act.record({"serials": [item.grant.serial for item in granted], "error": error}, outcome="failed")


def store(authority: Authority, granted: Sequence[Granted], signed: Sequence[bytes]) -> list[Certificate]:
    """The rows of signed certificates with their grants closed, in the caller's transaction."""
    rows = []
    for item, raw in zip(granted, signed, strict=True):
        values = {"ring_id": authority.ring_id} | columns(raw) | item.row
        row = Certificate(authority=authority, issued_under_id=authority.certificate_id, **values)
        row.partition = int(row.serial, 16) % authority.crl_partitions
        rows.append(row)
    Certificate.objects.bulk_create(rows)
    for item, row in zip(granted, rows, strict=True):
        item.grant.state, item.grant.certificate = GrantState.DONE.value, row
    with connection.cursor() as cursor:
        pairs = [item.grant.pk for item in granted], [row.pk for row in rows]
        cursor.execute(_CLOSE, [GrantState.DONE.value, *pairs])
    return rows


# Not bulk_update: its CASE over a hundred rows costs more than the signatures.
_CLOSE = """
UPDATE certificates_issuancegrant AS g SET state = %s, certificate_id = closed.certificate
FROM unnest(%s::uuid[], %s::uuid[]) AS closed (id, certificate) WHERE g.id = closed.id
"""


def reap() -> int:
    """Close grants whose signer never came back: the process died between signature and row. Returns how many."""
    rows = IssuanceGrant.objects.filter(state=GrantState.SPENT.value, spent_at__lt=timezone.now() - LOST_AFTER)
    done = 0
    for grant in rows.select_related("authority")[:100]:
        with audit.atomic(
            actor=_SWEEPER, action="certificate.issue", target=("authority", grant.authority_id, grant.authority.name),
            ring_id=grant.authority.ring_id,
        ) as act:  # fmt: skip
            changed = IssuanceGrant.objects.filter(pk=grant.pk, state=GrantState.SPENT.value)
            if changed.update(state=GrantState.LOST.value, error="abandoned"):
                act.record({"serials": [grant.serial], "error": "abandoned"}, outcome="failed")
                done += 1
    return done
