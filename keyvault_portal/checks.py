"""What a server process of the portal must not start with: each finding is a sentence that says what to do.

The web server (`wsgi`), the worker and the beat (`celery`) and `set_up` call `refuse_to_start` before anything else;
`./manage.py check --deploy` lists the same findings.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.http.request import split_domain_port, validate_host

SHORTEST_SECRET = 40  # characters; 32 random bytes in base64 are 43
_DRAW = 'draw one with: python3 -c "import secrets; print(secrets.token_urlsafe(48))"'
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def refuse_to_start(*, before_set_up: bool = False) -> None:
    """Leave with one sentence a finding; returns when there is none. Raises SystemExit."""
    found = list(findings(before_set_up=before_set_up))
    if found:
        raise SystemExit(
            "Not started, because these settings are not safe:\n" + "\n".join(f"  - {text}" for text in found)
        )


def findings(*, before_set_up: bool = False) -> Iterator[str]:
    """What stands against a start: for production everything, elsewhere only what protects less than it says.

    `before_set_up` key files may still be missing.
    """
    if settings.PRODUCTION:
        yield from _servers()
        yield from _secrets()
        yield from _addresses()
    yield from _approvals()
    for name, path in (
        ("PORTAL_ROOT_KEY_FILE", settings.ROOT_KEY_FILE),
        ("PORTAL_AUDIT_KEY_FILE", settings.AUDIT_KEY_FILE),
    ):
        yield from _key_file(name, Path(path), may_be_missing=before_set_up or not settings.PRODUCTION)


@register(Tags.security, deploy=True)
def check_production(app_configs: Sequence[Any] | None = None, **options: Any) -> list[CheckMessage]:
    """The findings in the form of Django's check framework."""
    found: list[CheckMessage] = [Error(text, id="portal.E001") for text in findings()]
    if settings.PRODUCTION and not os.environ.get("EMAIL_HOST"):
        found.append(Warning("Notices are written to files, because EMAIL_HOST is not set.", id="portal.W001"))
    return found


def _servers() -> Iterator[str]:
    for name, server in (("DATABASE_URL", "PostgreSQL"), ("CELERY_BROKER_URL", "Valkey or Redis")):
        if not os.environ.get(name):
            yield f"{name} is not set: production needs a {server} of its own, the embedded one is for trying out."


def _secrets() -> Iterator[str]:
    if settings.DEBUG:
        yield "DEBUG is on and would show code and settings to visitors: unset DEBUG."
    key, pepper = settings.SECRET_KEY, settings.TOKEN_PEPPER
    if "insecure" in key or "SECRET_KEY" not in os.environ:
        yield f"SECRET_KEY is not set to a value of your own: {_DRAW}"
    elif _is_weak(key):
        yield f"SECRET_KEY is too short or too regular, it needs {SHORTEST_SECRET} random characters: {_DRAW}"
    if pepper == key:
        yield f"TOKEN_PEPPER is missing or the same as SECRET_KEY, it must be a second secret: {_DRAW}"
    elif _is_weak(pepper):
        yield f"TOKEN_PEPPER is too short or too regular, it needs {SHORTEST_SECRET} random characters: {_DRAW}"


def _is_weak(secret: str) -> bool:
    return len(secret) < SHORTEST_SECRET or len(set(secret)) < 10


def _addresses() -> Iterator[str]:
    scheme, _, rest = settings.PORTAL_ORIGIN.partition("://")
    host = split_domain_port(rest.rstrip("/"))[0]
    if scheme != "https" or not host:
        yield "PORTAL_ORIGIN does not start with https://: set it to the address people open, such as https://keys.example.org."
    if not settings.ALLOWED_HOSTS:
        yield "ALLOWED_HOSTS is empty: set it to the host of PORTAL_ORIGIN."
    elif "*" in settings.ALLOWED_HOSTS:
        yield "ALLOWED_HOSTS allows every name ('*'): set it to the host of PORTAL_ORIGIN."
    elif host and not validate_host(host, settings.ALLOWED_HOSTS):
        yield f"ALLOWED_HOSTS does not hold {host}, the host of PORTAL_ORIGIN, so nobody could open it: add it."


def _approvals() -> Iterator[str]:
    from keyvault_portal.approvals import (
        registry,
    )  # with its models, for which Django is not ready when this is imported

    if unknown := sorted(set(settings.APPROVALS_SIGNED) - registry.names() - {"*"}):
        yield f"APPROVALS_SIGNED names {', '.join(unknown)}, and no operation is called so: nobody would sign. Correct it."


def _key_file(name: str, path: Path, *, may_be_missing: bool) -> Iterator[str]:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        folder = stat.S_IMODE(path.parent.stat().st_mode)
    except FileNotFoundError:
        if not may_be_missing:
            yield f"{path} ({name}) is missing: restore its offline copy, or make a first one with ./manage.py set_up."
        return
    except OSError as error:
        yield f"{path} ({name}) cannot be looked at ({error.strerror}): give it and its folder to this process's user."
        return
    if mode & _OTHERS:
        yield f"{path} ({name}) is open to other users (mode {mode:04o}): chmod 600 it, and count the key as exposed."
    elif not os.access(path, os.R_OK):
        yield f"{path} ({name}) cannot be read by this process's user: chown it to that user."
    # In a sticky folder, such as a shared one for temporary files, nobody replaces what belongs to another.
    if settings.PRODUCTION and folder & _OTHERS_WRITE and not folder & stat.S_ISVTX:
        yield f"{path.parent} holds {path.name} and may be written by other users (mode {folder:04o}): chmod 700 it."
