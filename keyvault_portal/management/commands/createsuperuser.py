"""./manage.py createsuperuser: there is none; takes the place of Django's."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = "Refused: nobody here stands above the rules."

    def handle(self, *args: Any, **options: Any) -> None:
        raise CommandError(
            "Nobody here stands above the rules, so there is no superuser. "
            "./manage.py set_up prints the link that makes the first security officer; the others are added on the page People."
        )
