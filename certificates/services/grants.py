"""Single-use grants: one for each signature, spent once, closed with the certificate or as lost.

What a provider signs may be out before we know of it, so its grant is written down first, in a transaction of its own. A
key that the portal keeps signs in this very process and nothing leaves it before the certificate is durable: its grant is
written with the certificate, in one transaction, or as lost when there was no certificate.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import IntegrityError, connection
from django.utils import timezone

from certificates import issuance, signing
from certificates.issuance import Draft, Issuer, Prepared
from certificates.models import Authority, Certificate, IssuanceGrant
from certificates.services import rows
from certificates.services.reading import columns, issuer_of
from certificates.services.signers import signer, signs_here
from certificates.signing import Signer
from certificates.states import GrantState
from keys.services.cache import BoundedCache
from keyvault_portal.accounts.actors import Actor, system_actor
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict
from keyvault_portal.jobs import enqueue_gathered, enqueue_on_commit

LOST_AFTER = timedelta(minutes=10)
PRESIGN_SECONDS = 1.0
_SWEEPER = system_actor("certificate sweeper")
_REDEEMER = system_actor("certification authority")
_RELATED = ("ring", "key", "key_version__key", "certificate")


@dataclass(frozen=True, slots=True)
class Granted:
    """A checked certificate and its grant, spent already; `row` holds what the certificate's own bytes do not say."""

    id: UUID
    serial: str
    prepared: Prepared
    written: bool  # the grant has a row
    row: dict[str, Any] = field(default_factory=dict)


def check(issuer: Issuer, drafts: Sequence[tuple[Draft, dict[str, Any]]]) -> list[Granted]:
    """Lint every draft. The grants have no rows yet: `note` writes them, or they are written with their certificates."""
    return [
        Granted(
            uuid4(), f"{draft.serial:x}", issuance.prepare(draft, issuer), False, row | {"profile": draft.profile.name}
        )
        for draft, row in drafts
    ]


def write(
    actor: Actor, authority: Authority, issuer: Issuer, drafts: Sequence[tuple[Draft, dict[str, Any]]]
) -> list[Granted]:
    """Lint every draft and note, in the caller's transaction, that exactly its bytes are about to be signed.

    Raises LintFailed, Conflict (a serial number was used before).
    """
    return note(actor, authority, check(issuer, drafts))


def note(actor: Actor, authority: Authority, granted: Sequence[Granted]) -> list[Granted]:
    """Write the grants, in the caller's transaction; raises Conflict (a serial number was used before)."""
    _insert(_values(actor, authority, granted, GrantState.SPENT))
    return [replace(item, written=True) for item in granted]


def _values(
    actor: Actor, authority: Authority, granted: Sequence[Granted], state: GrantState, **more: Any
) -> list[rows.Values]:
    shared = {
        "authority_id": authority.pk, "requested_by": actor.label[:200], "spent_at": timezone.now(), "state": state.value, **more
    }  # fmt: skip
    return [
        shared
        | {"id": item.id, "serial": item.serial, "profile": item.row["profile"], "tbs_sha256": item.prepared.digest}
        for item in granted
    ]


def _insert(values: Sequence[rows.Values]) -> list[IssuanceGrant]:
    try:
        return rows.insert(IssuanceGrant, values)
    except IntegrityError:
        raise _used_before() from None


def _used_before() -> Conflict:
    return Conflict("The serial number was used before.", hint="Try again: the next one is drawn at random.")


def write_open(
    actor: Actor, authority: Authority, issuer: Issuer, drafts: Sequence[tuple[Draft, dict[str, Any]]]
) -> list[IssuanceGrant]:
    """As `write`, but a worker spends the grants once the caller's transaction is durable: they hold what to sign."""
    from certificates.tasks import redeem_grant

    found = []
    for item in check(issuer, drafts):
        more = {"spent_at": None, "to_be_signed": item.prepared.to_be_signed, "row": _plain(item.row)}
        found += _insert(_values(actor, authority, [item], GrantState.OPEN, **more))
        enqueue_on_commit(redeem_grant, str(item.id))
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
    row = {name: UUID(value) if value and name.endswith("_id") else value for name, value in grant.row.items()}
    granted = Granted(grant.pk, grant.serial, prepared, True, row | {"profile": grant.profile})
    return sign_and_store(_REDEEMER, grant.authority, issuer_of(grant.authority), [granted])[0]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) if value is not None else None for name, value in row.items() if name != "profile"}


def sign_and_store(actor: Actor, authority: Authority, issuer: Issuer, granted: Sequence[Granted]) -> list[Certificate]:
    """The effect before or between short transactions, and the last of them."""
    return record(actor, authority, granted, redeem(actor, authority, issuer, granted))


def record(
    actor: Actor, authority: Authority, granted: Sequence[Granted], signed: Sequence[bytes]
) -> list[Certificate]:
    """Store what was signed and record it; raises Conflict."""
    from certificates.tasks import presign_new

    try:
        with audit.atomic(actor=actor, action="certificate.issue", ring_id=authority.ring_id) as act:
            if all(item.written for item in granted):
                made = store(authority, granted, signed)
            else:
                (made,), new = _with_grants([Lot(actor, authority, granted, signed)])
                for written in new:
                    act.write(written)
            for event in _events(actor, authority, granted, made):
                act.record(event.details, target=event.target)
            enqueue_gathered(presign_new, PRESIGN_SECONDS)
    except IntegrityError:
        raise _used_before() from None
    return made


@dataclass(frozen=True, slots=True)
class Lot:
    """What one caller asked of one authority, signed and without rows yet."""

    actor: Actor
    authority: Authority
    granted: Sequence[Granted]
    signed: Sequence[bytes]


def record_at_once(lots: Sequence[Lot], guard: audit.Guard) -> list[list[Certificate]]:
    """As `record`, for several callers by one statement that is a transaction by itself.

    Raises Overtaken, too, unless `guard` holds then, and IntegrityError for a serial number that was used before.
    """
    from certificates.tasks import presign_new

    made, new = _with_grants(lots)
    events = [
        event
        for lot, rows_of in zip(lots, made, strict=True)
        for event in _events(lot.actor, lot.authority, lot.granted, rows_of)
    ]
    audit.write(events, new, guard)
    enqueue_gathered(presign_new, PRESIGN_SECONDS)
    return made


def _events(
    actor: Actor, authority: Authority, granted: Sequence[Granted], made: Sequence[Certificate]
) -> list[audit.Event]:
    return [
        audit.Event(
            actor, "certificate.issue", ("certificate", row.pk, str(row)), authority.ring_id, details={
                "authority": authority.name, "profile": row.profile, "serial": row.serial, "fingerprint": row.fingerprint,
                "names": row.names[:20], "not_after": row.not_after.isoformat(), "tbs_sha256": item.prepared.digest,
                "requested_by": row.requested_by, "renews": str(row.renews_id) if row.renews_id else None,
            },
        )
        for row, item in zip(made, granted, strict=True)
    ]  # fmt: skip


def redeem(
    actor: Actor, authority: Authority, issuer: Issuer, granted: Sequence[Granted], *, by: Signer | None = None
) -> list[bytes]:
    """As `sign`, outside any transaction, because an HSM may be asked. A grant that fails is lost for good."""
    try:
        return sign(authority, issuer, granted, by=by)
    except Exception as error:
        _lose(actor, authority, granted, type(error).__name__)
        raise


def sign(
    authority: Authority, issuer: Issuer, granted: Sequence[Granted], *, by: Signer | None = None
) -> list[bytes]:  # fmt: skip
    """The certificates in DER. Of a key that is kept here one signature a minute is checked, of all others every one.

    `by` signs instead of the key's provider: whoever holds the key, such as a ceremony.
    """
    version, prepared = authority.key_version, [item.prepared for item in granted]
    signing_by = by or signer(version)
    if by is not None or not signs_here(version):
        return [issuance.complete(item, issuer.public_key, signing_by) for item in prepared]
    signatures = [signing_by(item.to_be_signed) for item in prepared]
    known = version.pk, issuer.public_key
    if not _trusted.get(known):
        signing.verify(issuer.algorithm, issuer.public_key, prepared[0].to_be_signed, signatures[0])
        _trusted.put(known, True)
    return [issuance.join(item, signature) for item, signature in zip(prepared, signatures, strict=True)]


_trusted: BoundedCache[tuple[int, bytes], bool] = BoundedCache(max_entries=100, max_age=60.0)


def _lose(actor: Actor, authority: Authority, granted: Sequence[Granted], error: str) -> None:
    """None of these certificates will be: their serial numbers are burned, and the record says so."""
    with audit.atomic(
        actor=actor,
        action="certificate.issue",
        target=("authority", authority.pk, authority.name),
        ring_id=authority.ring_id,
    ) as act:
        spent = IssuanceGrant.objects.filter(pk__in=[item.id for item in granted], state=GrantState.SPENT.value)
        spent.update(state=GrantState.LOST.value, error=error[:200])
        unwritten = [item for item in granted if not item.written]
        values = _values(actor, authority, unwritten, GrantState.LOST, error=error[:200])
        rows.insert(IssuanceGrant, values, unless_there=True)
        act.record({"serials": [item.serial for item in granted], "error": error}, outcome="failed")


def store(authority: Authority, granted: Sequence[Granted], signed: Sequence[bytes]) -> list[Certificate]:
    """The rows of signed certificates with their grants closed, in the caller's transaction.

    Raises IntegrityError, and Conflict for a grant that was given up as lost meanwhile.
    """
    made = rows.insert(Certificate, _certificates(authority, granted, signed))
    _close({item.id: row.pk for item, row in zip(granted, made, strict=True)})
    return _of(authority, made)


def _with_grants(lots: Sequence[Lot]) -> tuple[list[list[Certificate]], list[audit.Rows]]:
    """As `store` for each lot, with the grants' own rows, for the statement that records."""
    made: list[list[Certificate]] = []
    certificates: list[rows.Values] = []
    done: list[rows.Values] = []
    for lot in lots:
        own = rows.complete(Certificate, _certificates(lot.authority, lot.granted, lot.signed))
        made.append(_of(lot.authority, rows.instances(Certificate, own)))
        certificates += own
        for values, certificate in zip(
            _values(lot.actor, lot.authority, lot.granted, GrantState.DONE), own, strict=True
        ):
            done.append(values | {"certificate_id": certificate["id"]})
    new = [
        rows.written(Certificate, certificates),
        rows.written(IssuanceGrant, rows.complete(IssuanceGrant, done)),
    ]
    return made, new


def _certificates(authority: Authority, granted: Sequence[Granted], signed: Sequence[bytes]) -> list[rows.Values]:
    shared = {"ring_id": authority.ring_id, "authority_id": authority.pk, "issued_under_id": authority.certificate_id}
    return [
        shared | {"id": uuid4(), "partition": int(item.serial, 16) % authority.crl_partitions}
        | columns(raw, item.prepared.linted) | item.row
        for item, raw in zip(granted, signed, strict=True)
    ]  # fmt: skip


def _of(authority: Authority, made: list[Certificate]) -> list[Certificate]:
    for row in made:
        row.authority = authority  # known: nobody has to ask for it
    return made


def _close(pairs: dict[UUID, UUID]) -> None:
    with connection.cursor() as cursor:
        states = GrantState.DONE.value, GrantState.SPENT.value
        cursor.execute(_CLOSE, [states[0], list(pairs), list(pairs.values()), states[1]])
        if cursor.rowcount != len(pairs):
            raise Conflict("The signature came back too late: its grant was given up.", hint="Try again.")


# Not bulk_update: its CASE over a hundred rows costs more than the signatures.
_CLOSE = """
UPDATE certificates_issuancegrant AS g SET state = %s, certificate_id = closed.certificate
FROM unnest(%s::uuid[], %s::uuid[]) AS closed (id, certificate) WHERE g.id = closed.id AND g.state = %s
"""


def reap() -> int:
    """Close grants whose signer never came back: the process died between signature and row. Returns how many."""
    spent = IssuanceGrant.objects.filter(state=GrantState.SPENT.value, spent_at__lt=timezone.now() - LOST_AFTER)
    done = 0
    for grant in spent.select_related("authority")[:100]:
        with audit.atomic(
            actor=_SWEEPER, action="certificate.issue", target=("authority", grant.authority_id, grant.authority.name),
            ring_id=grant.authority.ring_id,
        ) as act:  # fmt: skip
            changed = IssuanceGrant.objects.filter(pk=grant.pk, state=GrantState.SPENT.value)
            if changed.update(state=GrantState.LOST.value, error="abandoned"):
                act.record({"serials": [grant.serial], "error": "abandoned"}, outcome="failed")
                done += 1
    return done
