"""What relying parties fetch: CA certificates, CRLs and OCSP answers. Nobody signs in, and caches may keep them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.cache import get_conditional_response
from django.utils.decorators import method_decorator
from django.utils.http import http_date
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from certificates import crl as crl_format
from certificates import ocsp
from certificates.models import Authority, CertificateList
from certificates.services import answering, crls, rationing
from certificates.services.answering import Answerer
from certificates.services.reading import chain_of, pem
from keys.services.cache import BoundedCache
from keyvault_portal.accounts.web import address_in
from keyvault_portal.edges import json_problem
from keyvault_portal.errors import NotFound

# A revocation is seen by caches in between after this long at most, whatever the answer itself allows.
MOST_SECONDS = 3600
OCSP = "application/ocsp-response"
PEM = "application/x-pem-file"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer to an OCSP question, with what caches in between are told of it."""

    body: bytes
    headers: dict[str, str]


# Answers by the bytes of their request; short, because a revocation in another process is not told to this one.
_answers: BoundedCache[tuple[str, bytes], Answer] = BoundedCache(max_entries=20_000, max_age=answering.MAX_AGE)
# Who answers under a name; a change of the authority is seen as soon as a revocation.
_answerers: BoundedCache[str, Answerer] = BoundedCache(max_entries=1_000, max_age=answering.MAX_AGE)
# Authorities as they were when their row had this xmin: read whole again only when it has changed.
_authorities: BoundedCache[tuple[str, str], Authority] = BoundedCache(max_entries=1_000, max_age=60.0)


def forget() -> None:
    """Ask the database again."""
    for kept in (_answers, _answerers, _authorities):
        kept.clear()
    answering.forget()


def ocsp_answer(name: str, raw: bytes, environ: Mapping[str, Any]) -> Answer:
    """What an authority answers to the bytes of a question, asked with this CGI environment.

    The very answer that was given to the same bytes in the last two seconds, if it is one that may be kept.
    """
    found = _answers.get((name, raw))
    if found is not None:
        return found
    answerer = _answerers.get(name)
    if answerer is None:
        authority = _authority(name)
        if authority is None:
            return _passing(ocsp.UNAUTHORIZED)
        answerer = Answerer(authority)
        _answerers.put(name, answerer)
    body, until = answering.answer(answerer, raw, may_sign=lambda: rationing.may_sign(address_in(environ)))
    if until is None:
        return _passing(body)
    found = Answer(body, _headers_of(body, until, OCSP))
    _answers.put((name, raw), found)
    return found


def _passing(body: bytes) -> Answer:
    return Answer(body, {"Content-Type": OCSP, "Cache-Control": "no-store"})


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


@require_safe
def chain(request: HttpRequest, name: str) -> HttpResponse:
    """GET /pki/<name>/chain.pem: the authority and all above it, for a server that asks clients for certificates."""
    authority = _authority(name)
    if authority is None or authority.certificate is None:
        return json_problem(NotFound("There is no such authority."))
    rows = [authority.certificate, *chain_of(authority.certificate)]
    return _cached(request, pem(*rows).encode(), PEM, min(row.not_after for row in rows))


@require_safe
def lists(request: HttpRequest, name: str) -> HttpResponse:
    """GET /pki/<name>/crls.pem: every full list of that chain, each partition too; 404 where one is missing."""
    authority = _authority(name)
    found = crls.lists_of_chain(authority) if authority is not None else []
    if not found:
        return json_problem(NotFound("There are no such lists, or one of the chain is not there."))
    body = b"".join(crl_format.pem(bytes(row.der)) for row in found)
    return _cached(request, body, PEM, min(row.next_update for row in found))


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
    return _response(request, body, _headers_of(body, until, media_type))


def _response(request: HttpRequest, body: bytes, headers: dict[str, str]) -> HttpResponse:
    response = HttpResponse(body, headers=headers)
    if "ETag" not in headers:
        return response
    return get_conditional_response(request, etag=headers["ETag"], response=response) or response


def _headers_of(body: bytes, until: datetime, media_type: str) -> dict[str, str]:
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
        found = ocsp_answer(name, request.read(ocsp.MAX_REQUEST + 1), request.META)
        return _response(request, found.body, found.headers)


class OcspGet(View):
    """GET /pki/<name>/ocsp/<base64> (RFC 6960, appendix A.1); `question` was decoded once by the server."""

    def get(self, request: HttpRequest, name: str, question: str) -> HttpResponse:
        try:
            raw = ocsp.from_path(question)
        except ocsp.MalformedRequest:
            raw = b""
        found = ocsp_answer(name, raw, request.META)
        return _response(request, found.body, found.headers)
