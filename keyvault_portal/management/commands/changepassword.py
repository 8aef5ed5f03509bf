"""./manage.py changepassword: not from here; takes the place of Django's, which leaves no trace in the record."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    help = "Refused: passwords are changed by their owners, on record."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", nargs="?", help="not needed")

    def handle(self, *args: Any, **options: Any) -> None:
        raise CommandError(
            "A password is changed by its owner on the page Account, or by the link for a forgotten one at the sign-in; "
            "both are on record. A security officer sends somebody who is locked out a new sign-in link from the page People."
        )
