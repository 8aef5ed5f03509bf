"""A contract fake of Azure Key Vault and Managed HSM: no usable emulator exists, so this one follows the published REST
reference (keys, api-version 2025-07-01) as far as the portal's provider goes, and is driven by Microsoft's own client.

Everything goes over HTTPS under a certificate authority made for the test. The 401 challenge with its authority and
resource, the token endpoint of Entra ID (client credentials), versions, soft delete with recover and purge, purge
protection, rotation policy, key operations and the BYOK transfer blob are played; the cryptography is real. What it
does not have: access policies by operation, quotas, network rules, certificates and secrets.
"""

import json
import re
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from azure.keyvault.keys._shared.http_challenge_cache import remove_challenge_for_url

from tests.providers.fakes import azure_crypto as work
from tests.providers.fakes.azure_crypto import Refused, b64, same, unb64
from tests.providers.fakes.certificates import authority_and_server

TENANT, CLIENT = "7f7f7f7f-0000-4000-8000-00000000aaaa", "7f7f7f7f-0000-4000-8000-00000000bbbb"
DAY = 86_400
OPERATIONS: dict[str, tuple[str, Callable[[Any, dict[str, Any]], dict[str, Any]]]] = {
    "encrypt": ("encrypt", work.encrypt),
    "decrypt": ("decrypt", work.decrypt),
    "wrapkey": ("wrapKey", work.wrap),
    "unwrapkey": ("unwrapKey", work.unwrap),
    "sign": ("sign", work.sign),
}


@dataclass
class Version:
    kid: str
    kind: str
    key: Any
    operations: list[str]
    tags: dict[str, str]
    enabled: bool = True
    dates: dict[str, int] = field(default_factory=dict)
    created: int = field(default_factory=lambda: int(time.time()))


class FakeVault:
    """The state behind the server, and what tests change behind the provider's back."""

    def __init__(self, *, managed_hsm: bool = False, purge_protected: bool = False) -> None:
        self.managed_hsm, self.purge_protected = managed_hsm, purge_protected
        self.address = ""
        self.client_secret = secrets.token_urlsafe(30)
        self.tokens: dict[str, float] = {}
        self.keys: dict[str, dict[str, Version]] = {}
        self.bin: dict[str, tuple[dict[str, Version], int]] = {}
        self.policies: dict[str, dict[str, Any]] = {}
        self.failing: tuple[int, str, str] | None = None
        self.meddle: Callable[[str, dict[str, Any], dict[str, Any]], None] | None = None
        self.calls: list[str] = []
        self.page_size = 2
        self.lock = threading.RLock()

    # Entra ID

    def token(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if not same(form.get("client_secret", ""), self.client_secret) or form.get("client_id") != CLIENT:
            told = "AADSTS7000215: Invalid client secret provided."
            return 401, {"error": "invalid_client", "error_description": told, "error_codes": [7000215]}
        if form["grant_type"] != "client_credentials" or form["scope"] != f"{self.resource}/.default":
            return 400, {"error": "invalid_scope", "error_description": "AADSTS70011"}
        token = secrets.token_urlsafe(40)
        self.tokens[token] = time.time() + 3600
        return 200, {"token_type": "Bearer", "access_token": token, "expires_in": 3600}

    @property
    def resource(self) -> str:
        return "https://managedhsm.azure.net" if self.managed_hsm else "https://vault.azure.net"

    @property
    def challenge(self) -> str:
        return f'Bearer authorization="{self.address}/{TENANT}", resource="{self.resource}"'

    def admits(self, authorization: str) -> bool:
        return self.tokens.get(authorization.removeprefix("Bearer "), 0) > time.time()

    # The vault

    def answer(self, method: str, target: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if query.get("api-version") != "2025-07-01":
            raise Refused(400, "BadParameter")
        if self.failing:
            raise Refused(*self.failing)
        with self.lock:
            for wanted, pattern, handle in ROUTES:
                found = re.fullmatch(pattern, parts.path)
                if method == wanted and found:
                    self.calls.append(f"{handle.__name__} {found.groups()[-1] if found.groups() else ''}".strip())
                    given = handle(self, *found.groups(), body=body, query=query)
                    if self.meddle:
                        self.meddle(self.calls[-1], body, given)
                    return (204 if method == "DELETE" and "deletedkeys" in parts.path else 200), given
        raise Refused(404, "NotFound")

    def versions(self, name: str) -> dict[str, Version]:
        if name not in self.keys:
            raise Refused(404, "KeyNotFound")
        return self.keys[name]

    def version(self, name: str, version: str) -> Version:
        found = self.versions(name)
        if version and version not in found:
            raise Refused(404, "KeyNotFound")
        return found[version] if version else list(found.values())[-1]

    def _add(self, name: str, kind: str, key: Any, body: dict[str, Any], operations: list[str]) -> dict[str, Any]:
        if name in self.bin:
            raise Refused(409, "Conflict", "ObjectIsDeletedButRecoverable")
        if self.managed_hsm != kind.endswith("-HSM") and (self.managed_hsm or kind == "oct-HSM"):
            raise Refused(400, "BadParameter")
        number = secrets.token_hex(16)
        made = Version(f"{self.address}/keys/{name}/{number}", kind, key, operations, body.get("tags") or {})
        self.keys.setdefault(name, {})[number] = made
        return self.bundle(made)

    def attributes(self, version: Version) -> dict[str, Any]:
        level = "CustomizedRecoverable" + ("" if self.purge_protected else "+Purgeable")
        return {
            "enabled": version.enabled, "created": version.created, "updated": version.created,
            "recoveryLevel": level, "recoverableDays": 14, "exportable": False, **version.dates,
        }  # fmt: skip

    def bundle(self, version: Version) -> dict[str, Any]:
        jwk = {"kid": version.kid, "kty": version.kind, "key_ops": version.operations, **work.public_jwk(version.key)}
        return {"key": jwk, "attributes": self.attributes(version), "tags": version.tags}

    def create(self, name: str, *, body: dict[str, Any], query: Any) -> dict[str, Any]:
        key = work.new_key(body["kty"], body.get("key_size"), body.get("crv"))
        return self._add(name, body["kty"], key, body, body["key_ops"])

    def bring(self, name: str, *, body: dict[str, Any], query: Any) -> dict[str, Any]:
        jwk = body["key"]
        if "key_hsm" not in jwk:
            return self._add(name, jwk["kty"], work.from_jwk(jwk), body, jwk["key_ops"])
        blob = unb64(jwk["key_hsm"])
        kek = next(
            (found for found in self.keys.get("portal-import-kek", {}).values() if found.kid.encode() in blob), None
        )
        if kek is None or kek.operations != ["import"]:
            raise Refused(400, "BadParameter")
        return self._add(name, jwk["kty"], work.from_transfer(blob, kek.kid, kek.key, jwk["kty"]), body, jwk["key_ops"])

    def get(self, name: str, version: str, *, body: Any, query: Any) -> dict[str, Any]:
        return self.bundle(self.version(name, version))

    def update(self, name: str, version: str, *, body: dict[str, Any], query: Any) -> dict[str, Any]:
        found = self.version(name, version)
        attributes = body.get("attributes") or {}
        found.enabled = attributes.get("enabled", found.enabled)
        found.dates |= {name: attributes[name] for name in ("exp", "nbf") if name in attributes}
        found.tags = body.get("tags", found.tags)
        found.operations = body.get("key_ops", found.operations)
        return self.bundle(found)

    def delete(self, name: str, *, body: Any, query: Any) -> dict[str, Any]:
        self.bin[name] = self.versions(name), int(time.time())
        del self.keys[name]
        return self.binned(name, body=body, query=query)

    def binned(self, name: str, *, body: Any, query: Any) -> dict[str, Any]:
        if name not in self.bin:
            raise Refused(404, "KeyNotFound")
        versions, since = self.bin[name]
        shown = self.bundle(list(versions.values())[-1])
        times = {"deletedDate": since, "scheduledPurgeDate": since + 14 * DAY}
        return shown | {"recoveryId": f"{self.address}/deletedkeys/{name}", **times}

    def recover(self, name: str, *, body: Any, query: Any) -> dict[str, Any]:
        shown = self.binned(name, body=body, query=query)
        self.keys[name], _ = self.bin.pop(name)
        return {part: shown[part] for part in ("key", "attributes", "tags")}

    def purge(self, name: str, *, body: Any, query: Any) -> dict[str, Any]:
        self.binned(name, body=body, query=query)
        if self.purge_protected:
            raise Refused(403, "Forbidden", "ForbiddenByPolicy")
        del self.bin[name]
        return {}

    def list_keys(self, *, body: Any, query: dict[str, str]) -> dict[str, Any]:
        latest = [list(versions.values())[-1] for versions in self.keys.values()]
        return self._page(
            "keys", [self._item(found) | {"kid": found.kid.rpartition("/")[0]} for found in latest], query
        )

    def list_versions(self, name: str, *, body: Any, query: dict[str, str]) -> dict[str, Any]:
        return self._page(f"keys/{name}/versions", [self._item(found) for found in self.versions(name).values()], query)

    def list_bin(self, *, body: Any, query: dict[str, str]) -> dict[str, Any]:
        shown = [self.binned(name, body=body, query=query) for name in self.bin]
        items = [one | {"kid": one.pop("key")["kid"].rpartition("/")[0]} for one in shown]
        return self._page("deletedkeys", items, query)

    def _item(self, version: Version) -> dict[str, Any]:
        return {"kid": version.kid, "attributes": self.attributes(version), "tags": version.tags}

    def _page(self, path: str, items: list[Any], query: dict[str, str]) -> dict[str, Any]:
        start, size = int(query.get("$skiptoken", 0)), min(self.page_size, int(query.get("maxresults", 25)))
        more = start + size < len(items)
        following = f"{self.address}/{path}?api-version=2025-07-01&$skiptoken={start + size}"
        return {"value": items[start : start + size], "nextLink": following if more else None}

    def policy(self, name: str, *, body: Any, query: Any) -> dict[str, Any]:
        self.versions(name)
        usual = {"lifetimeActions": [{"trigger": {"timeBeforeExpiry": "P30D"}, "action": {"type": "Notify"}}]}
        shown = {"id": f"{self.address}/keys/{name}/rotationpolicy", "attributes": {"created": 1, "updated": 1}}
        return shown | self.policies.get(name, usual)

    def set_policy(self, name: str, *, body: dict[str, Any], query: Any) -> dict[str, Any]:
        actions = body.get("lifetimeActions", [])
        if any(action["action"]["type"].lower() == "rotate" and len(action["trigger"]) != 1 for action in actions):
            raise Refused(400, "BadParameter")
        self.policies[name] = {"lifetimeActions": actions, "attributes": body.get("attributes", {})}
        return self.policy(name, body=body, query=query)

    def operate(self, name: str, version: str, operation: str, *, body: dict[str, Any], query: Any) -> dict[str, Any]:
        found = self.version(name, version)
        wanted, act = OPERATIONS[operation]
        if not found.enabled:
            raise Refused(403, "Forbidden", "KeyDisabled")
        if wanted not in found.operations:
            raise Refused(403, "Forbidden", "KeyOperationForbidden")
        return {"kid": found.kid, **act(found.key, body)}


_F, _NAME, _VERSION = FakeVault, "([0-9A-Za-z-]+)", "([0-9a-f]{32})"
ROUTES: list[tuple[str, str, Callable[..., dict[str, Any]]]] = [
    ("POST", f"/keys/{_NAME}/create", _F.create),
    ("PUT", f"/keys/{_NAME}", _F.bring),
    ("GET", "/keys", _F.list_keys),
    ("GET", f"/keys/{_NAME}/versions", _F.list_versions),
    ("GET", f"/keys/{_NAME}/rotationpolicy", _F.policy),
    ("PUT", f"/keys/{_NAME}/rotationpolicy", _F.set_policy),
    ("GET", f"/keys/{_NAME}/({_VERSION[1:-1]}|)", _F.get),
    ("PATCH", f"/keys/{_NAME}/{_VERSION}", _F.update),
    ("DELETE", f"/keys/{_NAME}", _F.delete),
    ("GET", "/deletedkeys", _F.list_bin),
    ("GET", f"/deletedkeys/{_NAME}", _F.binned),
    ("POST", f"/deletedkeys/{_NAME}/recover", _F.recover),
    ("DELETE", f"/deletedkeys/{_NAME}", _F.purge),
    ("POST", f"/keys/{_NAME}/{_VERSION}/({'|'.join(OPERATIONS)})", _F.operate),
]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body go out by themselves; together they would wait 40 ms
    fake: FakeVault

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, extra = urlsplit(self.path).path, {}
        if path == f"/{TENANT}/oauth2/v2.0/token":
            status, given = self.fake.token({name: values[-1] for name, values in parse_qs(raw.decode()).items()})
        elif path == f"/{TENANT}/v2.0/.well-known/openid-configuration":
            at = f"{self.fake.address}/{TENANT}/oauth2/v2.0"
            ends = {"authorization_endpoint": f"{at}/authorize", "token_endpoint": f"{at}/token"}
            status, given = 200, ends | {"issuer": f"{self.fake.address}/{TENANT}/v2.0"}
        elif not self.fake.admits(self.headers.get("Authorization", "")):
            status, given = 401, Refused(401, "Unauthorized").body()
            extra = {"WWW-Authenticate": self.fake.challenge}
        else:
            try:
                status, given = self.fake.answer(self.command, self.path, json.loads(raw or b"{}"))
            except Refused as refused:
                status, given = refused.status, refused.body()
        shown = b"" if status == 204 else json.dumps(given).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(shown)), **extra}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(shown)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(fake: FakeVault, folder: Path) -> Iterator[tuple[str, Path]]:
    """The address of the vault and the file of its certificate authority, for as long as the block lasts."""
    ca_file, chain_file = authority_and_server(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": fake}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain_file)
    # The handshake is the handler's: a client that says nothing must not hold up the others.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.daemon_threads = True
    fake.address = f"https://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield fake.address, ca_file
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        # The library remembers for ever what an address once asked for, and the next fake may get this port again.
        remove_challenge_for_url(fake.address)


__all__ = ["CLIENT", "TENANT", "FakeVault", "b64", "serving"]
