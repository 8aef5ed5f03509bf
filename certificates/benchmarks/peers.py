"""The peers: django-ca in an environment of its own, which issues by lines of JSON and answers over HTTP, and OpenBao's PKI."""

import hashlib
import json
import os
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from django.conf import settings
from django.db import connection

from certificates.benchmarks.boxed import CALLERS, Job, boxed
from certificates.benchmarks.ours import CERT_ID
from keys.benchmarks import httpload, portal
from keys.benchmarks.scratch import create_database, drop_database

PROGRAM = Path(settings.BASE_DIR) / "tests" / "bench" / "django_ca_peer.py"
LOCK = PROGRAM.with_name("django_ca.lock")
CONNECTIONS = 8


class DjangoCa:
    """A running django-ca with one authority; it signs in its own process, commits every certificate and is served at `port`."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self._process, self.port = process, port

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("django-ca ended before its time.")
        return json.loads(line)  # type: ignore[no-any-return]

    def jobs(self, requests: list[bytes], seconds: float) -> dict[str, Job]:
        listed = [raw.decode() for raw in requests]

        def issue(callers: int) -> float:
            asked = {"do": "issue", "requests": listed, "seconds": seconds, "callers": callers}
            return float(self.ask(asked)["done"])

        issue(1)  # the responder is asked of the newest
        asked = self.ask({"do": "ask"})
        return {
            "django-ca issue": lambda: issue(1),
            "django-ca callers": lambda: issue(CALLERS),
            "django-ca ocsp": over_http(self.port, asked["path"], b64decode(asked["question"]), seconds),
        }


@contextmanager
def django_ca(folder: Path) -> Iterator[DjangoCa | None]:
    """django-ca at work over a database beside ours; None where its environment cannot be made."""
    python = _environment()
    if python is None:
        yield None
        return
    name = f"{connection.settings_dict['NAME']}_peer"
    create_database(name)
    values = connection.settings_dict
    place = json.dumps([name, *(values[part] for part in ("HOST", "PORT", "USER", "PASSWORD"))])
    keys = folder / "django-ca"
    keys.mkdir()
    granian = [str(python), "-m", "granian", "--factory", f"{PROGRAM.stem}:served"]
    environment = os.environ | {
        "PYTHONPATH": str(PROGRAM.parent), "PEER_DATABASE": place, "PEER_FOLDER": str(keys)
    }  # fmt: skip
    with (folder / "django-ca.log").open("wb") as log:
        process = subprocess.Popen(
            [str(python), str(PROGRAM), place, str(keys)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )  # fmt: skip
        try:
            if not process.stdout or not json.loads(process.stdout.readline() or "{}").get("ready"):
                raise RuntimeError("django-ca did not start.")
            with portal.serving(granian, environment, folder / "django-ca-http.log") as port:
                yield DjangoCa(process, port)
        finally:
            process.terminate()
            process.wait(20)
            drop_database(name)


def _environment() -> Path | None:
    """The Python of django-ca's environment, made at first use; a changed lock makes a new one."""
    if not LOCK.exists():
        return None
    mark = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    folder = Path(settings.VAR_DIR) / "django-ca" / mark
    python, ready = folder / "bin" / "python", folder / "ready"
    if ready.exists():
        return python
    uv = Path(sys.executable).with_name("uv")  # a tenth of pip's work, where the first start could get it
    if uv.exists():
        make = [str(uv), "venv", "-q", "--clear", "--python", sys.executable, str(folder)]
        install = [str(uv), "pip", "install", "-q", "--python", str(python)]
    else:
        make = [sys.executable, "-m", "venv", "--clear", str(folder)]
        install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-input"]
    for command in (make, [*install, "--require-hashes", "-r", str(LOCK)]):
        if subprocess.run(command, capture_output=True, timeout=600, check=False).returncode != 0:
            return None
    ready.touch()
    return python


def bao_jobs(port: int, token: str, requests: list[bytes], seconds: float) -> dict[str, Job]:
    """A root in OpenBao's PKI engine, a role that signs for example.org, and its responder."""

    def call(path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = Request(
            f"http://127.0.0.1:{port}/v1/{path}", json.dumps(body).encode(), {"X-Vault-Token": token}, method="POST"
        )
        with urlopen(request, timeout=30) as answer:  # noqa: S310
            text = answer.read()
        return json.loads(text) if text else {}

    call("sys/mounts/pki", {"type": "pki", "config": {"max_lease_ttl": "87600h"}})
    kind = {"key_type": "ec", "key_bits": 256}
    root = call("pki/root/generate/internal", {"common_name": "Benchmark", "ttl": "80000h"} | kind)
    role = {
        "allowed_domains": "example.org",
        "allow_subdomains": True,
        "key_type": "any",
        "max_ttl": "2160h",
        "require_cn": False,
    }
    call("pki/roles/leaf", role)

    def issue(raw: bytes) -> dict[str, Any]:
        return call("pki/sign/leaf", {"csr": raw.decode(), "ttl": "2160h"})

    leaf = x509.load_pem_x509_certificate(issue(requests[0])["data"]["certificate"].encode())
    issuer = x509.load_pem_x509_certificate(root["data"]["certificate"].encode())
    question = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, CERT_ID).build().public_bytes(Encoding.DER)
    return {
        "bao issue": boxed(issue, requests, seconds),
        "bao ocsp": over_http(port, "/v1/pki/ocsp", question, seconds),
    }


def over_http(port: int, path: str, question: bytes, seconds: float) -> Job:
    """Ask one question again and again over a few connections that stay open; RuntimeError when it is not answered."""
    request = httpload.Request(port, path, question, {"Content-Type": "application/ocsp-request"})
    answer = httpload.raw(request)
    if ocsp.load_der_ocsp_response(answer).response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise RuntimeError("The responder does not answer.")
    return lambda: httpload.send_for(request, seconds, CONNECTIONS)
