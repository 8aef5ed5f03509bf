"""What relying parties fetch: CA certificates, CRLs and OCSP answers. Nobody signs in, and caches may keep them."""

import hashlib
from datetime import datetime

from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.cache import get_conditional_response, patch_cache_control
from django.utils.decorators import method_decorator
from django.utils.http import http_date
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from certificates import ocsp
from certificates.models import Authority, CertificateList
from certificates.services import crls, status
from keys.services.cache import BoundedCache
from keyvault_portal.accounts.web import client_address
from keyvault_portal.edges import json_problem
from keyvault_portal.errors import NotFound

# A revocation is seen by caches in between after this long at most, whatever the answer itself allows.
MOST_SECONDS = 3600
# Answers by the bytes of their request; short, because a revocation in another process is not told to this one.
_answers: BoundedCache[tuple[str, bytes], tuple[bytes, datetime]] = BoundedCache(max_entries=20_000, max_age=2.0)


# Authorities as they were when their row had this xmin: read whole again only when it has changed.
_authorities: BoundedCache[tuple[str, str], Authority] = BoundedCache(max_entries=1_000, max_age=60.0)


def forget() -> None:
    """Ask the database again."""
    _answers.clear()
    _authorities.clear()


def kept_answer(name: str, raw: bytes) -> tuple[bytes, datetime] | None:
    """The answer that was given to these very bytes in the last two seconds, and until when it may be kept."""
    return _answers.get((name, raw))


@require_safe
def certificate(request: HttpRequest, name: str) -> HttpResponse:
    """GET /pki/<name>/ca.cer: the authority's own certificate in DER (RFC 5280, 4.2.2.1)."""
    authority = _authority(name)
    if authority is None or authority.certificate is None:
        return json_problem(NotFound("There is no such authority."))
    return _cached(request, bytes(authority.certificate.der), "application/pkix-cert", authority.certificate.not_after)


@require_safe
def crl(request: HttpRequest, name: str, partition: int = 0) -> HttpResponse:
    """GET /pki/<name>/crl and /pki/<name>/crl/<partition>"""
    return _list(request, name, partition, CertificateList.Kind.FULL)


@require_safe
def delta(request: HttpRequest, name: str) -> HttpResponse:
    """GET /pki/<name>/crl/delta"""
    return _list(request, name, 0, CertificateList.Kind.DELTA)


def _list(request: HttpRequest, name: str, partition: int, kind: str) -> HttpResponse:
    authority = _authority(name)
    found = crls.newest(authority, partition, kind) if authority is not None else None
    if found is None:
        return json_problem(NotFound("There is no such list."))
    response = _cached(request, bytes(found.der), "application/pkix-crl", found.next_update)
    response["Last-Modified"] = http_date(found.this_update.timestamp())
    return response


def _authority(name: str) -> Authority | None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT xmin::text FROM certificates_authority WHERE name = %s", [name])
        found = cursor.fetchone()
    if found is None:
        return None
    authority = _authorities.get((name, found[0]))
    if authority is None:
        related = ("certificate", "key", "key_version__key", "responder__key", "ring")
        authority = Authority.objects.select_related(*related).get(name=name)
        _authorities.put((name, found[0]), authority)
    return authority


def _cached(request: HttpRequest, body: bytes, media_type: str, until: datetime) -> HttpResponse:
    response = HttpResponse(body, headers=headers_of(body, until, media_type))
    return get_conditional_response(request, etag=response["ETag"], response=response) or response


def headers_of(body: bytes, until: datetime, media_type: str = "application/ocsp-response") -> dict[str, str]:
    """What caches in between are told of something that is public and good `until` then."""
    left = int((until - timezone.now()).total_seconds())
    return {
        "Content-Type": media_type, "ETag": f'"{hashlib.sha256(body).hexdigest()}"', "Expires": http_date(until.timestamp()),
        "Cache-Control": f"public, no-transform, max-age={max(0, min(left, MOST_SECONDS))}",
    }  # fmt: skip


@method_decorator(csrf_exempt, name="dispatch")
class OcspPost(View):
    """POST /pki/<name>/ocsp (RFC 6960, appendix A.1)."""

    def post(self, request: HttpRequest, name: str) -> HttpResponse:
        return _answer(request, name, request.read(ocsp.MAX_REQUEST + 1))


class OcspGet(View):
    """GET /pki/<name>/ocsp/<base64> (RFC 6960, appendix A.1); `question` was decoded once by the server."""

    def get(self, request: HttpRequest, name: str, question: str) -> HttpResponse:
        try:
            raw = ocsp.from_path(question)
        except ocsp.MalformedRequest:
            return _plain(ocsp.MALFORMED)
        return _answer(request, name, raw)


def _answer(request: HttpRequest, name: str, raw: bytes) -> HttpResponse:
    kept = _answers.get((name, raw))
    if kept is not None:
        return _cached(request, kept[0], _OCSP, kept[1])
    authority = _authority(name)
    if authority is None:
        return _plain(ocsp.UNAUTHORIZED)
    answer, until = status.answer(authority, raw, may_sign=lambda: _may_sign(request))
    if until is None:
        return _plain(answer)
    _answers.put((name, raw), (answer, until))
    return _cached(request, answer, _OCSP, until)


_OCSP = "application/ocsp-response"


def _plain(answer: bytes) -> HttpResponse:
    response = HttpResponse(answer, content_type=_OCSP)
    patch_cache_control(response, no_store=True)
    return response


def _may_sign(request: HttpRequest) -> bool:
    """Signatures cost something, at an HSM much: one address gets a few a minute, and kept answers without end."""
    key = f"ocsp:{client_address(request)}"
    try:
        return int(cache.incr(key)) <= settings.OCSP_SIGNATURES_A_MINUTE
    except ValueError:  # the first of this minute
        return bool(cache.add(key, 1, 60)) <= settings.OCSP_SIGNATURES_A_MINUTE
