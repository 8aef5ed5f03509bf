"""./manage.py set_up: what one installation needs once, before its servers start; safe to run again."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from keys.services.root_key import ensure_root_key
from keyvault_portal.accounts.services import create_setup_link, officer_exists
from keyvault_portal.audit.signing import ensure_signing_key, load_signer
from keyvault_portal.checks import refuse_to_start
from keyvault_portal.edges import cli_error
from keyvault_portal.errors import PortalError


class Command(BaseCommand):
    help = (
        "Make the key files unless they exist, prepare the database, and print the link for the first security officer."
    )
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        refuse_to_start(before_set_up=True)
        try:
            self.stdout.write(f"Root key file:  {ensure_root_key()}")
            self.stdout.write(f"Audit key file: {ensure_signing_key()}")
            self.stdout.write("Keep a copy of both offline: without them no key can be used and no record be signed.")
            self.stdout.write(f"Public key of the record, for those who check it: {load_signer().public_key.hex()}")
            call_command("migrate", verbosity=0, interactive=False)
            if officer_exists():
                self.stdout.write("There is a security officer already; nothing else to do.")
            else:
                self.stdout.write(
                    f"Makes the first security officer, works once, within 24 hours:\n{create_setup_link()}"
                )
        except PortalError as error:
            raise cli_error(error) from None
