"""Write the audit record to a file or to standard output."""

import os
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.dateparse import parse_datetime

from keyvault_portal.audit.access import Permission, system_actor
from keyvault_portal.audit.events import OUTCOMES
from keyvault_portal.audit.exports import FORMATS, Filters, export


class Command(BaseCommand):
    help = (
        "Write the audit record as JSON Lines (the very bytes that were hashed) or CSV; the export is itself recorded."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--format", choices=sorted(FORMATS), default="jsonl")
        parser.add_argument(
            "-o", "--output", default="-", metavar="FILE", help="must not exist yet; - is standard output"
        )
        parser.add_argument("--outcome", choices=OUTCOMES, default="")
        for name in ("actor", "action", "target-type", "target-id", "text"):
            parser.add_argument(f"--{name}", default="")
        for name in ("since", "until"):
            parser.add_argument(f"--{name}", type=_time, metavar="TIME", help="such as 2026-01-31T00:00:00Z")

    def handle(self, *args: Any, **options: Any) -> None:
        names = ("actor", "action", "outcome", "target_type", "target_id", "text", "since", "until")
        filters = Filters(**{name: options[name] for name in names})
        actor = system_actor("command line", Permission.AUDIT_EXPORT)
        if options["output"] == "-":
            _print(export(actor, options["format"], filters))
            return
        try:
            with open(options["output"], "xb") as file:
                for piece in export(actor, options["format"], filters):
                    file.write(piece)
        except OSError as error:
            raise CommandError(f"{options['output']} cannot be written: {error.strerror}") from None


def _print(pieces: Iterator[bytes]) -> None:
    """Write to standard output; leave as a program that SIGPIPE ends does when nobody reads on."""
    try:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes when it ends
        sys.exit(128 + signal.SIGPIPE)


def _time(text: str) -> datetime:
    try:
        value = parse_datetime(text)
    except ValueError:  # such as a 31st of February
        value = None
    if value is None or value.tzinfo is None:
        raise ArgumentTypeError(f"{text!r} is no time with its zone, such as 2026-01-31T00:00:00Z")
    return value
