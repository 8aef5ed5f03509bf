"""The OCSP responder's schedule: answers signed beforehand by a delegate, and the delegate's own certificate."""

import logging
from datetime import timedelta
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from certificates import issuance, ocsp
from certificates.issuance import BACKDATE, Draft, new_serial
from certificates.models import Authority, Certificate, OcspAnswer
from certificates.ocsp import Asked
from certificates.profiles import PROFILES
from certificates.services import grants
from certificates.services.answering import VALID_FOR, Answerer, said, status_of
from certificates.services.reading import issuer_of, parse
from certificates.services.signers import places_of, public_key_of
from certificates.states import AuthorityState, CertificateState
from keys.models import Key, KeyVersion
from keys.services import creation, key_views
from keyvault_portal.accounts.actors import system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import PortalError

logger = logging.getLogger(__name__)
_SYSTEM = system_actor("OCSP responder", Permission.KEY_CREATE, Permission.KEY_VIEW)
REFRESH_AFTER = VALID_FOR / 2
JUST_NOW = timedelta(minutes=1)
RESPONDER_ALGORITHM = "ECDSA-P256-SHA256"
_BATCH = 500


def presign(certificate_ids: list[UUID]) -> int:
    """Sign and keep the answers for these certificates, one for each digest; returns how many certificates."""
    rows = Certificate.objects.select_related(*_CERTIFICATE).filter(
        pk__in=certificate_ids, authority__certificate__isnull=False
    )
    now = timezone.now()
    answers = []
    found = list(rows)
    answerers: dict[UUID, Answerer] = {}
    for row in found:
        assert row.authority is not None
        answerer = answerers.setdefault(row.authority.pk, Answerer(row.authority))
        for digest in ocsp.DIGESTS:
            asked = Asked(digest, *answerer.called(digest), int(row.serial, 16))
            raw = answerer.sign([said(asked, status_of(row.revoked_at, row.reason), now)], now=now)
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
