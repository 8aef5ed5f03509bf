"""AWS KMS played by ministack: key import, the rules of states, RSA and regions, which moto lacks.

It pins an older botocore than ours, so it lives in an environment of its own below the var folder, made from
tests/ministack.lock at first use.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from keys.hosts import HostRule
from keys.providers.aws_kms import AwsKmsProvider
from tests.environment import SHARED
from tests.ports import reserved_port
from tests.providers.place import Place
from tests.providers.place_aws_kms import change_metadata
from tests.providers.troubled import answering

LOCK = Path(__file__).resolve().parent.parent / "ministack.lock"
REGION, REPLICA = "eu-central-1", "eu-west-1"
LOOPBACK = HostRule(("127.0.0.0/8",))
_accounts = count(1)


def new_account() -> str:
    """An access key of an account without keys: to ministack twelve digits are the account's own number."""
    return f"{next(_accounts):012d}"


def _environment() -> Path:
    """The Python of ministack's environment; a changed lock makes a new one. Skips the test if it cannot be built."""
    mark = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    folder = SHARED / "ministack" / mark  # one for all processes of a run
    python, ready, uv = folder / "bin" / "python", folder / "ready", Path(sys.prefix) / "bin" / "uv"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        if ready.exists():
            return python
        for command in (
            [uv, "venv", "-q", "--clear", "--python", sys.executable, folder],
            [uv, "pip", "install", "-q", "--python", python, "--require-hashes", "-r", LOCK],
        ):
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode != 0:
                reason = f"ministack's environment cannot be built: {done.stderr.strip()[-300:]}"
                if os.environ.get("CI") == "true":
                    pytest.fail(reason)
                pytest.skip(reason)
        ready.touch()
    return python


@contextmanager
def server() -> Iterator[str]:
    """A running ministack with the key service only; yields its address."""
    python, port = _environment(), reserved_port()
    folder = Path(os.environ["PORTAL_VAR_DIR"]).resolve() / "ministack"
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port),
        "SERVICES": "kms", "LOG_LEVEL": "ERROR",
    }  # fmt: skip
    program = python.parent / "ministack"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen([program], env=environment, stdout=log, stderr=log, cwd=folder)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address, process)
        yield address
    finally:
        process.terminate()
        process.wait(60)


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/_ministack/health", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail("ministack did not start; its log is in the var folder")


@contextmanager
def running() -> Iterator[Place]:
    with server() as endpoint, answering(silent=True) as silent:
        defaults: dict[str, Any] = {
            "region": REGION, "endpoint": endpoint, "access_key_id": "ministack", "secret_access_key": "not-looked-at", "rule": LOOPBACK,
            "timeout": 60,
        }  # fmt: skip

        def make(**changed: Any) -> AwsKmsProvider:
            return AwsKmsProvider("aws_kms", **{**defaults, **changed})

        yield Place(
            kind="aws_kms_ministack",
            provider=make(),
            make=make,
            dead_address={"endpoint": "http://127.0.0.1:1"},
            slow_address=partial(dict, endpoint=silent.address),
            change_metadata=lambda opaque: change_metadata(make(), opaque),
            untested={
                "tampering": "ministack's ciphertexts carry no integrity; proved on moto",
                "bad_credentials": "ministack accepts every signature; proved on moto",
            },
        )
