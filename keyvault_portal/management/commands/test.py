"""Run every test with pytest; arguments are pytest's own."""

import subprocess
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Run the tests (pytest): ./manage.py test [tests/keys] [-k name] [...]"
    requires_system_checks: list[str] = []

    def run_from_argv(self, argv: list[str]) -> None:
        # A process of its own: the tests start services before Django reads its settings, and here it has read them.
        sys.exit(subprocess.call([sys.executable, "-m", "pytest", *argv[2:]], cwd=settings.BASE_DIR))

    def handle(self, *args: Any, **options: Any) -> None:
        raise SystemExit("run_from_argv answers this command")
