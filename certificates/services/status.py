"""The OCSP responder: answers signed beforehand by a delegate, kept, and served whether or not the CA's key answers."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models import Q
from django.utils import timezone

from certificates import issuance, ocsp
from certificates.issuance import BACKDATE, Draft, new_serial
from certificates.models import Authority, Certificate, OcspAnswer
from certificates.ocsp import Asked, Responder, Status
from certificates.profiles import PROFILES
from certificates.services import grants
from certificates.services.reading import issuer_of, parse
from certificates.services.signers import places_of, public_key_of, signer
from certificates.states import AuthorityState, CertificateState, Reason
from keys.models import Key, KeyVersion
from keys.services import creation, key_views
from keyvault_portal.accounts.actors import system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import PortalError

logger = logging.getLogger(__name__)
_SYSTEM = system_actor("OCSP responder", Permission.KEY_CREATE, Permission.KEY_VIEW)
VALID_FOR = timedelta(days=4)
REFRESH_AFTER = VALID_FOR / 2
JUST_NOW = timedelta(minutes=1)
RESPONDER_ALGORITHM = "ECDSA-P256-SHA256"
_BATCH = 500


def answer(
    authority: Authority, raw: bytes, *, may_sign: Callable[[], bool] = lambda: True
) -> tuple[bytes, datetime | None]:
    """The whole OCSP answer to a request in DER, and until when it may be kept (None: not at all).

    A kept answer is served if it says what is true now; one with a nonce, for several certificates, or one that is
    missing, is signed on demand by the delegate. Without it the kept answer goes out, and without that "try later":
    never a wrong one.
    """
    try:
        questions = ocsp.read(raw)
    except ocsp.MalformedRequest:
        return ocsp.MALFORMED, None
    ours = {asked.serial for asked in questions if authority.certificate is not None and _is_about(authority, asked)}
    rows = _known(authority, ours, questions[0].digest)
    if not rows:
        return ocsp.UNAUTHORIZED, None  # RFC 5019, 2.2.3: we are not able to say, and sign nothing for guesses
    now = timezone.now()
    kept = rows[questions[0].serial].kept(now) if len(questions) == 1 else None
    if kept is not None and questions[0].nonce is None:
        return kept
    try:
        if may_sign():
            found = [rows.get(asked.serial) if _is_about(authority, asked) else None for asked in questions]
            about = [
                (asked, known.status if known else Status(known=False))
                for asked, known in zip(questions, found, strict=True)
            ]
            return _sign(authority, about, now), None
    except PortalError as error:
        logger.warning("no fresh OCSP answer for a certificate of %s: %s", authority.name, error.code)
    return kept if kept is not None else (ocsp.TRY_LATER, None)


@dataclass(frozen=True, slots=True)
class _Known:
    """What one round trip says of a certificate: its status, and the answer that is kept for one digest, if it is true."""

    status: Status
    answer: bytes | None
    next_update: datetime | None

    def kept(self, now: datetime) -> tuple[bytes, datetime] | None:
        if self.answer is None or self.next_update is None or self.next_update <= now:
            return None
        return self.answer, self.next_update


def _known(authority: Authority, serials: Collection[int], digest: str) -> dict[int, _Known]:
    if not serials:
        return {}
    with connection.cursor() as cursor:  # asked for every answer: the ORM takes longer than the index
        cursor.execute(_KNOWN, [digest, authority.pk, [f"{serial:x}" for serial in serials]])
        rows = cursor.fetchall()
    return {
        int(serial, 16): _Known(
            _status(revoked_at, reason), bytes(answer) if answer is not None else None, next_update
        )
        for serial, revoked_at, reason, answer, next_update in rows
    }  # fmt: skip


_KNOWN = """
SELECT c.serial, c.revoked_at, c.reason, a.der, a.next_update FROM certificates_certificate AS c
LEFT JOIN certificates_ocspanswer AS a ON a.certificate_id = c.id AND a.digest = %s AND a.state = c.state
WHERE c.authority_id = %s AND c.serial = ANY(%s)
"""


def _is_about(authority: Authority, asked: Asked) -> bool:
    assert authority.certificate is not None
    subject = parse(authority.certificate).subject.public_bytes()
    hashes = ocsp.issuer_hashes(subject, public_key_of(authority.key_version), asked.digest)
    return hashes == (asked.name_hash, asked.key_hash)


def _sign(authority: Authority, about: Sequence[tuple[Asked, Status]], now: datetime) -> bytes:
    """One answer for all that was asked about; a certificate that is none of the authority's is not known (RFC 6960, 2.2)."""
    responder, version = _responder(authority)
    this_update = now.replace(microsecond=0)
    return ocsp.build(
        about,
        responder,
        signer(version),
        now=this_update,
        this_update=this_update,
        next_update=this_update + VALID_FOR,
    )


def _status(revoked_at: datetime | None, reason: str) -> Status:
    return Status() if revoked_at is None else Status(revoked_at, Reason(reason))


def _responder(authority: Authority) -> tuple[Responder, KeyVersion]:
    """The delegate; until it has its certificate the authority answers by itself."""
    assert authority.certificate is not None
    if (
        authority.responder is None
        or authority.responder.key is None
        or authority.responder.not_after <= timezone.now()
    ):
        public = public_key_of(authority.key_version)
        return ocsp.responder_of(
            parse(authority.certificate), authority.key.algorithm, public, delegated=False
        ), authority.key_version
    version = _version_of(authority.responder.key, authority.responder)
    public = public_key_of(version)
    certificate = parse(authority.responder)
    return ocsp.responder_of(certificate, authority.responder.key.algorithm, public, delegated=True), version


def _version_of(key: Key, certificate: Certificate) -> KeyVersion:
    public = parse(certificate).public_key()
    for version in key_views.view(key.pk).versions.values():
        if version.public_key is not None and issuance.load_der_public_key(bytes(version.public_key)) == public:
            return version
    raise PortalError("The responder's key has no version that fits its certificate.")


def presign(certificate_ids: list[UUID]) -> int:
    """Sign and keep the answers for these certificates, one for each digest; returns how many certificates."""
    rows = Certificate.objects.select_related(*_CERTIFICATE).filter(
        pk__in=certificate_ids, authority__certificate__isnull=False
    )
    now = timezone.now()
    answers = []
    found = list(rows)
    for row in found:
        authority = row.authority
        assert authority is not None
        assert authority.certificate is not None
        subject = parse(authority.certificate).subject.public_bytes()
        for digest in ocsp.DIGESTS:
            hashes = ocsp.issuer_hashes(subject, public_key_of(authority.key_version), digest)
            asked = Asked(digest, *hashes, int(row.serial, 16))
            raw = _sign(authority, [(asked, _status(row.revoked_at, row.reason))], now)
            answers.append(
                OcspAnswer(
                    certificate=row,
                    digest=digest,
                    der=raw,
                    state=row.state,
                    this_update=now,
                    next_update=now + VALID_FOR,
                )
            )
    OcspAnswer.objects.bulk_create(
        answers,
        update_conflicts=True,
        unique_fields=["certificate", "digest"],
        update_fields=["der", "state", "this_update", "next_update"],
    )
    return len(found)


_CERTIFICATE = (
    "authority__certificate", "authority__key", "authority__key_version__key", "authority__responder__key", "authority__ring",
)  # fmt: skip


def presign_new() -> int:
    """The answers for certificates of this minute that have none yet; returns for how many. The tick has all others."""
    fresh = Certificate.objects.filter(
        created_at__gt=timezone.now() - JUST_NOW, authority__certificate__isnull=False, answers=None
    )
    fresh = fresh.exclude(profile__in=["root", "ocsp-responder"]).order_by("created_at", "id")
    done = 0
    while found := list(fresh.values_list("pk", flat=True)[:50]):
        done += presign(found)
    return done


def tick() -> int:
    """Renew answers past half their life, and make those that are missing; returns for how many certificates."""
    old = timezone.now() - REFRESH_AFTER
    fresh = OcspAnswer.objects.filter(this_update__gt=old)
    living = Certificate.objects.filter(
        authority__state__in=["active", "retired", "revoked"], not_after__gt=timezone.now()
    )
    living = living.exclude(profile__in=["root", "ocsp-responder"])
    missing = living.filter(~Q(answers__in=fresh)).order_by("id").values_list("pk", flat=True)[:_BATCH]
    stale = list(missing)
    done = 0
    for start in range(0, len(stale), 50):
        try:
            done += presign(stale[start : start + 50])
        except PortalError as error:
            logger.warning("OCSP answers cannot be signed: %s", error.code)
            break
    OcspAnswer.objects.filter(next_update__lt=timezone.now() - VALID_FOR).delete()
    return done


def ensure_responder(authority_id: UUID) -> bool:
    """Give an authority's delegate a certificate when it has none, when two thirds of its life are over, or when its key
    was rotated; returns whether a new one was issued. Raises ProviderUnavailable when the authority's key is away."""
    authority = Authority.objects.select_related(
        "ring", "key__parent", "key_version__key", "certificate", "responder"
    ).get(pk=authority_id)
    if authority.certificate is None or authority.state not in {
        AuthorityState.ACTIVE.value,
        AuthorityState.RETIRED.value,
    }:
        return False
    key = authority.responder_key or _make_key(authority)
    key.refresh_from_db()
    if key.current is None or not _is_due(authority, key.current):
        return False
    profile = PROFILES["ocsp-responder"]
    now = timezone.now()
    end = min(now - BACKDATE + timedelta(days=profile.default_days), authority.certificate.not_after)
    serial = new_serial()
    draft = Draft(
        profile, public_key_of(key.current), serial, now - BACKDATE, end, f"{authority.title[:50]} OCSP", authority.organization,
        places=places_of(authority, serial),
    )  # fmt: skip
    row = {"requested_by": _SYSTEM.label, "key_id": key.pk, "key_origin": Certificate.KeyOrigin.HIERARCHY}
    issuer = issuer_of(authority)
    with audit.atomic(
        actor=_SYSTEM,
        action="certificate.issue",
        target=("authority", authority.pk, authority.name),
        ring_id=authority.ring_id,
    ):
        granted = grants.write(_SYSTEM, authority, issuer, [(draft, row)])
    [certificate] = grants.sign_and_store(_SYSTEM, authority, issuer, granted)
    Authority.objects.filter(pk=authority.pk).update(responder=certificate)
    return True


def _is_due(authority: Authority, version: KeyVersion) -> bool:
    old = authority.responder
    if old is None or old.state != CertificateState.VALID.value:
        return True
    if timezone.now() > old.not_before + (old.not_after - old.not_before) * 2 / 3:
        return True
    return issuance.load_der_public_key(public_key_of(version)) != parse(old).public_key()


def _make_key(authority: Authority) -> Key:
    """The delegate's key: kept by the portal, so that answers do not depend on the place of the authority's own key."""
    with transaction.atomic():
        Authority.objects.select_for_update().get(pk=authority.pk)
        try:
            with transaction.atomic():
                key = creation.create_key(
                    actor=_SYSTEM, ring=authority.ring, name=f"{authority.name}-ocsp", title=f"OCSP responder of {authority.title}"[:150],
                    kind="transport", algorithm=RESPONDER_ALGORITHM, parent=authority.key.parent,
                )  # fmt: skip
        except IntegrityError:
            key = Key.objects.get(ring=authority.ring, name=f"{authority.name}-ocsp")
        Authority.objects.filter(pk=authority.pk).update(responder_key=key)
        key_views.forget_now_and_on_commit()
    return key


def tick_responders() -> int:
    """Renew delegates' certificates; an authority whose key is away keeps the one it has until it answers again."""
    done = 0
    for authority_id in Authority.objects.filter(state__in=["active", "retired"]).values_list("pk", flat=True):
        try:
            done += ensure_responder(authority_id)
        except PortalError as error:
            logger.warning("no responder certificate for authority %s: %s", authority_id, error.code)
    return done
