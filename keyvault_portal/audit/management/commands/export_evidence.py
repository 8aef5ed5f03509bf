"""Write an evidence pack."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from keyvault_portal.audit.access import Permission, system_actor
from keyvault_portal.audit.evidence.pack import write_pack
from keyvault_portal.audit.signing import load_signer


class Command(BaseCommand):
    help = "Write the whole record as an evidence pack: a zip that `python3 verify.py PACK` checks offline."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("-o", "--output", required=True, metavar="FILE", help="must not exist yet")

    def handle(self, *args: Any, **options: Any) -> None:
        actor = system_actor("command line", Permission.AUDIT_EXPORT)
        try:
            with open(options["output"], "x+b") as file:
                files = write_pack(actor, file)
        except OSError as error:
            raise CommandError(f"{options['output']} cannot be written: {error.strerror}") from None
        self.stdout.write(f"{options['output']}: {len(files)} files; the digest of the pack is in the record.")
        self.stdout.write(f"Give its public key another way, for verify.py's --key: {load_signer().public_key.hex()}")
