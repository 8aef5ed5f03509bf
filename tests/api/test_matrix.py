"""Every route and method, asked by every role in the ring, in another one and everywhere, answers as its rule says."""

from collections.abc import Iterator
from http.cookies import SimpleCookie
from typing import Any
from uuid import UUID

import orjson
import pytest
from django.db import transaction
from django.template.backends.django import Template
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils.safestring import SafeString
from drf_spectacular.generators import SchemaGenerator

from keys.dataplane import callers
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.permissions import Permission
from tests.api.rules import RULES, Rule
from tests.api.world import Caller, World, build_world
from tests.keys.conftest import forget_all

DELEGATED = "account/"  # allauth's own pages: one's own sign-in and factors, tested by their authors
REFUSED = "errors/problem.html"  # the same page whatever was refused
METHODS = ("get", "post", "put", "patch", "delete")
# What the words in addresses stand for, by the route's name where the word alone does not say.
OBJECTS = {
    "person": "person", "role-bind": "person", "role-unbind": "binding", "role-binding": "binding", "ring": "ring",
    "token": "token", "session": "session", "approval": "approval", "rotation": "rotation", "store": "store",
    "authority": "authority", "acme-external-key": "external_key", "acme-account": "acme_account", "acme-order": "acme_order", "certificate": "certificate", "ceremony": "ceremony", "share-set": "generation", "share": "share",
    "provider-work": "work", "move": "move", "import": "import", "export": "export", "seal": "seal", "key": "key",
    "signing-key": "signing key", "audit-event": "event", "checkpoint": "size", "scan-range": "range", "scan-target": "target",
    "log-list": "log_list", "log-monitor": "monitor", "acme-source": "refused", "dns-hook": "dns_hook", "renewal": "managed",
    "deploy-hook": "hook", "delivery": "delivery", "rollover": "rollover", "relying-party": "party",
}  # fmt: skip


def routes(patterns: Any = None, prefix: str = "", space: str = "") -> Iterator[tuple[str, str, Any]]:
    """(address pattern, name, view) of everything the portal serves itself."""
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        where = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from routes(entry.url_patterns, where, f"{space}{entry.namespace}:" if entry.namespace else space)
        elif isinstance(entry, URLPattern) and not where.startswith(DELEGATED):
            yield where, f"{space}{entry.name or ''}", entry.callback


def methods(view: Any) -> set[str]:
    if actions := getattr(view, "actions", None):
        return {name.upper() for name in actions}
    if (told := getattr(view, "machine_methods", None)) is not None:
        return set(told)
    view_class = getattr(view, "view_class", None) or getattr(view, "cls", None)
    if view_class is None:
        return {"POST"} if getattr(view, "answers_machines", False) else {"GET"}
    allowed = getattr(view_class, "http_method_names", METHODS)
    return {name.upper() for name in METHODS if name in allowed and hasattr(view_class, name)}


ROUTES = {f"{method} {name}": where for where, name, view in routes() for method in methods(view)}


def test_every_route_has_a_rule_and_every_rule_a_route():
    assert set(ROUTES) == set(RULES)


def address(name: str, where: str, world: World) -> str:
    objects, words = world.objects, {}
    for word in (
        "key_id",
        "rotation_id",
        "move_id",
        "store_id",
        "seal_id",
        "request_id",
        "item_id",
        "number",
        "newer",
        "link",
        "seq",
        "size",
        "alias",
        "kind",
        "finding_id",
        "intent_id",
        "authority_id",
        "certificate_id",
        "partition",
        "question",
        "ceremony_id",
        "participant_id",
        "share_id",
        "generation_id",
        "label",
        "act",
        "import_id",
        "export_id",
        "target_id",
        "range_id",
        "monitor_id",
        "source_id",
        "managed_id",
        "hook_id",
        "delivery_id",
        "rollover_id",
        "party_id",
        "to",
        "external_id",
        "account_id",
        "order_id",
        "authorization_id",
        "challenge_id",
        "identifier",
    ):
        if f"{word}>" in where:
            words[word] = _value(word, objects)
    if "differences/" in where and "number" in words:
        words["number"] = objects["finding"].pk
    if "<pk>" in where or ":pk>" in where:
        kind = name.rsplit(":", 1)[-1].removeprefix("api-")
        matching = max((prefix for prefix in OBJECTS if kind.startswith(prefix)), key=len)
        found = objects[OBJECTS[matching]]
        words["pk"] = found if isinstance(found, int) else found.pk
    if name.startswith(("pki-", "acme-")):
        words["name"] = "servers"
    if name.startswith("vault-"):
        kinds = {"ring": world.place.ring.name, "key": "data", "algorithm": "sha2-256"}
        words = {word: kinds[word] for word in kinds if f"{word}>" in where}
    if name == "jwks-key":
        words = {"ring": world.place.ring.name, "name": "tokens"}
    return reverse(name, kwargs=words)


def _value(word: str, objects: dict[str, Any]) -> Any:
    return {
        "key_id": objects["key"].pk, "rotation_id": objects["rotation"].pk, "move_id": objects["move"].pk, "store_id": objects["store"].pk, "seal_id": objects["seal"].pk,
        "request_id": objects["approval"].pk, "item_id": objects["item"].pk, "number": 1, "newer": objects["size"],
        "link": f"{UUID(int=1).hex}_nothing", "seq": objects["event"].seq, "size": objects["size"],
        "alias": objects["provider"].alias, "kind": "stand_in", "finding_id": objects["finding"].pk, "intent_id": objects["work"].pk,
        "authority_id": objects["authority"].pk, "certificate_id": objects["certificate"].pk, "partition": 0, "question": "MAA=",
        "ceremony_id": objects["ceremony"].pk, "participant_id": objects["seat"].pk, "share_id": objects["share"].pk,
        "generation_id": objects["generation"].pk, "label": "escrow:1", "act": "sign",
        "import_id": objects["import"].pk, "export_id": objects["export"].pk, "source_id": objects["refused"].pk,
        "target_id": objects["target"].pk, "range_id": objects["range"].pk, "monitor_id": objects["monitor"].pk,
        "managed_id": objects["managed"].pk, "hook_id": objects["hook"].pk, "delivery_id": objects["delivery"].pk,
        "rollover_id": objects["rollover"].pk, "party_id": objects["party"].pk, "to": "trust_both",
        "external_id": objects["external_key"].pk, "account_id": objects["acme_account"].pk, "order_id": objects["acme_order"].pk,
        "authorization_id": UUID(int=1), "challenge_id": UUID(int=1), "identifier": "AAAA.AAAA",
    }[word]  # fmt: skip


def expected(rule: Rule, caller: Caller, machine: bool) -> str:
    """What the rule says, from the table of roles alone: "served", "sign in" or a status."""
    if rule.public:
        return "served"
    if rule.tokens and not caller.token:
        return "403"
    if caller.anonymous or (caller.token and not machine):
        return "401" if machine else "sign in"
    if rule.in_person and caller.token:
        return "403"
    if rule.own:
        return "403" if caller.token and rule.acts and not caller.may(*rule.acts) else "served"
    if rule.data:
        assert rule.acts
        return "served" if caller.may(*rule.acts) else "403" if caller.knows_ring else "404"
    if rule.opens and not caller.somewhere(rule.opens):
        return "403"
    if rule.sees and not caller.may(*rule.sees):
        return str(rule.unseen)
    if rule.acts and not caller.may(*rule.acts):
        return str(rule.hidden)
    if rule.decides and (caller.token or rule.decides not in caller.roles):
        return "403"
    return "served"


def said(response: Any) -> str:
    if response.status_code == 302 and response["Location"].startswith("/account/login/"):
        return "sign in"
    status = response.status_code
    return str(status) if status in {401, 403, 404, 405} or status >= 500 else "served"


class Pages:
    """A page is drawn for the first caller of each role who is shown it, a refusal for the first of each on any route.

    Whoever may not see it was refused before anything is drawn, so all others are asked just the same and get an empty page.
    """

    def __init__(self) -> None:
        self.route, self.rights = "", frozenset[Permission]()
        self.drawn: set[tuple[str, str, frozenset[Permission]]] = set()
        self.draw, self.drawing = Template.render, False
        self.describe, self.described = SchemaGenerator.get_schema, False

    def document(self, generator: SchemaGenerator) -> dict[str, Any]:
        if self.described:
            return {}
        self.described = True
        return dict(self.describe(generator, request=None, public=True))

    def render(self, template: Template, context: Any = None, request: Any = None) -> SafeString:
        if self.drawing:  # a part of a page that is drawn, such as a field
            return self.draw(template, context, request)
        name = str(template.template.name)
        mark = (name, "" if name == REFUSED else self.route, self.rights)
        if mark in self.drawn:
            return SafeString("")
        self.drawn.add(mark)
        self.drawing = True
        try:
            return self.draw(template, context, request)
        finally:
            self.drawing = False


def ask(client: Client, method: str, url: str, body: Any, machine: bool) -> Any:
    """The answer; what it did is for the caller to undo."""
    forget_all()
    callers.forget()
    if machine:
        response = client.generic(method, url, _json(body), content_type="application/json")
    else:
        response = client.generic(method, url) if method == "GET" else client.post(url, body or {})
    if response.streaming:
        b"".join(response)
    return response


def _json(body: Any) -> bytes:
    return b"" if body is None else orjson.dumps(body)


def area(route: str) -> str:
    """Routes of one area are one test."""
    name = route.split(" ", 1)[1]
    for protocol in ("acme", "vault"):
        if name.startswith(f"{protocol}-"):
            return protocol  # the protocol's, with its pages
    return name.split(":")[0] if ":" in name else "-".join(name.split("-")[:2])


@pytest.fixture(scope="module")
def world(module_db: None) -> World:
    """One for all areas: to build it costs more than to ask most of them, and nothing that is asked stays."""
    return build_world()


@pytest.fixture(scope="module")
def pages() -> Pages:
    return Pages()


@pytest.mark.django_db
@pytest.mark.parametrize("wanted", sorted({area(route) for route in RULES}))
def test_the_matrix(wanted, world, pages, monkeypatch, settings):
    settings.USERSESSIONS_TRACK_ACTIVITY = False  # when somebody was last here, written with every request
    monkeypatch.setattr(Person, "is_superuser", True)  # flags that must open nothing
    monkeypatch.setattr(Person, "is_staff", True)
    draw = lambda *given, **named: pages.render(*given, **named)  # noqa: E731, PLW0108 (a function is bound to the template)
    monkeypatch.setattr(Template, "render", draw)
    # The document of the API is the same for all, and takes seconds to make and to write.
    monkeypatch.setattr(SchemaGenerator, "get_schema", lambda generator, **_: pages.document(generator))
    wrong = [line for route in sorted(RULES) if area(route) == wanted for line in _wrong(route, world, pages)]
    assert not wrong, "\n".join(wrong)


def _wrong(route: str, world: World, pages: Pages) -> list[str]:
    """Where the answers to one route and method differ from its rule."""
    rule, (method, name) = RULES[route], route.split(" ", 1)
    machine, said_by = (
        name.startswith(("api-", "data-", "vault-")),
        ({"errors", "data"} if name.startswith("vault-") else {"code"}),
    )
    url = address(name, ROUTES[route], world)
    body = rule.body(world) if callable(rule.body) else rule.body
    wrong = []
    pages.route = route
    for caller, response in _answers(world, pages, method, url, body, machine):
        wanted, got = expected(rule, caller, machine), said(response)
        hidden = wanted == "422" == str(response.status_code)
        lost = rule.public and got == "404"  # a link that is not one
        if got != wanted and not hidden and not lost:
            wrong.append(f"{route} at {url} for {caller.label}: {got} instead of {wanted}")
        if machine and response.status_code >= 400 and not any(response.json().get(each) for each in said_by):
            wrong.append(f"{route} at {url} for {caller.label}: {response.status_code} without {' or '.join(said_by)}")
    return wrong


def _answers(
    world: World, pages: Pages, method: str, url: str, body: Any, machine: bool
) -> Iterator[tuple[Caller, Any]]:
    """Every caller's answer, each given over the same rows: what one did is undone before the next."""
    with transaction.atomic():
        before = transaction.savepoint_create()
        for caller in world.callers:
            cookies = {name: morsel.value for name, morsel in caller.client.cookies.items()}
            pages.rights = frozenset().union(*caller.rights.values())
            response = ask(caller.client, method, url, body, machine)
            transaction.set_rollback(False)  # of a view that failed inside a transaction of ours
            transaction.savepoint_rollback(before)
            caller.client.cookies = SimpleCookie(cookies)
            yield caller, response
        transaction.set_rollback(True)


def test_the_matrix_can_see_a_difference(world):
    """Of the callers of one rule some are served and some are refused in every way."""
    answers = {expected(RULES["POST keys:version-suspend"], caller, False) for caller in world.callers}
    assert answers == {"served", "403", "404", "sign in"}
