"""./manage.py serve: the web server, for real operation and for quickstart."""

import ipaddress
from argparse import ArgumentTypeError
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import get_resolver
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels

from keyvault_portal import environment
from keyvault_portal.checks import refuse_to_start
from keyvault_portal.logs import access_line, server_logging

GRACE = 30  # seconds that running requests get after the request to stop


def _address(text: str) -> str:
    """An IP address to listen at; raises argparse's error otherwise."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no IP address, such as 127.0.0.1") from None


class Command(BaseCommand):
    help = (
        "Serve the portal over HTTP, with an access log on standard error. SIGTERM lets running requests finish first."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", type=_address, default=environment.ip("WEB_HOST", "127.0.0.1"))
        parser.add_argument("--port", type=int, default=environment.whole("WEB_PORT", 8000, most=65535))
        parser.add_argument(
            "--workers", type=int, default=environment.whole("WEB_WORKERS", 2), help="processes, about one a core"
        )
        parser.add_argument(
            "--threads",
            type=int,
            default=environment.whole("WEB_THREADS", 16),
            help="requests at a time in each process",
        )

    def handle(self, *args: Any, host: str, port: int, workers: int, threads: int, **options: Any) -> None:
        refuse_to_start()
        if settings.PRODUCTION and not settings.STATIC_ROOT.is_dir():
            raise CommandError("The style sheets are not collected yet: run ./manage.py collectstatic first.")
        get_resolver().url_patterns  # noqa: B018  loads every view now, once, instead of in each process at its first request
        root: Any = settings.LOGGING["root"]
        level = str(root["level"]).lower()
        server = Granian(
            "keyvault_portal.wsgi:application", address=host, port=port, interface=Interfaces.WSGI, workers=workers,
            blocking_threads=threads, backpressure=4 * threads, http=HTTPModes.http1, websockets=False,
            workers_kill_timeout=GRACE, log_level=LogLevels(level), log_dictconfig=server_logging(level.upper()),
            log_access=True, log_access_format=access_line(settings.TRUST_PROXY),
        )  # fmt: skip
        try:
            server.serve()
        except OSError as error:
            raise CommandError(f"{host}:{port} cannot be listened on: {error.strerror or error}.") from None
