"""Which authorities and certificates stand on a key version, for those who are about to replace or destroy it."""

from hashlib import sha256

from django.db.models import QuerySet
from django.utils import timezone

from certificates.models import Authority, Certificate
from certificates.states import AuthorityState, CertificateState
from keys.models import KeyVersion
from keys.services.dependents import Dependents


def standing_on(version: KeyVersion) -> Dependents:
    """The authorities whose key it is, the OCSP responders that sign with it, and the live certificates that hold it."""
    destroyed: list[str] = []
    rotated: list[str] = []
    authorities = Authority.objects.filter(key_version=version).exclude(state=AuthorityState.REVOKED.value)
    for authority in authorities.order_by("name"):
        living = _many(_live().filter(authority=authority).count(), "live certificate")
        destroyed.append(
            f"It is the key of the authority {authority} with {living}: it never issues again, and when its CRL and OCSP answers "
            "run out, nobody can check them any more."
        )  # fmt: skip
        rotated.append(
            f"It is the key of the authority {authority} with {living}. An authority signs with the version it was certified for: "
            "after a rotation it can neither issue nor sign a CRL. Make a second authority and roll over to it instead."
        )  # fmt: skip
    answering = Authority.objects.filter(responder_key=version.key_id, responder__isnull=False)
    destroyed += [
        f"It signs the OCSP answers of the authority {authority}."
        for authority in answering.select_related("responder")
        if authority.responder is not None and authority.responder.spki_sha256 == _digest(version)
    ]
    own = authorities.values("certificate")
    if number := _live().filter(spki_sha256=_digest(version)).exclude(pk__in=own).count():
        destroyed.append(
            f"{_many(number, 'live certificate')} hold{'s' if number == 1 else ''} this key: what serves with it cannot prove itself "
            "any more."
        )  # fmt: skip
        rotated.append(
            f"{_many(number, 'live certificate')} hold{'s' if number == 1 else ''} the present version; the new one has none until "
            "it is certified."
        )  # fmt: skip
    return Dependents(tuple(destroyed), tuple(rotated))


def _live() -> QuerySet[Certificate]:
    return Certificate.objects.filter(state=CertificateState.VALID.value, not_after__gt=timezone.now())


def _digest(version: KeyVersion) -> str:
    return sha256(bytes(version.public_key)).hexdigest() if version.public_key is not None else ""


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
