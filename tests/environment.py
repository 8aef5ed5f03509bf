"""Servers and key files of one run, started as soon as this is imported: the settings take what was chosen here.

A module of its own, because pytest loads a conftest again where a test imports from it.
"""

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SHARED = VAR = Path(os.environ.setdefault("PORTAL_VAR_DIR", str(ROOT / "var" / "test"))).resolve()
if "PYTEST_XDIST_WORKER" in os.environ:  # one of several side by side, each over servers and key files of its own
    VAR = VAR / os.environ["PYTEST_XDIST_WORKER"]
    os.environ["PORTAL_VAR_DIR"] = str(VAR)
KEYS = tempfile.TemporaryDirectory(prefix="keyvault-test-keys-")
os.environ["PORTAL_ROOT_KEY_FILE"] = str(Path(KEYS.name) / "root.key")
os.environ["PORTAL_AUDIT_KEY_FILE"] = str(Path(KEYS.name) / "audit-signing.key")
os.environ.setdefault("PORTAL_ORIGIN", "http://localhost:8000")
STARTED: list[Any] = []


def _start_services() -> None:
    from keyvault_portal import embedded

    if "DATABASE_URL" in os.environ:
        return
    services = embedded.Services(VAR, durable=False)
    services.start()
    STARTED.append(services)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the wheels that carry the servers
    _start_services()

(VAR / "staticfiles").mkdir(parents=True, exist_ok=True)  # WhiteNoise warns about a folder that is not there
# Only now may the settings be read: they take what the services chose.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keyvault_portal.settings")
