"""Log lines without secrets: one-time links carry theirs in the path, tokens look like nothing else."""

import logging
import re
from typing import Any

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

# The secret halves of a one-time link `<id>-<secret>` and of a token `kvp_<id>_<secret>`; the id stays.
_SECRET = re.compile(r"(?<![0-9a-f])([0-9a-f]{32}[-_])[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])", re.ASCII)

# The secret of a password reset follows the id of the person; the page it redirects to says set-password in its place.
_RESET = re.compile(r"(/password/reset/key/[0-9A-Za-z]++)(?!/|-set-password/)[^\s\"']+", re.ASCII)


def access_line(behind_proxy: bool) -> str:
    """Granian's format of a line a request, with the address of the caller, not of a proxy of ours; no query string."""
    caller = "%(header{x-forwarded-for})s" if behind_proxy else "%(addr)s"
    return caller + ' "%(method)s %(path)s %(protocol)s" %(status)d %(dt_ms).1f ms'


def redact(text: str) -> str:
    """`text` with the secret of every one-time link, password reset and token replaced by an ellipsis."""
    return _RESET.sub(r"\1...", _SECRET.sub(r"\1...", text))


class RedactingFormatter(logging.Formatter):
    """Formats a record, trace included, and then takes the secrets out of the whole text."""

    def format(self, record: logging.LogRecord) -> str:
        """The redacted line or lines."""
        return redact(super().format(record))


def server_logging(level: str) -> dict[str, Any]:
    """Granian's loggers in the form of the portal's own, as a dictConfig."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": FORMATTER},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {
            "_granian": {"handlers": ["console"], "level": level, "propagate": False},
            "granian.access": {"handlers": ["console"], "level": "INFO", "propagate": False},
        },
    }


FORMATTER = {
    "()": "keyvault_portal.logs.RedactingFormatter",
    "format": "{asctime} {levelname} {name} {message}",
    "style": "{",
}
