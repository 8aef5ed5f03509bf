"""./manage.py offline: the offline tool, which is also one file that needs nothing of the portal."""

import sys
from argparse import Namespace
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ceremonies import offline


class Command(BaseCommand):
    help = "Check an escrow package, prove a share, combine shares and unwrap the master key, without any portal."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        offline.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if code := offline.run(Namespace(**options)):
            sys.exit(code)
