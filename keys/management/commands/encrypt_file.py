"""`KEYVAULT_TOKEN=... ./manage.py encrypt_file RING/KEY SOURCE TARGET [--context name=value]`"""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from keys.services import files, operations
from keys.services.command_actor import command_actor
from keys.services.whole_files import replace_whole
from keyvault_portal.edges import cli_error
from keyvault_portal.errors import PortalError


def _context(pairs: list[str]) -> dict[str, str]:
    context: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise CommandError(f"--context {pair}: a context is NAME=VALUE.")
        if name in context:
            raise CommandError(f"--context {pair}: {name} has a value already.")
        context[name] = value
    return context


class Command(BaseCommand):
    help = "Encrypt a file of any size under a key encryption key; the API token comes from KEYVAULT_TOKEN."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("key", help="ring/name or id of a key of kind kek")
        parser.add_argument("source", type=Path)
        parser.add_argument("target", type=Path, help="written whole or not at all")
        parser.add_argument("--context", action="append", default=[], metavar="NAME=VALUE")

    def handle(self, *args: Any, **options: Any) -> None:
        context = _context(options["context"])
        try:
            actor = command_actor()
            with options["source"].open("rb") as source, operations.audited(actor, "key.encrypt_file", options["key"]):
                replace_whole(options["target"], files.encrypt_file(actor, options["key"], source, context))
        except PortalError as error:
            raise cli_error(error) from None
        except OSError as error:
            raise CommandError(f"{error.filename}: {error.strerror}") from None
