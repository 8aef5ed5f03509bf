"""Answers to OCSP questions: the one that was signed beforehand while it is true, else one that is signed because it is asked."""

import logging
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta

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

# What the database said of a certificate, by authority, digest and serial number: for answers that nobody keeps.
_singles: BoundedCache[tuple[str, str, int], bytes] = BoundedCache(max_entries=20_000, max_age=MAX_AGE)


def forget() -> None:
    """Ask the database again."""
    _singles.clear()


class Answerer:
    """One authority, what questions call it, and who signs for it; good as long as its row has not changed."""

    def __init__(self, authority: Authority) -> None:
        self.authority, self.name = authority, authority.name
        self._answers = authority.certificate is not None
        self._called: dict[str, tuple[bytes, bytes]] = {}
        self._signing: tuple[Responder, Signer] | None = None

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
        return self._answers and self.called(asked.digest) == (asked.name_hash, asked.key_hash)

    def sign(self, singles: Sequence[bytes], *, now: datetime, nonce: bytes | None = None) -> bytes:
        """One answer for all that was asked about; raises PortalError while the key is away."""
        if self._signing is None:
            self._signing = self._find_signer()
        responder, sign = self._signing
        return ocsp.build(singles, responder, sign, now=now.replace(microsecond=0), nonce=nonce)

    def _find_signer(self) -> tuple[Responder, Signer]:
        """Who signs, and what does. Of a key that is kept here the first signature is checked, of a provider's every one."""
        responder, version = _responder(self.authority)
        sign = signer(version)

        def checked(data: bytes) -> bytes:
            signature = signing.sign(responder.algorithm, responder.public_key, data, sign)
            if signs_here(version):
                self._signing = responder, sign
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
    ours = [asked for asked in questions if answerer.knows(asked)]
    if not ours:
        return ocsp.UNAUTHORIZED, None  # RFC 5019, 2.2.3: we are not able to say, and sign nothing for guesses
    first, authority, now = questions[0], answerer.authority, timezone.now()
    if len(questions) == 1 and first.nonce is None and (kept := _kept(authority, first, now)):
        return kept
    known = _known(answerer, ours, now)
    if not known:
        return ocsp.UNAUTHORIZED, None
    try:
        if may_sign():
            singles = [known.get(asked) or said(asked, _UNKNOWN, now) for asked in questions]
            return answerer.sign(singles, now=now, nonce=first.nonce), None
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


def _known(answerer: Answerer, asked: Sequence[Asked], now: datetime) -> dict[Asked, bytes]:
    """What is known of these certificates, for two seconds at most; those that are not there are left out."""
    found = {one: kept for one in asked if (kept := _singles.get((answerer.name, one.digest, one.serial)))}
    missing = [one for one in asked if one not in found]
    if missing:
        statuses = _asked(answerer.authority, {one.serial for one in missing})
        for one in missing:
            if one.serial in statuses:
                found[one] = said(one, statuses[one.serial], now)
                _singles.put((answerer.name, one.digest, one.serial), found[one])
    return found


def said(asked: Asked, status: Status, now: datetime) -> bytes:
    """What an answer says of a certificate whose status is known since `now`."""
    since = now.replace(microsecond=0)
    return ocsp.single(asked, status, this_update=since, next_update=since + VALID_FOR)


def _asked(authority: Authority, serials: Collection[int]) -> dict[int, Status]:
    with connection.cursor() as cursor:
        cursor.execute(_STATUS, [authority.pk, [f"{serial:x}" for serial in serials]])
        rows = cursor.fetchall()
    return {int(serial, 16): status_of(revoked_at, reason) for serial, revoked_at, reason in rows}


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
