"""Public JWK sets; nobody signs in to read them, and caches may keep them for minutes."""

import hashlib

import orjson
from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response, patch_cache_control
from django.views.decorators.http import require_safe

from keys.services import jwks
from keyvault_portal.edges import json_problem
from keyvault_portal.errors import NotFound


@require_safe
def all_keys(request: HttpRequest) -> HttpResponse:
    """GET /.well-known/jwks.json"""
    return _answer(request, None, None)


@require_safe
def one_key(request: HttpRequest, ring: str, name: str) -> HttpResponse:
    """GET /jwks/<ring>/<name>.json"""
    return _answer(request, ring, name)


def _answer(request: HttpRequest, ring: str | None, name: str | None) -> HttpResponse:
    try:
        body = orjson.dumps(jwks.document(ring, name))
    except NotFound as error:
        return json_problem(error)
    response = HttpResponse(body, content_type="application/jwk-set+json")
    etag = f'"{hashlib.sha256(body).hexdigest()}"'
    response["ETag"] = etag
    response["Access-Control-Allow-Origin"] = "*"
    patch_cache_control(response, public=True, max_age=jwks.MAX_AGE_SECONDS)
    return get_conditional_response(request, etag=etag, response=response) or response
