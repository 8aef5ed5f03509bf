"""The minutes after the end: written, signed by the key that the plan names, time-stamped, kept, and put on the record."""

import hashlib
from functools import partial
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone

from ceremonies.minutes.schemes import SCHEMES
from ceremonies.models import Ceremony, Minutes
from ceremonies.services.frame import target_of
from ceremonies.services.room import transcript
from ceremonies.services.subjects import described
from ceremonies.states import ENDED, CeremonyState
from keys.crypto.compact import parse_text
from keys.hierarchy import KeyKind
from keys.models import Key, KeyVersion
from keys.services import key_certificates, operations, reservations
from keys.services.key_views import view
from keyvault_portal.accounts.actors import Actor, system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import PortalError, ProviderUnavailable
from keyvault_portal.visible import on_rings

SYSTEM = system_actor("ceremony minutes", Permission.KEY_SIGN)


def sign_minutes(ceremony_id: UUID) -> Minutes | None:
    """Sign and keep the minutes of an ended ceremony once; None while there is nothing to sign, or nobody to sign it.

    What stands in the way is noted on the ceremony and raised: PortalError. Whoever calls tries again later.
    """
    ceremony = _unsigned().filter(pk=ceremony_id).select_related("minutes_key__ring", "key").first()
    if ceremony is None:
        return None
    try:
        return _sign(ceremony)
    except PortalError as error:
        Ceremony.objects.filter(pk=ceremony.pk).update(minutes_problem=f"{error.title}. {error.detail}"[:300])
        raise


def _sign(ceremony: Ceremony) -> Minutes:
    # Here, because workers that never sign minutes need not hold what does.
    from pyhanko.sign.timestamps.common_utils import TimestampRequestError

    from ceremonies.minutes.document import write
    from ceremonies.minutes.signing import digest_of, self_signed, sign_pdf
    from ceremonies.minutes.timestamps import timestamper

    found = view(ceremony.minutes_key_id)  # type: ignore[arg-type]
    version = found.protecting()
    sign = partial(_signature, version)
    chain = key_certificates.chain_of(version)
    own = not chain
    if own:
        chain = [_known_certificate(version) or self_signed(
            found.key.algorithm, bytes(version.public_key or b""), name=f"{found.label} v{version.key_version}", sign=sign, now=timezone.now()
        )]  # fmt: skip
    pdf = write(ceremony, transcript(ceremony), described(ceremony))
    try:
        made = sign_pdf(
            pdf, algorithm=found.key.algorithm, chain=chain, sign=sign, place=ceremony.place, timestamper=timestamper()
        )
    except TimestampRequestError as error:
        raise ProviderUnavailable("The time-stamping authority refused.") from error
    digest = hashlib.sha256(made.pdf).hexdigest()
    with audit.atomic(
        actor=SYSTEM, action="ceremony.sign_minutes", target=target_of(ceremony), ring_id=ceremony.ring_id
    ) as record:
        Ceremony.objects.select_for_update().get(pk=ceremony.pk)
        kept = Minutes.objects.filter(ceremony=ceremony).first()
        if kept is not None:
            return kept
        kept = Minutes.objects.create(
            ceremony=ceremony, pdf=made.pdf, sha256=digest, key_id=version.key_id, key_label=found.label, key_version=version.key_version,
            certificate=chain[0], self_signed=own, timestamped=made.timestamped,
        )  # fmt: skip
        Ceremony.objects.filter(pk=ceremony.pk).update(minutes_problem="")
        record.record({
            "sha256": digest, "key": str(version.key_id), "key_version": version.key_version, "certificate_sha256": digest_of(chain[0]),
            "self_signed": own, "timestamped": made.timestamped,
        })  # fmt: skip
    return kept


def unsigned_minutes() -> list[UUID]:
    """Ended ceremonies whose minutes wait for their signature."""
    return list(_unsigned().order_by("ended_at").values_list("pk", flat=True)[:100])


def _unsigned() -> QuerySet[Ceremony]:
    ended = [state.value for state in ENDED]
    return Ceremony.objects.filter(state__in=ended, minutes_key__isnull=False, opened_at__isnull=False, minutes=None)


def _known_certificate(version: KeyVersion) -> bytes | None:
    """The certificate that this version gave itself earlier: one key, one certificate to compare."""
    kept = Minutes.objects.filter(key_id=version.key_id, key_version=version.key_version, self_signed=True)
    found = kept.order_by("-signed_at").values_list("certificate", flat=True).first()
    return bytes(found) if found is not None else None


def _signature(version: KeyVersion, message: bytes) -> bytes:
    signed = operations.sign(SYSTEM, version.key_id, message, version.key_version)
    return parse_text(signed.signature)[1]


def purpose_of(key_id: UUID) -> str:
    """Whether a key signs minutes: then it signs nothing else."""
    named = Ceremony.objects.filter(minutes_key_id=key_id).exclude(state=CeremonyState.ABORTED.value, opened_at=None)
    return "the key that signs minutes of ceremonies" if named.exists() else ""


def read_minutes(*, actor: Actor, ceremony: Ceremony) -> bytes:
    """The minutes as a PDF: as they were signed, and a draft before the end; who read them is on the record."""
    from ceremonies.minutes.document import write

    kept = Minutes.objects.filter(ceremony=ceremony).first()
    made = bytes(kept.pdf) if kept else write(ceremony, transcript(ceremony), described(ceremony))
    audit.record(actor=actor, action="ceremony.minutes", target=target_of(ceremony), ring_id=ceremony.ring_id)
    return made


def minutes_keys(actor: Actor) -> QuerySet[Key]:
    """Keys that this actor may let sign minutes: of an algorithm that documents know, not published for tokens."""
    keys = Key.objects.filter(algorithm__in=list(SCHEMES), kind__in=[KeyKind.DEK.value, KeyKind.TRANSPORT.value])
    return on_rings(keys, actor.ring_ids(Permission.CEREMONY_MANAGE))


def unfit_for_minutes(actor: Actor, key: Key) -> str:
    """Why this key cannot sign minutes; "" when it can. A key that signs minutes signs nothing else."""
    if not minutes_keys(actor).filter(pk=key.pk).exists():
        return "Not a key that can sign documents, or not one that you govern."
    reserved = reservations.purpose_of(key.pk)
    return f"It is {reserved}." if reserved and not Ceremony.objects.filter(minutes_key=key).exists() else ""
