"""Vault's API as Django views: a token, a body, the operation, one audit event; no framework in between."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from django.http import HttpRequest, HttpResponse

from keys.dataplane import bodies
from keys.dataplane.bodies import Field
from keys.dataplane.callers import token_actor
from keys.services import key_views, seal_watch
from keys.services.operations import audited, authorize_use
from keys.vault import reading, system
from keys.vault.answers import answer, plain, refusal, words
from keys.vault.transit import OPERATIONS, TransitOperation
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.api_auth import bearer_token
from keyvault_portal.accounts.web import client_address
from keyvault_portal.edges import HttpError, as_portal_error, length_required
from keyvault_portal.errors import NotAuthenticated, NotFound, PortalError, ValidationFailed

type View = Callable[..., HttpResponse]

LONGEST_NAME = 100
_BATCH = Field("batch_input", bodies.batch, {})
_NAME, _LIMIT = re.compile(rf"[-a-zA-Z0-9_]{{0,{LONGEST_NAME}}}", re.ASCII), re.compile(r"[1-9][0-9]{0,3}", re.ASCII)
_WRITES = frozenset({"POST", "PUT"})
_GOVERNED = "Keys are made, rotated, changed and ended in the portal, where people agree to it."

_MOUNTS = "Each key ring is a mount of the transit engine here; of Vault's API nothing else is served."


def _view(methods: Iterable[str], *, hint: str = "") -> Callable[[View], View]:
    """A view for machines: other methods are refused with `hint`, and every PortalError is told as Vault tells it."""
    allowed = frozenset(methods)

    def decorate(inner: View) -> View:
        def view(request: HttpRequest, **words: str) -> HttpResponse:
            try:
                if request.method not in allowed:
                    raise HttpError(405, "This is not done here.", hint=hint)
                return inner(request, **words)
            except Exception as error:
                known = as_portal_error(error)
                if known is None:
                    raise
                return refusal(known)

        return _for_machines(view, allowed)

    return decorate


def _for_machines(view: View, methods: frozenset[str]) -> View:
    view.csrf_exempt = True  # type: ignore[attr-defined]  # no cookie is read here
    view.answers_machines = True  # type: ignore[attr-defined]
    view.machine_methods = methods  # type: ignore[attr-defined]
    return view


def _always(error: PortalError) -> View:
    """A view that refuses whatever is asked."""
    return _for_machines(lambda request, **words: refusal(error), frozenset())


def _caller(request: HttpRequest) -> Actor:
    """The actor behind `X-Vault-Token` or a bearer token; raises Sealed, NotAuthenticated."""
    seal_watch.require_open()
    text = request.META.get("HTTP_X_VAULT_TOKEN") or bearer_token(request)
    if not text:
        raise NotAuthenticated("This request carries no token.")
    return token_actor(text, client_address(request))


def _body(request: HttpRequest) -> dict[str, Any]:
    """The JSON object of a request, whatever media type it claims; none at all is an empty one."""
    length = request.META.get("CONTENT_LENGTH") or ""
    if not length.isdecimal():
        if request.META.get("HTTP_TRANSFER_ENCODING"):
            raise length_required()
        return {}
    bodies.check_head("application/json", int(length))
    return {} if request.body.strip() in {b"", b"null"} else bodies.load(request.body)  # as `bao write -f` sends none


def use(name: str) -> View:
    """The endpoint of one operation of transit on one key."""
    known = OPERATIONS[name]

    @_view(_WRITES)
    def view(request: HttpRequest, ring: str, key: str, algorithm: str = "") -> HttpResponse:
        actor, ignored = _caller(request), set[str]()
        if max(len(ring), len(key)) > LONGEST_NAME:  # a name that none can have is not put on record
            raise NotFound("There is no such key.")
        with audited(actor, known.action, f"{ring}/{key}") as entry:
            body = _body(request)
            if algorithm:
                body["hash_algorithm"] = algorithm
            batch = known.batched and "batch_input" in body
            items, options = _read(known, body, ignored, batch=batch)
            good = [item for item in items if not isinstance(item, PortalError)]
            authorize_use(actor, known.permission, key_views.view(f"{ring}/{key}"))
            done = iter(_done(known, actor, f"{ring}/{key}", good, options))
            results = [item if isinstance(item, PortalError) else next(done) for item in items]
            entry.note(results)
            if not batch and isinstance(results[0], PortalError):
                raise results[0]
        told = [{"error": words(each)} if isinstance(each, PortalError) else known.show(each) for each in results]
        if not batch:
            return answer(told[0], ignored=sorted(ignored))
        rows = [
            row | {"reference": item["reference"] if isinstance(item, dict) else ""}
            for item, row in zip(items, told, strict=True)
        ]
        status = _batch_status(known, sum(isinstance(each, PortalError) for each in results), len(results), options)
        return answer({"batch_results": rows}, status=status, ignored=sorted(ignored))

    return view


def _done(known: TransitOperation, actor: Actor, key: str, items: list[Any], options: dict[str, Any]) -> list[Any]:
    """The result or the error of every item; a version that is not there makes a wrong request."""
    try:
        results = known.run(actor, key, items, options) if items else []
    except NotFound as error:
        raise ValidationFailed(error.detail) from None
    return [ValidationFailed(each.detail) if isinstance(each, NotFound) else each for each in results]


def _read(
    known: TransitOperation, body: dict[str, Any], ignored: set[str], *, batch: bool
) -> tuple[list[dict[str, Any] | ValidationFailed], dict[str, Any]]:
    """The items of a request, or what is wrong with each, and what holds for all of them."""
    if not batch:
        values = bodies.take(body, (*known.item, *known.options), ignored)
        return [values], values
    options = bodies.take(body, (_BATCH, *_at_large(known)), ignored)
    return [_item(known, value, ignored) for value in options.pop("batch_input")], options


def _at_large(known: TransitOperation) -> tuple[Field, ...]:
    """What may stand beside a batch: the options, and the version that otherwise stands in the one item."""
    return (*known.options, *(field for field in known.item if field.name == "key_version"))


def _item(known: TransitOperation, value: Any, ignored: set[str]) -> dict[str, Any] | ValidationFailed:
    try:
        return bodies.take(value, known.item, ignored)
    except ValidationFailed as error:
        return error


def _batch_status(known: TransitOperation, refused: int, count: int, options: dict[str, Any]) -> int:
    """The status of a batch of which so many items were refused; the caller may name the one for a part of them."""
    if 0 < refused < count and options.get("partial_failure_response_code"):
        return int(options["partial_failure_response_code"])
    return known.refused_batch if refused else 200


@_view({"GET", "LIST"})
def key_names(request: HttpRequest, ring: str) -> HttpResponse:
    """The names of a ring's keys, a thousand at most; `after` goes on."""
    actor = _caller(request)
    after, limit = request.GET.get("after", ""), request.GET.get("limit", str(reading.MOST_NAMES))
    wrong = {} if _NAME.fullmatch(after) else {"after": ["Give the name of a key."]}
    wrong |= {} if _LIMIT.fullmatch(limit) else {"limit": ["Give a number from 1 to 9999."]}
    if wrong:
        raise ValidationFailed(errors=wrong)
    return answer({"keys": reading.names(actor, ring, after=after, limit=int(limit))})


@_view({"GET"}, hint=_GOVERNED)
def key_detail(request: HttpRequest, ring: str, key: str) -> HttpResponse:
    """One key, its versions and public halves."""
    return answer(reading.described(_caller(request), ring, key))


governed = _always(HttpError(405, "This is not done here.", hint=_GOVERNED))
nowhere = _always(NotFound("There is nothing at this address.", hint=_MOUNTS))


@_view({"GET", "HEAD"})
def health(request: HttpRequest) -> HttpResponse:
    """200 while keys can be used, 503 while the portal is sealed."""
    told = system.health()
    return plain(told, status=503 if told["sealed"] else 200)


@_view({"GET"})
def seal_status(request: HttpRequest) -> HttpResponse:
    """Whether the portal is sealed, and how far it is opened."""
    return plain(system.seal_status())


@_view({"GET"})
def leader(request: HttpRequest) -> HttpResponse:
    """Every web process of the portal is as good as another."""
    return plain({"ha_enabled": False, "is_self": False, "leader_address": "", "leader_cluster_address": ""})


@_view({"GET", "POST", "PUT"})
def own_token(request: HttpRequest) -> HttpResponse:
    """What the caller's token is."""
    return answer(system.own_token(_caller(request)))
