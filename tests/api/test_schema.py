"""The OpenAPI document: complete, valid, without warnings; and no operation breaks, whatever a fuzzer sends."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from typing import Any
from urllib.parse import quote, urlencode

import orjson
import pytest
import schemathesis
from django.core.management import call_command
from django.db import transaction
from django.test import Client
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examined
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core import NOT_SET
from schemathesis.errors import SchemathesisError

from keys.dataplane import callers
from keys.dataplane.operations import OPERATIONS
from tests.api.conftest import bearer, make_person, sign_in, token_of
from tests.api.test_matrix import ROUTES
from tests.api.world import World, build_world

EXAMPLES = 3  # valid and as many invalid requests to an operation that takes a body or a query
ABSENT = ("5b1f7f3e-0000-4000-8000-000000000000", "7", "nothing\0'{}/..")  # no object of ours is called so
HOSTILE = (
    "",
    "\0",
    "\ud800",
    2**70,
    -1,
    1e308,
    [[]],
    {"": None},
    True,
    None,
    "9" * 5000,
)  # put in place of what is asked for
# What the words in the document's addresses stand for.
OBJECTS = {
    "keys": "key", "rotations": "rotation", "moves": "move", "stores": "store", "approvals": "approval", "people": "person",
    "rings": "ring", "role-bindings": "binding", "tokens": "token", "sessions": "session", "signing-keys": "signing key",
    "provider-work": "work", "seals": "seal", "imports": "import", "exports": "export",
    "scan-ranges": "range", "scan-targets": "target", "log-lists": "log_list", "log-monitors": "monitor",
    "acme-servers": "authority", "acme-external-keys": "external_key", "acme-accounts": "acme_account", "acme-orders": "acme_order",
    "authorities": "authority", "certificates": "certificate", "ceremonies": "ceremony", "share-sets": "generation", "shares": "share",
    "ceremony-scripts": "script",
    "acme-sources": "refused", "dns-hooks": "dns_hook", "renewals": "managed", "deploy-hooks": "hook", "deliveries": "delivery",
    "rollovers": "rollover", "relying-parties": "party",
}  # fmt: skip


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("schema") / "schema.json"
    call_command("spectacular", "--validate", "--fail-on-warn", "--format", "openapi-json", "--file", str(path))
    return orjson.loads(path.read_bytes())


def test_every_route_of_the_api_is_described(document):
    described = {
        (method.upper(), re.sub(r"\{[^}]*\}", "{}", path).removeprefix("/api/v1/"))
        for path, methods in document["paths"].items()
        for method in methods
    }
    served = set()
    for route, where in ROUTES.items():
        method, name = route.split(" ", 1)
        if name.startswith(("api-", "data-")) and name not in {"api-schema", "api-docs"}:
            plain = re.sub(r"\(\?P<[^>]*>(?:[^()]|\([^()]*\))*\)|<[^>]*>", "{}", where.removeprefix("api/v1/"))
            served.add((method, plain.strip("^$")))
    assert described == served


def test_the_data_plane_is_described_from_its_table(document):
    for path, operation in OPERATIONS.items():
        described = document["paths"][f"/api/v1/keys/{{key_id}}/{path}"]["post"]
        assert described["summary"] == operation.summary
        assert {"200", "400", "401", "403", "404", "409", "413", "415", "422", "503"} == set(described["responses"])
    request = document["components"]["schemas"]["EncryptRequest"]
    assert (request["required"], request["additionalProperties"]) == (["plaintext"], False)
    assert {"token", "session"} == set(document["components"]["securitySchemes"])


def test_the_document_and_its_page_are_served(client, db):
    assert client.get("/api/v1/schema").status_code == 200
    page = client.get("/api/v1/docs")
    assert page.status_code == 200
    html = page.content.decode()
    assert "<style" not in html
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", html)


@pytest.mark.django_db
def test_every_described_list_is_one_and_refuses_a_name_that_it_does_not_describe(document):
    world, officer = build_world(), sign_in(make_person("reader", "security_officer"))
    shapes = {path: _shape(methods["get"], document) for path, methods in document["paths"].items() if "get" in methods}
    lists = {path: kind for path, kind in shapes.items() if kind is not None}
    assert len(lists) > 40
    wrong = []
    for path, kind in lists.items():
        address = _address(path, world)
        answer, refusal = officer.get(address), officer.get(f"{address}?bogusfilter=1")
        if answer.status_code != 200 or not isinstance(answer.json(), kind):
            wrong.append(f"{path} is not as described")
        if refusal.status_code != 422 or list(refusal.json()["errors"]) != ["bogusfilter"]:
            wrong.append(f"{path} takes what it does not describe")
    assert not wrong


def _shape(operation: dict[str, Any], document: dict[str, Any]) -> type | None:
    """What a described list answers: all its rows (list) or a page of them (dict); None for anything else."""
    shape = operation["responses"]["200"].get("content", {}).get("application/json", {}).get("schema", {})
    if name := shape.get("$ref", "").rpartition("/")[2]:
        shape = document["components"]["schemas"][name]
    if shape.get("type") == "array":
        return list
    return dict if "results" in shape.get("properties", {}) else None


@pytest.mark.slow
@pytest.mark.django_db
def test_no_operation_breaks(document, settings):
    schema, world = schemathesis.openapi.from_dict(document), build_world()
    officer = sign_in(make_person("fuzzer", "security_officer"))
    service = bearer(token_of(make_person("machine", "service", None, kind="service")))
    settings.USERSESSIONS_TRACK_ACTIVITY = False  # when somebody was last here, written with every request
    broken: list[str] = []
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 80
    for operation in operations:
        client = service if "data plane" in (operation.tags or []) else officer
        with transaction.atomic():
            before = transaction.savepoint_create()
            for path, query, body in _requests(operation, world):
                response = _ask(client, operation.method, path, query, body)
                # 503 is a data store that does not answer, which a fuzzer may well name.
                if response.status_code >= 500 and response.status_code != 503:
                    broken.append(f"{operation.label} {path} {query} {body!r:.500}: {response.status_code}")
                transaction.set_rollback(False)  # of a view that failed inside a transaction of ours
                transaction.savepoint_rollback(before)
            transaction.set_rollback(True)
    assert not broken, "\n".join(broken[:20])


def _requests(operation: Any, world: World) -> Iterator[tuple[str, Any, Any]]:
    """(path, query, body) of what is asked of one operation: where it takes words of the caller, invented and hostile ones."""
    real = _address(operation.path, world)
    paths = [real, *(re.sub(r"\{[a-z_]+\}", quote(word, safe=""), operation.path) for word in ABSENT)]
    yield from ((path, {}, NOT_SET) for path in dict.fromkeys(paths))
    if not operation.body and not operation.query:
        return
    cases = [case for mode in GenerationMode for case in _invented(operation, mode)]
    yield from ((real, case.query, case.body) for case in cases)
    if operation.body:
        bodies = [case.body for case in cases if isinstance(case.body, dict)]
        fullest = max(bodies, key=len, default={})
        turns = (dict(zip(fullest, cycle(HOSTILE[turn:] + HOSTILE[:turn]))) for turn in range(0, len(HOSTILE), 3))
        yield from ((real, {}, body) for body in ([], None, *turns))
        yield from ((real, {}, fullest | {name: word}) for name, word in zip(fullest, cycle(HOSTILE)))


def _invented(operation: Any, mode: GenerationMode) -> list[Any]:
    """Valid or invalid requests to one operation."""
    cases: list[Any] = []
    for unused in (operation.path_parameters, operation.headers, operation.cookies):
        unused.items.clear()  # else drawn at length, and what is wrong with a request would often stand there alone

    @examined(
        max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def collect(case: Any) -> None:
        cases.append(case)

    with suppress(SchemathesisError, Unsatisfiable):  # nothing can be wrong about an operation without parameters
        collect()
    return cases


def _address(path: str, world: World) -> str:
    objects = world.objects

    def value(match: re.Match[str]) -> str:
        name, before = match[2], match[1]
        if before == "differences":
            return f"{before}/{objects['finding'].pk}"
        if name in {"number", "newer"}:
            return f"{before}/{1 if name == 'number' else objects['size']}"
        if before == "providers":
            return f"{before}/{objects['provider'].alias}"
        if before == "audit-events":
            return f"{before}/{objects['event'].seq}"
        if before in {"checkpoints", "failed-items"}:
            return f"{before}/{objects['size'] if before == 'checkpoints' else objects['item'].pk}"
        return f"{before}/{objects[OBJECTS[before]].pk}"

    return re.sub(r"([a-z-]+)/\{([a-z_]+)\}", value, path)


def _ask(client: Client, method: str, path: str, query: Any, body: Any) -> Any:
    words = urlencode(dict(query or {}), doseq=True)
    sent = b"" if body is NOT_SET else json.dumps(body, default=str).encode()
    callers.forget()
    client.raise_request_exception = False
    response = client.generic(method, path + (f"?{words}" if words else ""), sent, content_type="application/json")
    if response.streaming:
        b"".join(response)
    return response
