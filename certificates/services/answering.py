"""Answers to OCSP questions: the one that was signed beforehand while it is true, else one that is signed because it is asked."""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection
from django.utils import timezone

from certificates import issuance, ocsp, signing
from certificates.models import Authority, Certificate
from certificates.ocsp import Asked, Responder, Status
from certificates.services.reading import parse
from certificates.services.signers import public_key_of, signer, signs_here
from certificates.signing import Signer
from certificates.states import Reason
from keys.models import Key, KeyVersion
from keys.services import key_views
from keys.services.cache import BoundedCache
from keyvault_portal.errors import PortalError

logger = logging.getLogger(__name__)
VALID_FOR = timedelta(days=4)
MAX_AGE = 2.0  # seconds for which a revocation in another process may go unseen

# What the database said of a certificate, and when: for answers that nobody keeps.
_statuses: BoundedCache[tuple[UUID, int], tuple[Status, datetime]] = BoundedCache(max_entries=20_000, max_age=MAX_AGE)


def forget() -> None:
    """Ask the database again."""
    _statuses.clear()


class Answerer:
    """One authority, what questions call it, and who signs for it; good as long as its row has not changed."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self._called: dict[str, tuple[bytes, bytes]] = {}
        self._signing: tuple[Responder, Signer] | None = None
        self._trusted = False

    def called(self, digest: str) -> tuple[bytes, bytes]:
        """Hashes of the authority's name and key."""
        found = self._called.get(digest)
        if found is None:
            assert self.authority.certificate is not None
            subject = parse(self.authority.certificate).subject.public_bytes()
            found = ocsp.issuer_hashes(subject, public_key_of(self.authority.key_version), digest)
            self._called[digest] = found
        return found

    def knows(self, asked: Asked) -> bool:
        """Whether the question is about a certificate of this authority."""
        if self.authority.certificate is None:
            return False
        return self.called(asked.digest) == (asked.name_hash, asked.key_hash)

    def sign(self, about: Sequence[tuple[Asked, Status]], *, now: datetime, known_at: datetime) -> bytes:
        """One answer for all that was asked about, true at `known_at`; raises PortalError while the key is away."""
        if self._signing is None:
            self._signing = self._find_signer()
        responder, sign = self._signing
        known_at = known_at.replace(microsecond=0)
        return ocsp.build(
            about, responder, sign, now=now.replace(microsecond=0), this_update=known_at, next_update=known_at + VALID_FOR
        )  # fmt: skip

    def _find_signer(self) -> tuple[Responder, Signer]:
        """Who signs, and what does. Of a key that is kept here the first signature is checked, of a provider's every one."""
        responder, version = _responder(self.authority)
        sign = signer(version)

        def checked(data: bytes) -> bytes:
            if self._trusted:
                return sign(data)
            signature = signing.sign(responder.algorithm, responder.public_key, data, sign)
            self._trusted = signs_here(version)
            return signature

        return responder, checked


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


def answer(
    answerer: Answerer, raw: bytes, *, may_sign: Callable[[], bool] = lambda: True
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
    ours = {asked.serial for asked in questions if answerer.knows(asked)}
    if not ours:
        return ocsp.UNAUTHORIZED, None  # RFC 5019, 2.2.3: we are not able to say, and sign nothing for guesses
    first, authority, now = questions[0], answerer.authority, timezone.now()
    if len(questions) == 1 and first.nonce is None and (kept := _kept(authority, first, now)):
        return kept
    known = _known(authority, ours, now)
    if not known:
        return ocsp.UNAUTHORIZED, None
    try:
        if may_sign():
            about = [
                (asked, known[asked.serial][0] if answerer.knows(asked) and asked.serial in known else _UNKNOWN)
                for asked in questions
            ]
            return answerer.sign(about, now=now, known_at=min(at for _, at in known.values())), None
    except PortalError as error:
        logger.warning("no fresh OCSP answer for a certificate of %s: %s", authority.name, error.code)
    kept = _kept(authority, first, now) if len(questions) == 1 else None
    return kept if kept is not None else (ocsp.TRY_LATER, None)


_UNKNOWN = Status(known=False)  # a certificate that is none of the authority's (RFC 6960, 2.2)


def _kept(authority: Authority, asked: Asked, now: datetime) -> tuple[bytes, datetime] | None:
    """The answer that was signed beforehand, if the database says at this moment that it is true."""
    with connection.cursor() as cursor:  # asked for every answer: the ORM takes longer than the index
        cursor.execute(_KEPT, [authority.pk, f"{asked.serial:x}", asked.digest, now])
        found = cursor.fetchone()
    return None if found is None else (bytes(found[0]), found[1])


def _known(authority: Authority, serials: Collection[int], now: datetime) -> dict[int, tuple[Status, datetime]]:
    """What is known of these certificates since when, for two seconds at most; those that are not there are left out."""
    found = {serial: kept for serial in serials if (kept := _statuses.get((authority.pk, serial)))}
    if len(found) < len(serials):
        for serial, status in _asked(authority, [serial for serial in serials if serial not in found]):
            found[serial] = status, now
            _statuses.put((authority.pk, serial), (status, now))
    return found


def _asked(authority: Authority, serials: Collection[int]) -> Iterable[tuple[int, Status]]:
    with connection.cursor() as cursor:
        cursor.execute(_STATUS, [authority.pk, [f"{serial:x}" for serial in serials]])
        rows = cursor.fetchall()
    return [(int(serial, 16), status_of(revoked_at, reason)) for serial, revoked_at, reason in rows]


def status_of(revoked_at: datetime | None, reason: str) -> Status:
    """The status that these columns of a certificate say."""
    return Status() if revoked_at is None else Status(revoked_at, Reason(reason))


_KEPT = """
SELECT a.der, a.next_update FROM certificates_certificate AS c
JOIN certificates_ocspanswer AS a ON a.certificate_id = c.id AND a.state = c.state
WHERE c.authority_id = %s AND c.serial = %s AND a.digest = %s AND a.next_update > %s
"""
_STATUS = """
SELECT serial, revoked_at, reason FROM certificates_certificate WHERE authority_id = %s AND serial = ANY(%s)
"""
