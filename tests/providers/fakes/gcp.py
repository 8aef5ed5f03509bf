"""A contract fake of Google Cloud KMS: no emulator exists, so this one follows the published REST reference (v1,
projects.locations.keyRings.cryptoKeys and below) as far as the portal's provider goes, and is driven by Google's own client.

The cryptography is real (AES-256-GCM, RSA, ECDSA, Ed25519, HMAC by `cryptography`), so are the checksums, the states of
versions, the wrapping of imports, and the caller's self-signed token, whose signature is verified. What it does not
have: permissions that follow from a key's IAM policy, quotas, organisation policies, regions.
"""

import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.providers.fakes import gcp_crypto as work
from tests.providers.fakes.gcp_crypto import Refused, b64, crc, unb64

RING = "projects/shop/locations/europe-west6/keyRings/portal"
EMAIL = "portal@shop.iam.gserviceaccount.com"


@dataclass
class Version:
    name: str
    algorithm: int
    key: Any
    state: str
    created: datetime
    destroy_time: datetime | None = None
    import_job: str = ""
    unfinished_polls: int = 0

    def shown(self) -> dict[str, Any]:
        shown = {"name": self.name, "state": self.state, "algorithm": self.algorithm, "createTime": _time(self.created)}
        if self.destroy_time:
            shown["destroyTime"] = _time(self.destroy_time)
        if self.import_job:
            shown |= {"importJob": self.import_job, "importTime": _time(self.created)}
        return shown


@dataclass
class Key:
    name: str
    body: dict[str, Any]
    created: datetime
    versions: dict[int, Version] = field(default_factory=dict)
    primary: int = 0
    bindings: list[dict[str, Any]] = field(default_factory=lambda: [{"role": "roles/owner", "members": ["group:keys"]}])
    etag: int = 1

    def shown(self) -> dict[str, Any]:
        shown = self.body | {"name": self.name, "createTime": _time(self.created)}
        if self.primary:
            shown["primary"] = self.versions[self.primary].shown()
        return shown


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@cache
def _account_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class FakeCloudKms:
    """The state behind the server, and what tests change behind the provider's back."""

    def __init__(self) -> None:
        self._account_key = _account_key()
        self.keys: dict[str, Key] = {}
        self.jobs: dict[str, tuple[rsa.RSAPrivateKey, dict[str, Any]]] = {}
        self.failing: tuple[int, str] | None = None
        self.meddle: Callable[[str, dict[str, Any], dict[str, Any]], None] | None = None
        self.calls: list[str] = []
        self.lock = threading.RLock()
        self.page_size = 2
        self.policies_hidden = False

    def account(self, key: rsa.RSAPrivateKey | None = None) -> str:
        """The JSON key of the service account, or of an impostor with another key."""
        pem = (key or self._account_key).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        return json.dumps({
            "type": "service_account", "project_id": "shop", "private_key_id": "1", "private_key": pem,
            "client_email": EMAIL, "client_id": "1", "token_uri": "https://oauth2.googleapis.com/token",
        })  # fmt: skip

    # The service

    def answer(self, method: str, target: str, authorization: str, body: dict[str, Any]) -> dict[str, Any]:
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        work.check_token(authorization, self._account_key.public_key(), EMAIL)
        if self.failing:
            raise Refused(*self.failing)
        path, _, verb = parts.path.removeprefix("/v1/").partition(":")
        with self.lock:
            for pattern, handle in ROUTES:
                wanted, expression, wanted_verb = pattern
                found = re.fullmatch(expression, path)
                if method == wanted and verb == wanted_verb and found:
                    self.calls.append(handle.__name__)
                    given = handle(self, *found.groups(), body=body, query=query)
                    if self.meddle:
                        self.meddle(handle.__name__, body, given)
                    return given
        raise Refused(404, "NOT_FOUND")

    def version(self, name: str) -> Version:
        key = self.key(name.partition("/cryptoKeyVersions/")[0])
        found = key.versions.get(int(name.rpartition("/")[2]))
        if found is None:
            raise Refused(404, "NOT_FOUND")
        if found.state == "DESTROY_SCHEDULED" and found.destroy_time and found.destroy_time <= datetime.now(UTC):
            found.state, found.key = "DESTROYED", None
        return found

    def key(self, name: str) -> Key:
        if name not in self.keys:
            raise Refused(404, "NOT_FOUND")
        return self.keys[name]

    def usable(self, name: str) -> Version:
        version = self.version(name)
        if version.state != "ENABLED":
            raise Refused(400, "FAILED_PRECONDITION", f"{name} is not enabled, current state is: {version.state}.")
        return version

    def ring(self, name: str, *, body: Any, query: Any) -> dict[str, Any]:
        if name != RING:
            raise Refused(404, "NOT_FOUND")
        return {"name": name}

    def create_key(self, ring: str, *, body: dict[str, Any], query: dict[str, str]) -> dict[str, Any]:
        self.ring(ring, body=body, query=query)
        name = f"{ring}/cryptoKeys/{query['cryptoKeyId']}"
        if name in self.keys:
            raise Refused(409, "ALREADY_EXISTS")
        self.keys[name] = key = Key(name, body, datetime.now(UTC))
        if query.get("skipInitialVersionCreation") != "true":
            self._add(key, work.new_key(body["versionTemplate"]["algorithm"]))
            if body["purpose"] == 1:
                key.primary = 1
        return key.shown()

    def _add(self, key: Key, secret: Any, *, algorithm: int = 0, job: str = "") -> Version:
        number = len(key.versions) + 1
        algorithm = algorithm or key.body["versionTemplate"]["algorithm"]
        waits = bool(job) or algorithm != work.SYMMETRIC
        state = "PENDING_IMPORT" if job else "PENDING_GENERATION" if waits else "ENABLED"
        name = f"{key.name}/cryptoKeyVersions/{number}"
        made = Version(name, algorithm, secret, state, datetime.now(UTC), import_job=job, unfinished_polls=int(waits))
        key.versions[number] = made
        return made

    def get_key(self, name: str, *, body: Any, query: Any) -> dict[str, Any]:
        return self.key(name).shown()

    def patch_key(self, name: str, *, body: dict[str, Any], query: dict[str, str]) -> dict[str, Any]:
        key = self.key(name)
        for name_of in query["updateMask"].split(","):
            if name_of in body:
                key.body[name_of] = body[name_of]
            else:
                key.body.pop(name_of, None)
        if ("rotationPeriod" in key.body) != ("nextRotationTime" in key.body) or (
            "rotationPeriod" in key.body and key.body["purpose"] != 1
        ):
            raise Refused(400, "INVALID_ARGUMENT")
        return key.shown()

    def list_keys(self, ring: str, *, body: Any, query: dict[str, str]) -> dict[str, Any]:
        self.ring(ring, body=body, query=query)
        return self._page("cryptoKeys", [key.shown() for key in self.keys.values()], query)

    def list_versions(self, name: str, *, body: Any, query: dict[str, str]) -> dict[str, Any]:
        versions = [version.shown() for version in self.key(name).versions.values()]
        return self._page("cryptoKeyVersions", versions, query)

    def _page(self, field: str, items: list[Any], query: dict[str, str]) -> dict[str, Any]:
        start = int(query.get("pageToken") or 0)
        page: dict[str, Any] = {field: items[start : start + self.page_size]}
        if start + self.page_size < len(items):
            page["nextPageToken"] = str(start + self.page_size)
        return page

    def get_policy(self, name: str, *, body: Any, query: Any) -> dict[str, Any]:
        if self.policies_hidden:
            raise Refused(403, "PERMISSION_DENIED")
        return {"version": 1, "bindings": self.key(name).bindings, "etag": b64(str(self.key(name).etag).encode())}

    def set_policy(self, name: str, *, body: dict[str, Any], query: Any) -> dict[str, Any]:
        key, given = self.key(name), body["policy"]
        if given.get("etag") != b64(str(key.etag).encode()):
            raise Refused(409, "ABORTED")
        key.bindings, key.etag = given.get("bindings", []), key.etag + 1
        return self.get_policy(name, body=body, query=query)

    def create_version(self, name: str, *, body: Any, query: Any) -> dict[str, Any]:
        key = self.key(name)
        return self._add(key, work.new_key(key.body["versionTemplate"]["algorithm"])).shown()

    def set_primary(self, name: str, *, body: dict[str, Any], query: Any) -> dict[str, Any]:
        key = self.key(name)
        if key.body["purpose"] != 1:
            raise Refused(400, "FAILED_PRECONDITION")
        self.usable(f"{name}/cryptoKeyVersions/{body['cryptoKeyVersionId']}")
        key.primary = int(body["cryptoKeyVersionId"])
        return key.shown()

    def get_version(self, name: str, *, body: Any, query: Any) -> dict[str, Any]:
        version = self.version(name)
        shown = version.shown()
        if version.state in {"PENDING_GENERATION", "PENDING_IMPORT"}:
            version.unfinished_polls -= 1
            if version.unfinished_polls < 0:
                version.state = "ENABLED" if version.key is not None else "IMPORT_FAILED"
        return shown

    def patch_version(self, name: str, *, body: dict[str, Any], query: dict[str, str]) -> dict[str, Any]:
        version = self.version(name)
        wanted = {1: "ENABLED", 2: "DISABLED"}.get(body.get("state", 0))
        if query["updateMask"] != "state" or wanted is None or version.state not in {"ENABLED", "DISABLED"}:
            raise Refused(400, "FAILED_PRECONDITION")
        version.state = wanted
        return version.shown()

    def destroy(self, name: str, *, body: Any, query: Any) -> dict[str, Any]:
        version = self.version(name)
        if version.state not in {"ENABLED", "DISABLED"}:
            raise Refused(400, "FAILED_PRECONDITION")
        version.state, version.destroy_time = "DESTROY_SCHEDULED", datetime.now(UTC) + timedelta(days=30)
        return version.shown()

    def restore(self, name: str, *, body: Any, query: Any) -> dict[str, Any]:
        version = self.version(name)
        if version.state != "DESTROY_SCHEDULED":
            raise Refused(400, "FAILED_PRECONDITION")
        version.state, version.destroy_time = "DISABLED", None
        return version.shown()

    def public_key(self, name: str, *, body: Any, query: Any) -> dict[str, Any]:
        version = self.usable(name)
        pem = work.public_pem(version.key)
        return {"name": name, "pem": pem, "algorithm": version.algorithm, "pemCrc32c": str(crc(pem.encode()))}

    def create_job(self, ring: str, *, body: dict[str, Any], query: dict[str, str]) -> dict[str, Any]:
        self.ring(ring, body=body, query=query)
        if body["importMethod"] != 3:
            raise Refused(400, "INVALID_ARGUMENT", "this fake imports by RSA_OAEP_3072_SHA256_AES_256 only")
        name = f"{ring}/importJobs/{query['importJobId']}"
        secret = rsa.generate_private_key(public_exponent=65537, key_size=3072)
        over = _time(datetime.now(UTC) + timedelta(days=3))
        shown = body | {"name": name, "state": "PENDING_GENERATION", "expireTime": over}
        self.jobs[name] = secret, shown | {"state": "ACTIVE", "publicKey": {"pem": work.public_pem(secret)}}
        return shown

    def get_job(self, name: str, *, body: Any, query: Any) -> dict[str, Any]:
        if name not in self.jobs:
            raise Refused(404, "NOT_FOUND")
        return self.jobs[name][1]

    def import_version(self, name: str, *, body: dict[str, Any], query: Any) -> dict[str, Any]:
        key = self.key(name)
        secret, job = self.jobs[body["importJob"]]
        if job["state"] != "ACTIVE":
            raise Refused(400, "FAILED_PRECONDITION")
        material = work.unwrap_import(secret, unb64(body["wrappedKey"]), body["algorithm"])
        return self._add(key, material, algorithm=body["algorithm"], job=body["importJob"]).shown()

    def encrypt(self, name: str, *, body: dict[str, Any], query: Any) -> dict[str, Any]:
        if "/cryptoKeyVersions/" not in name:
            name = f"{name}/cryptoKeyVersions/{self.key(name).primary}"
        version = self.usable(name)
        plaintext = work.checked(body, "plaintext")
        aad = work.checked(body, "additionalAuthenticatedData")
        ciphertext = work.seal(version.key, int(name.rpartition("/")[2]), plaintext, aad)
        return {
            "name": name, "ciphertext": b64(ciphertext), "ciphertextCrc32c": str(crc(ciphertext)),
            "verifiedPlaintextCrc32c": "plaintextCrc32c" in body,
            "verifiedAdditionalAuthenticatedDataCrc32c": "additionalAuthenticatedDataCrc32c" in body,
        }  # fmt: skip

    def decrypt(self, name: str, *, body: dict[str, Any], query: Any) -> dict[str, Any]:
        key = self.key(name)
        ciphertext = work.checked(body, "ciphertext")
        number = work.version_of(ciphertext)
        if number not in key.versions:
            raise Refused(400, "INVALID_ARGUMENT", "Decryption failed: the ciphertext is invalid.")
        version = self.usable(f"{name}/cryptoKeyVersions/{number}")
        plaintext = work.open_sealed(version.key, ciphertext, work.checked(body, "additionalAuthenticatedData"))
        return {
            "plaintext": b64(plaintext), "plaintextCrc32c": str(crc(plaintext)), "usedPrimary": number == key.primary,
        }  # fmt: skip

    def asymmetric_sign(self, name: str, *, body: dict[str, Any], query: Any) -> dict[str, Any]:
        version = self.usable(name)
        signature = work.sign(version.key, version.algorithm, body)
        return {
            "name": name, "signature": b64(signature), "signatureCrc32c": str(crc(signature)),
            "verifiedDigestCrc32c": "digestCrc32c" in body, "verifiedDataCrc32c": "dataCrc32c" in body,
        }  # fmt: skip

    def asymmetric_decrypt(self, name: str, *, body: dict[str, Any], query: Any) -> dict[str, Any]:
        plaintext = work.decrypt_oaep(self.usable(name).key, work.checked(body, "ciphertext"))
        return {
            "plaintext": b64(plaintext), "plaintextCrc32c": str(crc(plaintext)),
            "verifiedCiphertextCrc32c": "ciphertextCrc32c" in body,
        }  # fmt: skip

    def mac_sign(self, name: str, *, body: dict[str, Any], query: Any) -> dict[str, Any]:
        version = self.usable(name)
        code = work.mac(version.key, version.algorithm, work.checked(body, "data"))
        verified = "dataCrc32c" in body
        return {"name": name, "mac": b64(code), "macCrc32c": str(crc(code)), "verifiedDataCrc32c": verified}

    def mac_verify(self, name: str, *, body: dict[str, Any], query: Any) -> dict[str, Any]:
        version = self.usable(name)
        code = work.mac(version.key, version.algorithm, work.checked(body, "data"))
        good = secrets.compare_digest(code, work.checked(body, "mac"))
        return {
            "name": name, "success": good, "verifiedDataCrc32c": "dataCrc32c" in body,
            "verifiedMacCrc32c": "macCrc32c" in body, "verifiedSuccessIntegrity": good,
        }  # fmt: skip


_RING = r"(projects/[^/]+/locations/[^/]+/keyRings/[^/]+)"
_KEY = _RING[:-1] + r"/cryptoKeys/[^/]+)"
_VERSION = _KEY[:-1] + r"/cryptoKeyVersions/[0-9]+)"
_F = FakeCloudKms
ROUTES: list[tuple[tuple[str, str, str], Callable[..., dict[str, Any]]]] = [
    (("GET", _RING, ""), _F.ring),
    (("POST", _RING + "/cryptoKeys", ""), _F.create_key),
    (("GET", _RING + "/cryptoKeys", ""), _F.list_keys),
    (("GET", _KEY, ""), _F.get_key),
    (("PATCH", _KEY, ""), _F.patch_key),
    (("POST", _KEY, "updatePrimaryVersion"), _F.set_primary),
    (("GET", _KEY + "/cryptoKeyVersions", ""), _F.list_versions),
    (("POST", _KEY + "/cryptoKeyVersions", ""), _F.create_version),
    (("POST", _KEY + "/cryptoKeyVersions", "import"), _F.import_version),
    (("GET", _VERSION, ""), _F.get_version),
    (("PATCH", _VERSION, ""), _F.patch_version),
    (("POST", _VERSION, "destroy"), _F.destroy),
    (("POST", _VERSION, "restore"), _F.restore),
    (("GET", _VERSION + "/publicKey", ""), _F.public_key),
    (("POST", _RING + "/importJobs", ""), _F.create_job),
    (("GET", _RING[:-1] + "/importJobs/[^/]+)", ""), _F.get_job),
    (("POST", _VERSION, "encrypt"), _F.encrypt),
    (("GET", _KEY, "getIamPolicy"), _F.get_policy),
    (("POST", _KEY, "setIamPolicy"), _F.set_policy),
    (("POST", _KEY, "encrypt"), _F.encrypt),
    (("POST", _KEY, "decrypt"), _F.decrypt),
    (("POST", _VERSION, "asymmetricSign"), _F.asymmetric_sign),
    (("POST", _VERSION, "asymmetricDecrypt"), _F.asymmetric_decrypt),
    (("POST", _VERSION, "macSign"), _F.mac_sign),
    (("POST", _VERSION, "macVerify"), _F.mac_verify),
]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body go out by themselves; together they would wait 40 ms
    fake: FakeCloudKms

    def _serve(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        code = 200
        try:
            given = self.fake.answer(self.command, self.path, self.headers.get("Authorization", ""), body)
        except Refused as refused:
            code, given = refused.code, refused.body()
        raw = json.dumps(given).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = do_PATCH = _serve

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(fake: FakeCloudKms) -> Iterator[str]:
    """The address of the fake, for as long as the block lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": fake}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
