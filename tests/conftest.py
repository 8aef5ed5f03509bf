"""Real PostgreSQL and Valkey for every test; no network beyond loopback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("PORTAL_VAR_DIR", str(ROOT / "var" / "test"))
sys.path.insert(0, str(ROOT))


def pytest_load_initial_conftests() -> None:
    """Nothing yet; services start below, before Django reads its settings."""


def _start_services() -> None:
    from keyvault_portal import embedded

    if "DATABASE_URL" in os.environ:
        return
    services = embedded.Services(Path(os.environ["PORTAL_VAR_DIR"]))
    services.start()
    pytest.services = services  # type: ignore[attr-defined]


_start_services()


def pytest_unconfigure() -> None:
    services = getattr(pytest, "services", None)
    if services:
        services.stop()


@pytest.fixture(autouse=True, scope="session")
def _audit_signing_key() -> None:
    """Nothing can be recorded without the checkpoint key, and nothing happens unrecorded."""
    from keyvault_portal.audit.signing import ensure_signing_key

    ensure_signing_key()
