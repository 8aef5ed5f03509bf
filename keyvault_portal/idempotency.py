"""Idempotent writes: a repeated request with the same Idempotency-Key gets the first answer and acts once.

After draft-ietf-httpapi-idempotency-key-header-07, section 2. The caller is known before anything is looked up, and a key
belongs to the token or the person who sent it: nobody fetches the answer given to somebody else, or with a credential that
is no longer accepted. Nor does a caller who was allowed more at that time: which right the act took is known to the act
alone, so the loss of any withholds the answer, and a repeat never acts. An answer that holds a secret is never kept, and a
repeat is told that the act was done: one whose view says so by `holds_secret`, else one marked `Cache-Control: no-store`. A
problem document holds none.
"""

from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256

from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.api_auth import request_actor
from keyvault_portal.edges import json_problem
from keyvault_portal.errors import Conflict, PermissionRefused, PortalError, ValidationFailed
from keyvault_portal.models import IdempotencyRecord

KEPT_FOR = timedelta(hours=24)
LONGEST_REQUEST = timedelta(minutes=5)
_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HEADERS = ("Content-Type", "Location")


type Rights = dict[str, list[str]]
"""Permissions, roles and the second factor, by ring; on everything where its name is empty."""


class AnswerWithheld(PermissionRefused):
    code, title = "answer_withheld", "The first answer is not given again"


class IdempotencyMiddleware:
    """Applies to writes below /api/v1/ that carry the header."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        key = request.headers.get("Idempotency-Key")
        if key is None or request.method not in _WRITES or not request.path.startswith("/api/v1/"):
            return self.get_response(request)
        if not 1 <= len(key) <= 255:
            return json_problem(ValidationFailed("An Idempotency-Key has 1 to 255 characters."))
        try:
            actor = request_actor(request)
        except PortalError as error:
            return json_problem(error)
        caller, rights = _caller(actor), _rights(actor)
        digest = sha256(
            b"\0".join([str(request.method).encode(), request.get_full_path().encode(), request.body])
        ).digest()
        try:
            with transaction.atomic():
                record = IdempotencyRecord.objects.create(caller=caller, key=key, request_digest=digest, rights=rights)
        except IntegrityError:
            return _repeat(caller, key, digest, rights)
        try:
            response = self.get_response(request)
        except BaseException:
            record.delete()
            raise
        return _remember(record, response)


def forget_old() -> int:
    """Delete answers older than a day; returns how many."""
    return IdempotencyRecord.objects.filter(created_at__lt=timezone.now() - KEPT_FOR).delete()[0]


def _caller(actor: Actor) -> bytes:
    who = f"token {actor.token_id}" if actor.token_id else f"person {actor.id}"
    return sha256(who.encode()).digest()


def _rights(actor: Actor) -> Rights:
    held: defaultdict[str, set[str]] = defaultdict(set)
    for grant in actor.grants:
        held[str(grant.ring_id or "")] |= {permission.value for permission in grant.permissions}
    for role, ring_id in actor.roles:
        held[str(ring_id or "")].add(f"role {role}")
    if actor.second_factor:
        held[""].add("second factor")
    return {ring: sorted(names) for ring, names in held.items()}


def _cover(now: Rights, then: Rights | None) -> bool:
    """Whether nothing was lost since; of an answer that was kept without the rights that is not known."""
    everywhere = set(now.get("", ()))
    return then is not None and all(everywhere.union(now.get(ring, ())).issuperset(then[ring]) for ring in then)


def _repeat(caller: bytes, key: str, digest: bytes, rights: Rights) -> HttpResponse:
    record = IdempotencyRecord.objects.filter(caller=caller, key=key).first()
    if record is not None and record.status is None and record.created_at < timezone.now() - LONGEST_REQUEST:
        return json_problem(
            Conflict(
                "The first request with this Idempotency-Key was interrupted; whether it acted is not known.",
                hint="Look whether it was done, then use a new key.",
            )
        )
    if record is None or record.status is None:
        return json_problem(
            Conflict("The first request with this Idempotency-Key is still running.", hint="Ask again in a moment.")
        )
    if bytes(record.request_digest) != digest:
        return json_problem(
            ValidationFailed("This Idempotency-Key was used for a different request.", hint="Use a new key.")
        )
    if not _cover(rights, record.rights):
        return json_problem(
            AnswerWithheld(
                "This was answered before; the answer is not given again, because you had more rights at that time.",
                hint="Look whether it was done; a new key asks for it with the rights that you have now.",
            )
        )
    if not record.kept:
        return json_problem(
            Conflict(
                "This was done before; its answer held a secret and is not kept.", hint="Use a new key to do it again."
            )
        )
    response = HttpResponse(bytes(record.body), status=record.status)
    for name, value in record.headers.items():
        response[name] = value
    response["Idempotency-Replayed"] = "true"
    return response


def _remember(record: IdempotencyRecord, response: HttpResponseBase) -> HttpResponseBase:
    refused = response.status_code >= 500 or response.status_code in {401, 403, 411, 429}
    if refused or not isinstance(response, HttpResponse):
        record.delete()  # nothing was done that a repeat could double
        return response
    if hasattr(response, "render") and not getattr(response, "is_rendered", True):
        response.render()
    secret = getattr(response, "holds_secret", "no-store" in response.headers.get("Cache-Control", ""))
    record.kept = response.status_code >= 400 or not secret
    record.status = response.status_code
    if record.kept:
        record.body = response.content
        record.headers = {name: response[name] for name in _HEADERS if response.has_header(name)}
    record.save(update_fields=["status", "kept", "body", "headers"])
    return response
