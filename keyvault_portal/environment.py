"""Settings from environment variables, one function a kind; a value that does not fit ends the process with a sentence.

An empty variable counts as not set. No sentence repeats a URL, which may hold a password.
"""

import ipaddress
import math
import os
from collections.abc import Collection
from pathlib import Path
from typing import Never
from urllib.parse import parse_qsl, urlsplit

from psycopg.pq import Conninfo

LONGEST_SOCKET_PATH = 107  # bytes: unix(7), sockaddr_un
LARGEST_USER = 2**32 - 2  # the number after it stands for nobody
DAY = 86_400
# Options of a URL that Django takes for itself, beside those of libpq.
_DJANGO_OPTIONS = frozenset({"currentSchema", "assume_role", "prepare_threshold", "server_side_binding"})
# What both clients of Valkey take, the one of the queue and the one of the cache.
_TLS_OPTIONS = frozenset({"ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile"})


def flag(name: str, default: bool) -> bool:
    """Whether it says 1, true, yes or on; raises SystemExit for a word that says neither that nor the opposite."""
    text = os.environ.get(name) or str(default)
    if text.strip().lower() in {"1", "true", "yes", "on"}:
        return True
    if text.strip().lower() not in {"0", "false", "no", "off"}:
        _refuse(name, text, "1 or 0")
    return False


def line(name: str, default: str = "") -> str:
    """One line of text; raises SystemExit for more than that."""
    found = os.environ.get(name) or default
    if not found.isprintable():
        _refuse(name, found, "one line without control characters")
    return found


def listed(name: str, default: str = "") -> list[str]:
    """What stands between its commas; a list may be set to nothing."""
    return [item.strip() for item in os.environ.get(name, default).split(",") if item.strip()]


def users(name: str) -> list[int]:
    """Numbers of system users; raises SystemExit otherwise."""
    found = listed(name)
    for item in found:
        if not (item.isascii() and item.isdigit()) or int(item) > LARGEST_USER:
            _refuse(name, ",".join(found), "numbers of system users as `id -u` says them, separated by commas")
    return [int(item) for item in found]


def hosts(name: str, default: str = "") -> list[str]:
    """Names of hosts, addresses and networks; raises SystemExit for a network that is none."""
    found = listed(name, default)
    for item in found:
        try:
            if "/" in item:
                ipaddress.ip_network(item)
        except ValueError:
            _refuse(name, item, "names of hosts and networks such as 10.0.0.0/8, separated by commas")
    return found


def ip(name: str, default: str) -> str:
    """An IP address; raises SystemExit otherwise."""
    found = os.environ.get(name) or default
    try:
        return str(ipaddress.ip_address(found))
    except ValueError:
        _refuse(name, found, "an IP address, such as 127.0.0.1 or 0.0.0.0")


def path(name: str, default: Path) -> Path:
    """Where a file is."""
    return Path(os.environ.get(name) or default)


def socket_path(name: str) -> str:
    """Where a Unix socket is, empty where none is set; raises SystemExit for a path that is too long for one."""
    found = os.environ.get(name, "")
    if len(os.fsencode(found)) > LONGEST_SOCKET_PATH:
        _refuse(name, found, f"a path of at most {LONGEST_SOCKET_PATH} bytes, as for every Unix socket")
    return found


def whole(name: str, default: int, *, least: int = 1, most: int | None = None) -> int:
    """A whole number from `least` up to `most`; raises SystemExit otherwise."""
    text = os.environ.get(name) or str(default)
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least or (most is not None and number > most):
        _refuse(name, text, f"a whole number, at least {least}" + (f" and at most {most}" if most is not None else ""))
    return number


def seconds(name: str, default: float) -> float:
    """A time above zero, up to a day; raises SystemExit otherwise."""
    text = os.environ.get(name) or str(default)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= DAY:
        _refuse(name, text, f"a number of seconds above 0, such as 5 or 0.5, and at most {DAY}")
    return number


def choice(name: str, default: str, choices: Collection[str]) -> str:
    """One of `choices`, which are in capitals, however it is written; raises SystemExit otherwise."""
    text = os.environ.get(name) or default
    if text.upper() not in choices:
        _refuse(name, text, f"one of {', '.join(choices)}")
    return text.upper()


def url(name: str, *schemes: str) -> str | None:
    """A URL of one of `schemes`, None where none is set; raises SystemExit where it is not one."""
    text = os.environ.get(name)
    if not text:
        return None
    try:
        parts = urlsplit(text)
        fits = parts.scheme in schemes and text.startswith(f"{parts.scheme}://") and parts.port != 0
    except ValueError:  # a port that is none, as behind a password whose / or # is not quoted
        fits = False
    if not fits:
        starts = " or ".join(f"{scheme}://" for scheme in schemes)
        _refuse(name, None, f"a URL that starts with {starts}, with special characters of its password percent-encoded")
    return text


def database_url(name: str) -> str | None:
    """The URL of a PostgreSQL database, None where none is set; raises SystemExit otherwise."""
    found = url(name, "postgresql", "postgres")
    known = {option.keyword.decode() for option in Conninfo.get_defaults()} | _DJANGO_OPTIONS
    if not _options(found) <= known:
        _refuse(name, None, "a URL with options that PostgreSQL's clients know, such as sslmode")
    return found


def broker_url(name: str) -> str | None:
    """The URL of a database of Valkey or Redis, None where none is set; raises SystemExit otherwise."""
    found = url(name, "redis", "rediss")
    number = urlsplit(found or "").path.strip("/")
    if number and not (number.isascii() and number.isdigit()):
        _refuse(name, None, "a URL that ends with the number of a database, such as redis://:password@host:6379/0")
    if not _options(found) <= (_TLS_OPTIONS if urlsplit(found or "").scheme == "rediss" else set()):
        _refuse(name, None, f"a URL without options, but for {', '.join(sorted(_TLS_OPTIONS))} of rediss://")
    return found


def web_address(name: str) -> str:
    """An address of the web, empty where none is set; raises SystemExit where it is not one."""
    found = os.environ.get(name, "")
    if found and not _is_web_address(found):
        _refuse(name, None, "an address that starts with https:// or http://")
    return found


def origin(name: str, default: str) -> str:
    """Scheme, host and port of a web server; raises SystemExit otherwise."""
    found = os.environ.get(name) or default
    if not _is_origin(found):
        _refuse(name, None, "an address without a path, such as https://keys.example.org")
    return found


def origins(name: str, default: str) -> list[str]:
    """Several of them, separated by commas; raises SystemExit where one is none."""
    found = listed(name, default)
    if not all(map(_is_origin, found)):
        _refuse(name, None, "addresses without a path, such as https://keys.example.org, separated by commas")
    return found


def _is_origin(text: str) -> bool:
    return _is_web_address(text) and text.count("/") - text.endswith("/") == 2 and not {"?", "#", "@"} & set(text)


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"https", "http"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an address that is none
        return False


def _options(text: str | None) -> set[str]:
    return {name for name, _ in parse_qsl(urlsplit(text or "").query, keep_blank_values=True)}


def _refuse(name: str, text: str | None, wanted: str) -> Never:
    found = "cannot be read" if text is None else f"is {text!r}"
    raise SystemExit(f"The setting {name} {found}: it must be {wanted}.")
