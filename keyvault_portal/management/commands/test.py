"""Run every test with pytest; arguments are pytest's own."""

import os
import subprocess
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

# All tests mostly wait for each other's servers; a few, named, start sooner in one process. The order of the files is that
# of tests/conftest.py, where the long ones begin: xdist's own, with most tests first, would leave them to the end.
SIDE_BY_SIDE = ("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")


class Command(BaseCommand):
    help = "Run the tests (pytest): ./manage.py test [tests/keys] [-k name] [...]"
    requires_system_checks: list[str] = []

    def run_from_argv(self, argv: list[str]) -> None:
        # A process of its own: the tests start services before Django reads its settings, and here it has read them.
        # Without the name of the settings in its environment, or pytest-django reads them first there, too.
        environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        arguments = argv[2:]
        if "-n" not in arguments and not any(argument.startswith("tests") for argument in arguments):
            arguments = [*SIDE_BY_SIDE, *arguments]
        command = [sys.executable, "-m", "pytest", *arguments]
        sys.exit(subprocess.call(command, cwd=settings.BASE_DIR, env=environment))

    def handle(self, *args: Any, **options: Any) -> None:
        raise SystemExit("run_from_argv answers this command")
