"""The OpenAPI document: complete, valid, without warnings; and no operation breaks, whatever a fuzzer sends."""

import json
import re
from contextlib import suppress
from typing import Any

import orjson
import pytest
import schemathesis
from django.core.management import call_command
from django.db import transaction
from django.test import Client
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core import NOT_SET
from schemathesis.errors import SchemathesisError

from keys.dataplane import callers
from keys.dataplane.operations import OPERATIONS
from tests.api.conftest import bearer, make_person, sign_in, token_of
from tests.api.test_matrix import ROUTES
from tests.api.world import World, build_world

EXAMPLES = 8  # valid and invalid requests an operation
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


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_operation_breaks(document, mode):
    schema, world = schemathesis.openapi.from_dict(document), build_world()
    officer = sign_in(make_person("fuzzer", "security_officer"))
    service = bearer(token_of(make_person("machine", "service", None, kind="service")))
    broken: list[str] = []
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 80
    for operation in operations:
        broken += _fuzz(operation, mode, service if "data plane" in (operation.tags or []) else officer, world)
    assert not broken, "\n".join(broken[:20])


def _fuzz(operation: Any, mode: GenerationMode, client: Client, world: World) -> list[str]:
    """The requests to one operation that were answered with a server's fault."""
    broken = []

    @settings(
        max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode), real=st.booleans())
    def send(case: Any, real: bool) -> None:
        url = _address(case, world) if real else case.formatted_path
        response = _ask(client, case, url)
        # 503 is a data store that does not answer, which a fuzzer may well name.
        if response.status_code >= 500 and response.status_code != 503:
            broken.append(f"{case.method} {url} {case.query} {case.body!r:.500}: {response.status_code}")

    with suppress(SchemathesisError, Unsatisfiable):  # nothing can be wrong about an operation without parameters
        send()
    return broken


def _address(case: Any, world: World) -> str:
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

    return re.sub(r"([a-z-]+)/\{([a-z_]+)\}", value, case.path)


def _ask(client: Client, case: Any, url: str) -> Any:
    from urllib.parse import quote, urlencode

    query = urlencode(dict(case.query or {}), doseq=True)
    body = b"" if case.body is NOT_SET else json.dumps(case.body, default=str).encode()
    path = quote(url, safe="/%") + (f"?{query}" if query else "")
    callers.forget()
    client.raise_request_exception = False
    with transaction.atomic():
        response = client.generic(case.method, path, body, content_type="application/json")
        if response.streaming:
            b"".join(response)
        transaction.set_rollback(True)
    return response
