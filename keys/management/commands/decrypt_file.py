"""`KEYVAULT_TOKEN=... ./manage.py decrypt_file SOURCE TARGET`"""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from keys.services import files, operations
from keys.services.command_actor import command_actor
from keys.services.whole_files import replace_whole
from keyvault_portal.edges import cli_error
from keyvault_portal.errors import PortalError


class Command(BaseCommand):
    help = "Decrypt a file that encrypt_file made; the API token comes from KEYVAULT_TOKEN."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("source", type=Path)
        parser.add_argument("target", type=Path, help="written whole or not at all")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            actor = command_actor()
            with options["source"].open("rb") as source:
                key_ref = files.key_of(source)
                source.seek(0)
                with operations.audited(actor, "key.decrypt_file", key_ref):
                    replace_whole(options["target"], files.decrypt_file(actor, source))
        except PortalError as error:
            raise cli_error(error) from None
        except OSError as error:
            raise CommandError(f"{error.filename}: {error.strerror}") from None
